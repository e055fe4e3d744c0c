"""Parts: rows of spill files gathered into parquet files of at most 16 MB of text.

A selection of rows comes in; part files go to the corpus folder. Writer options are fixed, so equal rows give equal
bytes, whoever writes them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prosa.corpus.document import content_id
from prosa.corpus.planning import SPLITS, Rows, Selection
from prosa.corpus.preparing import read_spill
from prosa.corpus.splitting import fill_parts
from prosa.corpus.stored import COLUMNS, PART_BYTES

if TYPE_CHECKING:
    import numpy as np
    import pyarrow
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class SpillSlice:
    """Rows of one spill file; `cuts` are (position in rows, start, stop) of texts that are not taken whole."""

    spill: str
    rows: "NDArray[np.int64]"
    pieces: "NDArray[np.int32]"
    cuts: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class PartTask:
    name: str
    split: str
    source: str
    n_bytes: int
    slices: tuple[SpillSlice, ...]
    spills: Path
    folder: Path


def plan_parts(
    rows: Rows,
    selection: Selection,
    groups: "NDArray[np.int32]",
    group_names: Sequence[str],
    spill_names: Sequence[str],
    spills: Path,
    folder: Path,
) -> Iterator[PartTask]:
    """The parts to write: by split, then by source, then in reading order."""
    import numpy as np

    numbers = rows.piece_numbers
    for split_index, split in enumerate(SPLITS):
        for group, source in enumerate(group_names):
            is_chosen = (selection.split == split_index) & (groups[selection.row] == group)
            chosen = np.flatnonzero(is_chosen).astype(np.int32)
            for index, (start, stop) in enumerate(fill_parts(selection.n_bytes[chosen], PART_BYTES)):
                entries = chosen[start:stop]
                slices = _slices(rows, selection, entries, numbers, spill_names)
                n_bytes = int(selection.n_bytes[entries].sum())
                name = f"{split}-{source}-{index:05d}.parquet"
                yield PartTask(name, split, source, n_bytes, slices, spills, folder)


def write_part(task: PartTask) -> dict[str, Any]:
    """Writes one part; its entry for the manifest. Raises OSError if the disk refuses."""
    import pyarrow.parquet

    table = pyarrow.concat_tables([_gather(piece, task) for piece in task.slices]).combine_chunks()
    pyarrow.parquet.write_table(
        table,
        task.folder / task.name,
        row_group_size=1 << 30,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=3,
        use_dictionary=["kind", "language", "source", "licence"],
        write_statistics=False,
        store_schema=False,
    )
    return {
        "name": task.name,
        "split": task.split,
        "source": task.source,
        "n_documents": table.num_rows,
        "n_bytes": task.n_bytes,
    }


def _slices(
    rows: Rows,
    selection: Selection,
    entries: "NDArray[np.int32]",
    numbers: "NDArray[np.int32]",
    spill_names: Sequence[str],
) -> tuple[SpillSlice, ...]:
    import numpy as np

    wanted = selection.row[entries]
    spills, rows_in_spill = rows.locate(wanted)
    bounds = [0, *(np.flatnonzero(np.diff(spills)) + 1).tolist(), len(entries)]
    slices = []
    for start, stop in pairwise(bounds):
        starts, stops = selection.start[entries[start:stop]], selection.stop[entries[start:stop]]
        cut = np.flatnonzero((starts > 0) | (stops >= 0))
        cuts = tuple((int(i), int(starts[i]), int(stops[i])) for i in cut)
        pieces = numbers[wanted[start:stop]]
        slices.append(SpillSlice(spill_names[spills[start]], rows_in_spill[start:stop], pieces, cuts))
    return tuple(slices)


def _gather(piece: SpillSlice, task: PartTask) -> "pyarrow.Table":
    import pyarrow

    table = read_spill(task.spills, piece.spill).take(pyarrow.array(piece.rows))
    table = table.append_column("source", pyarrow.array([task.source] * table.num_rows, pyarrow.string()))
    table = table.append_column("piece", pyarrow.array(piece.pieces, pyarrow.int32()))
    if piece.cuts:
        texts, ids = table["text"].to_pylist(), table["id"].to_pylist()
        for index, start, stop in piece.cuts:
            texts[index] = texts[index][start : stop if stop >= 0 else None]
            ids[index] = content_id(texts[index].encode())
        table = table.set_column(table.column_names.index("text"), "text", pyarrow.array(texts, pyarrow.string()))
        table = table.set_column(table.column_names.index("id"), "id", pyarrow.array(ids, pyarrow.string()))
    return table.select(list(COLUMNS))
