"""What a corpus is made of, for people and for `--json`.

Counts of reading, cleaning and selecting come in; one JSON-able report goes out, in which nothing that was left out is
missing.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prosa.corpus.document import ReadReport
from prosa.corpus.planning import SPLITS, Rows, Selection, SplitMode
from prosa.corpus.sources import SourceSettings
from prosa.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SAMPLES_PER_SOURCE = 2
_SAMPLE_CHARS = 400


def make_report(
    sources: Sequence[SourceSettings],
    reports: Sequence[ReadReport],
    rows: Rows,
    is_kept: "NDArray[np.bool_]",
    selection: Selection,
    modes: Sequence[SplitMode],
) -> dict[str, Any]:
    """Totals, then each source with its rejects, skips, repairs, cleaning and duplicates."""
    described = []
    for index, (source, report, mode) in enumerate(zip(sources, reports, modes, strict=True)):
        of_source = rows.source == index
        described.append(
            {
                "name": source.name,
                "path": source.path,
                "validation": mode,
                **_sizes(selection, of_source[selection.row]),
                "kinds": _by_label(rows, selection, of_source, 0),
                "languages": _by_label(rows, selection, of_source, 1),
                "licences": _by_label(rows, selection, of_source, 2),
                "duplicates": int((of_source & ~is_kept).sum()),
                **report.to_json(),
            }
        )
    every = rows.source >= 0
    return {
        **_sizes(selection, every[selection.row]),
        "kinds": _by_label(rows, selection, every, 0),
        "languages": _by_label(rows, selection, every, 1),
        "licences": _by_label(rows, selection, every, 2),
        "duplicates": int((~is_kept).sum()),
        "sources": described,
        "warnings": [
            f"source `{item['name']}` gave no text: {_reasons(report)}"
            for item, report in zip(described, reports, strict=True)
            if not item["documents"]["train"]
        ],
    }


def take_samples(
    rows: Rows, selection: Selection, names: Sequence[str], read_text: Callable[[int], str]
) -> list[dict[str, Any]]:
    """The beginning of two training pieces of each source; the smallest ids, which is as good as chance."""
    import numpy as np

    samples = []
    training = selection.row[(selection.split == 0) & (selection.start == 0)]
    for index, name in enumerate(names):
        own = training[rows.source[training] == index]
        smallest = own[np.argsort(rows.ids[own, 0], kind="stable")[:_SAMPLES_PER_SOURCE]]
        for row in smallest.tolist():
            kind, language, licence = rows.labels[rows.label[row]]
            text = read_text(row)[:_SAMPLE_CHARS]
            samples.append({"source": name, "kind": kind, "language": language, "licence": licence, "text": text})
    return samples


def nothing_left(sources: Sequence[SourceSettings], reports: Sequence[ReadReport]) -> DataError:
    """The error for a corpus without a single usable document."""
    found = "; ".join(f"`{source.path}`: {_reasons(report)}" for source, report in zip(sources, reports, strict=True))
    return DataError(f"no usable text in the corpus: {found}", hint="docs/corpus.md lists what can be read")


def _reasons(report: ReadReport) -> str:
    tallies = (report.rejected, report.skipped)
    found = [
        f"{count} {reason} (such as {tally.examples[reason][0]})"
        for tally in tallies
        for reason, count in sorted(tally.counts.items())
    ]
    if not found:
        return "nothing new" if report.n_documents else "no files"
    return ", ".join(found)


def _sizes(selection: Selection, is_chosen: "NDArray[np.bool_]") -> dict[str, Any]:
    in_split = [is_chosen & (selection.split == index) for index in range(len(SPLITS))]
    return {
        "documents": {split: int(chosen.sum()) for split, chosen in zip(SPLITS, in_split, strict=True)},
        "bytes": {
            split: int(selection.n_bytes[chosen].sum(dtype=int)) for split, chosen in zip(SPLITS, in_split, strict=True)
        },
    }


def _by_label(rows: Rows, selection: Selection, of_source: "NDArray[np.bool_]", column: int) -> dict[str, Any]:
    import numpy as np

    words = sorted({label[column] for label in rows.labels})
    word_of_label = np.array([words.index(label[column]) for label in rows.labels])
    chosen = of_source[selection.row]
    codes = word_of_label[rows.label[selection.row[chosen]]]
    n_bytes = np.bincount(codes, selection.n_bytes[chosen], len(words))
    n_documents = np.bincount(codes, minlength=len(words))
    return {
        word or "unknown": {"documents": int(n_documents[index]), "bytes": int(n_bytes[index])}
        for index, word in enumerate(words)
        if n_documents[index]
    }
