"""The plan of a corpus: which pieces are kept, which validate, and which part each goes to.

Rows about every piece come in, as arrays; selections of rows, cut where validation begins inside a piece, go out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

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
    """One entry per piece, in reading order. Kinds, languages and licences are indices into `words`."""

    ids: "NDArray[np.uint64]"
    n_bytes: "NDArray[np.int64]"
    n_chars: "NDArray[np.int64]"
    is_continued: "NDArray[np.bool_]"
    source: "NDArray[np.int32]"
    labels: "NDArray[np.int32]"
    """(n, 3): kind, language, licence."""
    spill: "NDArray[np.int32]"
    row_in_spill: "NDArray[np.int32]"
    words: tuple[str, ...]

    @property
    def documents(self) -> "NDArray[np.int64]":
        """The number of the document that each piece belongs to; a source's first piece begins one."""
        import numpy as np

        begins = ~self.is_continued
        begins[1:] |= self.source[1:] != self.source[:-1]
        begins[:1] = True
        numbers: NDArray[np.int64] = np.cumsum(begins)
        return numbers

    @property
    def piece_numbers(self) -> "NDArray[np.int64]":
        """Each piece's place in its document, from 0."""
        import numpy as np

        first = np.flatnonzero(np.diff(self.documents, prepend=0))
        lengths = np.diff(np.append(first, len(self.ids)))
        return np.arange(len(self.ids)) - np.repeat(first, lengths)

    def group(self, sources: Sequence[str], *, by_kind: bool) -> tuple["NDArray[np.int32]", list[str]]:
        """(number of the group of each row, names of the groups): the sources, or `source.kind`."""
        import numpy as np

        if not by_kind:
            return self.source, list(sources)
        pairs = np.stack([self.source, self.labels[:, 0]], axis=1)
        found, groups = np.unique(pairs, axis=0, return_inverse=True)
        return groups.astype(np.int32).reshape(-1), [f"{sources[i]}.{self.words[kind]}" for i, kind in found.tolist()]


@dataclass(frozen=True, slots=True)
class Selection:
    """Pieces of the corpus in stored order within each split; stop is -1 for the end of the text."""

    row: "NDArray[np.int64]"
    split: "NDArray[np.int8]"
    start: "NDArray[np.int64]"
    stop: "NDArray[np.int64]"
    n_bytes: "NDArray[np.int64]"


class RowCollector:
    """Gathers the rows of spill files, in order."""

    def __init__(self) -> None:
        self.spill_names: list[str] = []
        self._words: dict[str, int] = {}
        self._arrays: dict[str, list[NDArray[np.generic]]] = {}

    def add(self, source_index: int, spill_name: str, rows: Sequence[SpillRow]) -> None:
        import numpy as np

        n_rows = len(rows)
        words = self._words
        labels = [
            [words.setdefault(word, len(words)) for word in (row.kind, row.language, row.licence)] for row in rows
        ]
        columns = {
            "ids": np.frombuffer(bytes.fromhex("".join(row.id for row in rows)), dtype=">u8").reshape(-1, 2),
            "n_bytes": np.array([row.n_bytes for row in rows], dtype=np.int64),
            "n_chars": np.array([row.n_chars for row in rows], dtype=np.int64),
            "is_continued": np.array([row.is_continued for row in rows], dtype=np.bool_),
            "source": np.full(n_rows, source_index, dtype=np.int32),
            "labels": np.array(labels, dtype=np.int32).reshape(-1, 3),
            "spill": np.full(n_rows, len(self.spill_names), dtype=np.int32),
            "row_in_spill": np.arange(n_rows, dtype=np.int32),
        }
        for name, column in columns.items():
            self._arrays.setdefault(name, []).append(column)
        self.spill_names.append(spill_name)

    def rows(self) -> Rows | None:
        """All rows; None if there are none."""
        import numpy as np

        if not self.spill_names:
            return None
        columns = {name: np.concatenate(arrays) for name, arrays in self._arrays.items()}
        ids = columns.pop("ids").astype(np.uint64)
        return Rows(ids=ids, words=tuple(self._words), **columns)


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

    row, split, start, stop, n_bytes = (
        np.concatenate([getattr(selection, name) for selection in selections])
        for name in ("row", "split", "start", "stop", "n_bytes")
    )
    order = np.lexsort((start, row))
    return Selection(row[order], split[order], start[order], stop[order], n_bytes[order])


def select_by_hash(rows: Rows, is_kept: "NDArray[np.bool_]", fraction: float, seed: int) -> Selection:
    """Whole pieces, each on the side that its own id says; a fraction of 0 leaves all in training."""
    import numpy as np

    kept = np.flatnonzero(is_kept)
    split = is_validation(rows.ids[kept], fraction, seed).astype(np.int8)
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
    if len(kept) == 0:
        return select_by_hash(rows, is_kept, fraction, 0)
    documents, n_chars = rows.documents[kept], rows.n_chars[kept]
    first = np.flatnonzero(np.diff(documents, prepend=-1))
    counts = np.diff(np.append(first, len(kept)))
    totals = np.add.reduceat(n_chars, first)
    wanted = np.repeat([tail_start(int(total), fraction) for total in totals], counts)
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
    columns = np.array(chosen, dtype=np.int64).T
    return Selection(columns[0], columns[1].astype(np.int8), columns[2], columns[3], columns[4])
