"""The plan of a corpus: which pieces are kept, which validate, and which part each goes to.

Rows about every piece come in, as arrays; selections of rows, cut where validation begins inside a piece, go out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from prosa.corpus.preparing import SpillRow
from prosa.corpus.splitting import is_validation, tail_cut, tail_start

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "validation")
HASH_DOCUMENTS = 40
SplitMode = Literal["hash", "tail", "none"]


@dataclass(frozen=True, slots=True)
class Rows:
    """One entry per piece, in reading order: 31 bytes, so that millions of short documents fit in memory."""

    ids: "NDArray[np.uint64]"
    n_bytes: "NDArray[np.int32]"
    n_chars: "NDArray[np.int32]"
    is_continued: "NDArray[np.bool_]"
    source: "NDArray[np.int16]"
    label: "NDArray[np.int32]"
    """Index into `labels`."""
    labels: tuple[tuple[str, str, str], ...]
    """(kind, language, licence)."""
    spill_starts: "NDArray[np.int64]"
    """The first row of each spill file, in order."""

    def without_ids(self) -> "Rows":
        return replace(self, ids=self.ids[:0].copy())

    def locate(self, rows: "NDArray[np.int32]") -> tuple["NDArray[np.int64]", "NDArray[np.int64]"]:
        """(number of the spill file, row in it) of rows."""
        import numpy as np

        spills = np.searchsorted(self.spill_starts, rows, side="right") - 1
        return spills, rows - self.spill_starts[spills]

    @property
    def documents(self) -> "NDArray[np.int32]":
        """The number of the document that each piece belongs to, from 1; a source's first piece begins one."""
        import numpy as np

        begins = ~self.is_continued
        begins[1:] |= self.source[1:] != self.source[:-1]
        begins[:1] = True
        numbers: NDArray[np.int32] = np.cumsum(begins, dtype=np.int32)
        return numbers

    @property
    def piece_numbers(self) -> "NDArray[np.int32]":
        """Each piece's place in its document, from 0."""
        import numpy as np

        documents = self.documents
        first = np.flatnonzero(np.diff(documents, prepend=np.int32(0))).astype(np.int32)
        numbers: NDArray[np.int32] = np.arange(len(documents), dtype=np.int32) - first[documents - 1]
        return numbers

    def group(self, sources: Sequence[str], *, by_kind: bool) -> tuple["NDArray[np.int32]", list[str]]:
        """(number of the group of each row, names of the groups): the sources, or `source.kind`."""
        import numpy as np

        source = self.source.astype(np.int32)
        if not by_kind:
            return source, list(sources)
        kinds = sorted({kind for kind, _, _ in self.labels})
        kind_of_label = np.array([kinds.index(kind) for kind, _, _ in self.labels], dtype=np.int32)
        found, groups = np.unique(source * len(kinds) + kind_of_label[self.label], return_inverse=True)
        names = [f"{sources[code // len(kinds)]}.{kinds[code % len(kinds)]}" for code in found.tolist()]
        return groups.astype(np.int32).reshape(-1), names


@dataclass(frozen=True, slots=True)
class Selection:
    """Pieces of the corpus in stored order within each split; start and stop cut their texts, -1 is the end."""

    row: "NDArray[np.int32]"
    split: "NDArray[np.int8]"
    start: "NDArray[np.int32]"
    stop: "NDArray[np.int32]"
    n_bytes: "NDArray[np.int32]"


class RowCollector:
    """Gathers the rows of spill files, in order."""

    def __init__(self) -> None:
        self.spill_names: list[str] = []
        self._labels: dict[tuple[str, str, str], int] = {}
        self._starts = [0]
        self._arrays: dict[str, list[Any]] = {}

    def add(self, source_index: int, spill_name: str, rows: Sequence[SpillRow]) -> None:
        import numpy as np

        labels = self._labels
        codes = [labels.setdefault((row.kind, row.language, row.licence), len(labels)) for row in rows]
        columns = {
            "ids": np.frombuffer(bytes.fromhex("".join(row.id for row in rows)), ">u8")
            .astype(np.uint64)
            .reshape(-1, 2),
            "n_bytes": np.array([row.n_bytes for row in rows], dtype=np.int32),
            "n_chars": np.array([row.n_chars for row in rows], dtype=np.int32),
            "is_continued": np.array([row.is_continued for row in rows], dtype=np.bool_),
            "source": np.full(len(rows), source_index, dtype=np.int16),
            "label": np.array(codes, dtype=np.int32),
        }
        for name, column in columns.items():
            self._arrays.setdefault(name, []).append(column)
        self.spill_names.append(spill_name)
        self._starts.append(self._starts[-1] + len(rows))

    def rows(self) -> Rows | None:
        """All rows, which leave the collector; None if there are none."""
        import numpy as np

        if not self._arrays:
            return None
        columns: dict[str, Any] = {name: np.concatenate(self._arrays.pop(name)) for name in list(self._arrays)}
        starts = np.array(self._starts[:-1], dtype=np.int64)
        return Rows(labels=tuple(self._labels), spill_starts=starts, **columns)


