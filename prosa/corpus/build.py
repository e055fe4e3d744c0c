"""From sources to a corpus: read, clean, remove duplicates, hold some out, store.

Settings come in, a folder that exists wholly or not at all goes out, with the same bytes for any number of workers.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from prosa.config import Settings
from prosa.corpus.document import ReadReport
from prosa.corpus.mixing import resolve_weights
from prosa.corpus.parts import plan_parts, write_part
from prosa.corpus.planning import (
    SPLITS,
    RowCollector,
    Rows,
    Selection,
    SplitMode,
    choose_splits,
    join_selections,
    select_by_hash,
    select_tails,
)
from prosa.corpus.preparing import PrepareTask, SpillRow, prepare, read_spill
from prosa.corpus.reading import DocumentsUnit
from prosa.corpus.reporting import make_report, nothing_left, take_samples
from prosa.corpus.sources import (
    SourceSettings,
    check_source,
    fingerprint,
    limit_bytes,
    name_sources,
    size_bytes,
    source_units,
)
from prosa.corpus.splitting import first_occurrences
from prosa.corpus.stored import CORPUS_FORMAT, PART_BYTES, Corpus, open_corpus
from prosa.corpus.workers import count_cores, map_in_order, worker_pool
from prosa.errors import ConfigError, DataError
from prosa.rundir import commit_folder, staging_folder, storage_errors, write_json_durably

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor

    import numpy as np
    import pyarrow
    from numpy.typing import NDArray

# Below this, starting processes takes longer than the work.
_ONE_PROCESS_BYTES = 32_000_000
Progress = Callable[[str, int], None]


class CorpusSettings(Settings):
    """What the corpus is made of and how it is divided."""

    sources: tuple[SourceSettings, ...] = ()
    seed: int = Field(0, ge=0)
    languages: tuple[str, ...] = ()
    """Language id chooses among these; empty means all it knows."""
    min_chars: int = Field(20, ge=1)
    """Shorter documents are rejected."""
    document_bytes: int = Field(200_000, ge=1000, le=PART_BYTES)
    """Longer texts are cut into pieces, so that validation, shuffling and workers meet no giants."""
    validation_fraction: float = Field(0.05, ge=0, lt=0.5)
    validation: Literal["auto", "hash", "tail"] = "auto"
    """Held out: whole documents by their hash, or the end of every document. `auto` needs 40 documents for `hash`."""
    validation_cut: Literal["line", "exact"] = "line"
    """Where a tail begins: after a line that ends nearby, or at the exact character."""
    kind_weights: dict[Literal["book", "article", "code", "conversation"], float] = Field(default_factory=dict)
    """Shares by kind instead of by source: each source is then stored as `name.kind`."""


def corpus_inputs(settings: CorpusSettings) -> dict[str, str]:
    """A cheap fingerprint of every source, to tell whether a corpus is still current.

    Files count by name, size and time, built-in sources by version. Raises DataError if a source is missing.
    """
    sources = name_sources(settings.sources)
    for source in sources:
        check_source(source)
    return {"corpus format": str(CORPUS_FORMAT)} | {source.name: fingerprint(source) for source in sources}


def build_corpus(
    settings: CorpusSettings, folder: Path, *, workers: int = 0, progress: Progress | None = None
) -> Corpus:
    """Builds the corpus in `folder`, replacing one that is there only when the new one is complete.

    `workers` is the number of processes; 0 means every core, or one process for a small corpus. `progress` is told
    "reading" or "writing" and the bytes of text done so far. Raises ConfigError and DataError for wrong settings and
    unusable sources, StorageError when the disk refuses.
    """
    sources = name_sources(settings.sources)
    if settings.kind_weights and any(source.weight for source in sources):
        raise ConfigError("weights are given both for sources and for kinds", hint="keep one of them")
    for source in sources:
        check_source(source)
    if workers == 0:
        is_small = sum(map(size_bytes, sources)) < _ONE_PROCESS_BYTES
        workers = 1 if is_small else count_cores()
    report_progress = progress or (lambda description, n_bytes: None)
    with storage_errors(folder):
        staging = staging_folder(folder)
        try:
            with worker_pool(workers) as pool:
                description = _fill(settings, sources, staging, pool, workers, report_progress)
            commit_folder(staging, folder, description)
        finally:
            with suppress(OSError):
                shutil.rmtree(staging)
    return open_corpus(folder)


def _fill(
    settings: CorpusSettings,
    sources: tuple[SourceSettings, ...],
    staging: Path,
    pool: "ProcessPoolExecutor | None",
    workers: int,
    progress: Progress,
) -> dict[str, Any]:
    """Writes parts and report into `staging`; the description for the manifest."""
    spills = staging / "spill"
    spills.mkdir()
    names = [source.name for source in sources]
    rows, spill_names, reports = _read_all(settings, sources, spills, pool, workers, progress)
    if rows is None:
        raise nothing_left(sources, reports)
    is_kept = first_occurrences(rows.ids)
    text_of = _TextReader(rows, spills, spill_names)
    modes, selection = _divide(settings, len(sources), rows, is_kept, text_of)
    report = make_report(sources, reports, rows, is_kept, selection, modes)
    report["samples"] = take_samples(rows, selection, names, text_of)
    write_json_durably(staging / "report.json", report)
    # Half of the plan's memory, and not needed any more.
    del text_of, is_kept
    rows = rows.without_ids()
    groups, group_names = rows.group(names, by_kind=bool(settings.kind_weights))
    tasks = plan_parts(rows, selection, groups, group_names, spill_names, spills, staging)
    parts, n_bytes = [], 0
    for entry in map_in_order(pool, write_part, tasks, workers):
        parts.append(entry)
        n_bytes += entry["n_bytes"]
        progress("writing", n_bytes)
    shutil.rmtree(spills)
    return {
        "what": "corpus",
        "corpus_format": CORPUS_FORMAT,
        "settings": settings.model_dump(mode="json"),
        "validation": dict(zip(names, modes, strict=True)),
        "weights": _weights(settings, sources, parts),
        "parts": parts,
    }


def _read_all(
    settings: CorpusSettings,
    sources: tuple[SourceSettings, ...],
    spills: Path,
    pool: "ProcessPoolExecutor | None",
    workers: int,
    progress: Progress,
) -> tuple[Rows | None, list[str], list[ReadReport]]:
    """Reads and cleans every source into spill files; a source stops where its limit is reached."""
    collector = RowCollector()
    reports, limits, taken = (
        [ReadReport() for _ in sources],
        [limit_bytes(source) for source in sources],
        [0] * len(sources),
    )
    finished: set[int] = set()
    for prepared in map_in_order(pool, prepare, _tasks(settings, sources, spills, finished), workers):
        index = prepared.source_index
        if index in finished:
            continue
        reports[index].merge(prepared.report)
        for name, spilled in prepared.spills:
            kept = _within(spilled, limits[index] - taken[index]) if limits[index] else spilled
            # What lies beyond the limit was read only because work comes in units.
            reports[index].n_documents -= sum(not row.is_continued for row in spilled[len(kept) :])
            taken[index] += sum(row.n_bytes for row in kept)
            if kept:
                collector.add(index, name, kept)
        if limits[index] and taken[index] >= limits[index]:
            finished.add(index)
        progress("reading", sum(taken))
    return collector.rows(), collector.spill_names, reports


def _tasks(
    settings: CorpusSettings, sources: tuple[SourceSettings, ...], spills: Path, finished: set[int]
) -> Iterator[PrepareTask]:
    """Every unit of every source, in order; what cutting a source into units counted travels with the next unit."""
    numbers = count()
    for index, source in enumerate(sources):
        report = ReadReport()
        for unit in chain(source_units(source, report), [DocumentsUnit(())]):
            if index in finished:
                break
            yield PrepareTask(
                number=next(numbers),
                source_index=index,
                source=source,
                unit=unit,
                report=report.take(),
                languages=settings.languages,
                document_bytes=settings.document_bytes,
                min_chars=settings.min_chars,
                folder=spills,
            )


def _within(rows: list[SpillRow], limit: int) -> list[SpillRow]:
    """The rows until their bytes reach the limit."""
    n_bytes = 0
    for index, row in enumerate(rows):
        if n_bytes >= limit:
            return rows[:index]
        n_bytes += row.n_bytes
    return rows


def _divide(
    settings: CorpusSettings, n_sources: int, rows: Rows, is_kept: "NDArray[np.bool_]", text_of: Callable[[int], str]
) -> tuple[list[SplitMode], Selection]:
    """How each source is divided, and what goes where."""
    import numpy as np

    fraction, seed = settings.validation_fraction, settings.seed
    modes = choose_splits(rows, is_kept, n_sources, fraction, seed, settings.validation)
    by_tail = np.array([mode == "tail" for mode in modes])[rows.source]
    by_hash = select_by_hash(rows, is_kept & ~by_tail, fraction, seed)
    tails = select_tails(rows, is_kept & by_tail, fraction, settings.validation_cut, text_of)
    selection = join_selections([by_hash, tails])
    for index, split in enumerate(SPLITS):
        if fraction > 0 and not (selection.split == index).any():
            raise DataError(
                f"the corpus is too small: nothing is left for {split} ({int(is_kept.sum())} documents)",
                hint="add text, or change `validation_fraction`; 0 means no validation",
            )
    return modes, selection


class _TextReader:
    """Texts of rows out of the spill files, the last file kept."""

    def __init__(self, rows: Rows, spills: Path, names: list[str]) -> None:
        self._rows, self._spills, self._names = rows, spills, names
        self._number = -1
        self._table: pyarrow.Table | None = None

    def __call__(self, row: int) -> str:
        import numpy as np

        numbers, places = self._rows.locate(np.array([row], dtype=np.int32))
        number = int(numbers[0])
        if self._table is None or number != self._number:
            self._number, self._table = number, read_spill(self._spills, self._names[number])
        return str(self._table["text"][int(places[0])].as_py())


def _weights(
    settings: CorpusSettings, sources: tuple[SourceSettings, ...], parts: list[dict[str, Any]]
) -> dict[str, float]:
    """Shares of the stored sources, by what is in training."""
    sizes: dict[str, int] = {}
    for part in parts:
        if part["split"] == "train":
            sizes[part["source"]] = sizes.get(part["source"], 0) + part["n_bytes"]
    if not settings.kind_weights:
        return resolve_weights({source.name: source.weight for source in sources}, sizes)
    kinds = {name: name.rpartition(".")[2] for name in sizes}
    by_kind = {kind: sum(sizes[name] for name in sizes if kinds[name] == kind) for kind in sorted(set(kinds.values()))}
    wanted: Mapping[str, float] = {str(kind): weight for kind, weight in settings.kind_weights.items()}
    shares = resolve_weights({kind: wanted.get(kind, 0) for kind in by_kind}, by_kind)
    return {name: shares[kinds[name]] * size / by_kind[kinds[name]] for name, size in sizes.items()}
