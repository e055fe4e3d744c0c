"""A file of JSON rows goes in, rows with their place come out; what cannot be read is counted, never fatal."""

import gzip
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from prosa.corpus import ReadReport
from prosa.errors import DataError
from prosa.preferences.judgments import RankedAnswers

Row = Mapping[str, Any]


def iterate_rows(path: Path, report: ReadReport) -> Iterator[tuple[str, Row]]:
    """("path:line", row) of jsonl, of a JSON array, of parquet; the first two also gzipped.

    Raises DataError if the file cannot be opened; a line that is no JSON object is counted in `report`.
    """
    try:
        if path.suffix == ".parquet":
            yield from _parquet_rows(path)
            return
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
            yield from _json_rows(file, path, report)
    except (OSError, EOFError) as error:
        raise DataError(f"`{path}` cannot be read: {error}") from None


def convert_row(
    row: Row, where: str, report: ReadReport, convert: Callable[[Row], Iterable[RankedAnswers]]
) -> list[RankedAnswers]:
    """The rankings of one row; none, counted in the report, if it is not of the form expected or ranks nothing."""
    try:
        found = list(convert(row))
        if not found or any(len(one.ranking.ranked) < 2 for one in found):
            raise DataError("fewer than two answers with a place")
    except DataError as error:
        report.rejected.add(str(error).splitlines()[0], where)
        return []
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        report.rejected.add("a row of another form", where, f"{type(error).__name__} {error}"[:80])
        return []
    report.n_documents += len(found)
    return found


def _json_rows(file: IO[bytes], path: Path, report: ReadReport) -> Iterator[tuple[str, Row]]:
    for number, line in enumerate(file, start=1):
        if number == 1 and line.lstrip().startswith(b"["):
            yield from _array_rows(line + file.read(), path, report)
            return
        if line.strip():
            yield from _checked(line, f"{path}:{number}", report)


def _array_rows(data: bytes, path: Path, report: ReadReport) -> Iterator[tuple[str, Row]]:
    try:
        values = json.loads(data)
    except (ValueError, RecursionError) as error:
        report.rejected.add("malformed JSON", str(path), str(error)[:80])
        return
    for number, value in enumerate(values, start=1):
        if isinstance(value, Mapping):
            yield f"{path}[{number}]", value
        else:
            report.rejected.add("no JSON object", f"{path}[{number}]")


def _checked(line: bytes, where: str, report: ReadReport) -> Iterator[tuple[str, Row]]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        report.rejected.add("malformed JSON", where, str(error)[:80])
        return
    if isinstance(value, Mapping):
        yield where, value
    else:
        report.rejected.add("no JSON object", where)


def _parquet_rows(path: Path) -> Iterator[tuple[str, Row]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(1000):
            for row in batch.to_pylist():
                number += 1
                yield f"{path}:{number}", row
    except pyarrow.ArrowException as error:
        raise DataError(f"`{path}` cannot be read: {error}") from None