def choose_splits(
    rows: Rows,
    is_kept: "NDArray[np.bool_]",
    n_sources: int,
    fraction: float,
    seed: int,
    wanted: Literal["auto", "hash", "tail"],
) -> list[SplitMode]:
    """How each source is divided.

    `auto`: by hash where a source has HASH_DOCUMENTS pieces and both sides get some, else the tail of its documents,
    so that a single book and every small source have a validation text too.
    """
    modes: list[SplitMode] = []
    for source in range(n_sources):
        ids = rows.ids[is_kept & (rows.source == source)]
        chosen = is_validation(ids, fraction, seed)
        if fraction == 0 or len(ids) == 0:
            modes.append("none")
        elif wanted != "auto":
            modes.append(wanted)
        else:
            modes.append("hash" if len(ids) >= HASH_DOCUMENTS and chosen.any() and not chosen.all() else "tail")
    return modes


def join_selections(selections: Sequence[Selection]) -> Selection:
    """All of them in reading order."""
    import numpy as np

    selections = [selection for selection in selections if len(selection.row)] or selections[:1]
    if len(selections) == 1:
        return selections[0]
    row, split, start, stop, n_bytes = (
        np.concatenate([getattr(selection, name) for selection in selections])
        for name in ("row", "split", "start", "stop", "n_bytes")
    )
    order = np.lexsort((start, row))
    return Selection(row[order], split[order], start[order], stop[order], n_bytes[order])


def select_by_hash(rows: Rows, is_kept: "NDArray[np.bool_]", fraction: float, seed: int) -> Selection:
    """Whole pieces, each on the side that its own id says; a fraction of 0 leaves all in training."""
    import numpy as np

    kept = np.flatnonzero(is_kept).astype(np.int32)
    split = is_validation(rows.ids, fraction, seed)[kept].astype(np.int8)
    return Selection(kept, split, np.zeros_like(kept), np.full_like(kept, -1), rows.n_bytes[kept])


def select_tails(
    rows: Rows,
    is_kept: "NDArray[np.bool_]",
    fraction: float,
    how: Literal["line", "exact"],
    read_text: Callable[[int], str],
) -> Selection:
    """The last `fraction` of every document's characters to validation; `read_text` gives the text of a row."""
    import numpy as np

    kept = np.flatnonzero(is_kept)
    documents, n_chars = rows.documents[kept], rows.n_chars[kept].astype(np.int64)
    first = np.flatnonzero(np.diff(documents, prepend=np.int32(0)))
    counts = np.diff(np.append(first, len(kept)))
    totals = np.add.reduceat(n_chars, first) if len(kept) else n_chars
    wanted = np.repeat(np.array([tail_start(total, fraction) for total in totals.tolist()], dtype=np.int64), counts)
    ends = np.cumsum(n_chars)
    starts = ends - n_chars - np.repeat(ends[first] - n_chars[first], counts)
    chosen: list[tuple[int, int, int, int, int]] = []
    for row, local, length in zip(kept.tolist(), (wanted - starts).tolist(), n_chars.tolist(), strict=True):
        n_bytes = int(rows.n_bytes[row])
        if 0 < local < length:
            text = read_text(row)
            cut = tail_cut(text, local, how)
            head_bytes = len(text[:cut].encode())
            chosen.append((row, 0, 0, cut, head_bytes))
            chosen.append((row, 1, cut, -1, n_bytes - head_bytes))
        else:
            chosen.append((row, int(local <= 0), 0, -1, n_bytes))
    columns = np.array(chosen, dtype=np.int32).reshape(-1, 5).T
    return Selection(columns[0], columns[1].astype(np.int8), columns[2], columns[3], columns[4])
