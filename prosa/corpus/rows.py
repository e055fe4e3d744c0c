"""Records as they are, for rooms that make something else of them than documents.

A file, folder or hub data set comes in; pairs (record, origin) come out in a fixed order, all fields kept. What cannot
be read is counted in the report, never raised.
"""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prosa.corpus.document import ReadReport
from prosa.corpus.files import SourceFile, read_blocks, read_whole
from prosa.corpus.hub import hub_records
from prosa.corpus.reading import decoded_blocks, jsonl_records
from prosa.corpus.records import expand, iterate_json
from prosa.corpus.sources import SourceSettings, check_source
from prosa.corpus.tree import walk

_PACKED_PARQUET_LIMIT_BYTES = 256_000_000


def read_rows(path: str, report: ReadReport) -> Iterator[tuple[Any, str]]:
    """The records of jsonl, json and parquet files (plain, gz, zst) in `path`, or of `hf:owner/name[:config][:split]`.

    A JSON object that only wraps a list of records gives those. origin is `file:line`, or `file:row` of a parquet
    file. Raises DataError if the path is not there.
    """
    if path.startswith("hf:"):
        yield from hub_records(path)
        return
    check_source(SourceSettings(path=path))
    for file in walk(Path(path).expanduser(), report, keeps_ignored=False):
        match file.format:
            case "jsonl":
                for block in read_blocks(file, report, is_text=False):
                    yield from jsonl_records(file, block, report)
            case "json":
                for value, line in iterate_json(decoded_blocks(file, report), file.name, report):
                    yield from ((record, f"{file.name}:{line}") for record in expand(value))
            case "parquet":
                yield from _parquet_rows(file, report)
            case _:
                report.skipped.add("no file of records", file.name)


def _parquet_rows(file: SourceFile, report: ReadReport) -> Iterator[tuple[Any, str]]:
    import pyarrow
    import pyarrow.parquet

    data: Any = file.path
    if file.compression:
        unpacked = read_whole(file, report, _PACKED_PARQUET_LIMIT_BYTES, is_text=False)
        if unpacked is None:
            return
        data = io.BytesIO(unpacked)
    try:
        with pyarrow.parquet.ParquetFile(data) as parquet:
            row = 0
            for batch in parquet.iter_batches(batch_size=64):
                for record in batch.to_pylist():
                    row += 1
                    yield record, f"{file.name}:{row}"
    except (OSError, pyarrow.ArrowException) as error:
        report.rejected.add("damaged parquet", file.name, f"{error}".partition("\n")[0])
