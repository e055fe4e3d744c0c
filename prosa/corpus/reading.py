"""The work of reading, cut into units, and the documents of a unit.

A source's files become units small enough for one worker's memory, in a fixed order; a unit becomes documents. The
same functions serve one process and many, so that both give the same documents.
"""

import csv
import functools
import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosa.corpus.document import Document, ReadReport
from prosa.corpus.files import BLOCK_BYTES, Block, SourceFile, decode, read_blocks, read_whole
from prosa.corpus.records import (
    KIND_FIELDS,
    LANGUAGE_FIELDS,
    LICENCE_FIELDS,
    MESSAGE_FIELDS,
    TEXT_FIELDS,
    expand,
    iterate_json,
    record_document,
)
from prosa.corpus.tree import is_generated, walk
from prosa.corpus.webpage import main_text

SMALL_FILE_BYTES = 1_000_000
_SMALL_PACKED_BYTES = 250_000
_FILES_PER_UNIT = 500
_HTML_LIMIT_BYTES = 16_000_000
_PACKED_PARQUET_LIMIT_BYTES = 256_000_000
_ROWS_PER_UNIT = 2000
_KIND_OF_FORMAT = {"text": "book", "markdown": "article", "html": "article", "code": "code"}


@dataclass(frozen=True, slots=True)
class ReadRules:
    """What a source's settings say about reading its records and files."""

    source: str
    text_field: str
    exclude: dict[str, Any]
    keeps_ignored: bool


@dataclass(frozen=True, slots=True)
class FilesUnit:
    files: tuple[SourceFile, ...]


@dataclass(frozen=True, slots=True)
class BlockUnit:
    """A block of a long text or jsonl file."""

    file: SourceFile
    block: Block


@dataclass(frozen=True, slots=True)
class RowGroupsUnit:
    """Row groups start..stop of a parquet file."""

    file: SourceFile
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class RecordsUnit:
    """Parsed records, each with where it stands."""

    records: tuple[tuple[Any, str], ...]


@dataclass(frozen=True, slots=True)
class DocumentsUnit:
    """Documents that need no reading."""

    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class WorldUnit:
    """Documents start..stop of the built-in world that `address` describes."""

    address: str
    start: int
    stop: int


Unit = FilesUnit | BlockUnit | RowGroupsUnit | RecordsUnit | DocumentsUnit | WorldUnit


def file_units(root: Path, rules: ReadRules, report: ReadReport) -> Iterator[Unit]:
    """The units of a folder or file in the order of its paths: small files together, long ones in blocks."""
    group: list[SourceFile] = []
    group_bytes = 0
    for file in walk(root, report, keeps_ignored=rules.keeps_ignored):
        is_small = file.n_bytes <= (_SMALL_PACKED_BYTES if file.compression else SMALL_FILE_BYTES)
        if group and (not is_small or group_bytes >= BLOCK_BYTES or len(group) >= _FILES_PER_UNIT):
            yield FilesUnit(tuple(group))
            group, group_bytes = [], 0
        if is_small:
            group.append(file)
            group_bytes += file.n_bytes * (4 if file.compression else 1)
        else:
            yield from _large_file_units(file, rules, report)
    if group:
        yield FilesUnit(tuple(group))


def record_units(records: Iterable[tuple[Any, str]]) -> Iterator[Unit]:
    """Records in groups of about BLOCK_BYTES, judged by their strings."""
    group: list[tuple[Any, str]] = []
    size = 0
    for record, where in records:
        group.append((record, where))
        size += _rough_size(record)
        if size >= BLOCK_BYTES or len(group) >= _ROWS_PER_UNIT:
            yield RecordsUnit(tuple(group))
            group, size = [], 0
    if group:
        yield RecordsUnit(tuple(group))


def read_unit(unit: Unit, rules: ReadRules, report: ReadReport) -> Iterator[Document]:
    """The documents of a unit; kind and language are "" where nothing said them."""
    match unit:
        case FilesUnit(files):
            for file in files:
                yield from _read_file(file, rules, report)
        case BlockUnit(file, block):
            yield from _read_block(file, block, rules, report)
        case RowGroupsUnit(file, start, stop):
            yield from _from_records(_parquet_rows(file, rules, report, start, stop), rules, report)
        case RecordsUnit(records):
            yield from _from_records(records, rules, report)
        case DocumentsUnit(documents):
            yield from documents
        case WorldUnit(address, start, stop):
            world = _build_world(address)
            for index in range(start, stop):
                text = world.document(index)
                yield Document(text.text, text.kind, text.language, rules.source, text.licence, text.origin)


def _large_file_units(file: SourceFile, rules: ReadRules, report: ReadReport) -> Iterator[Unit]:
    match file.format:
        case "code" if not rules.keeps_ignored and not file.compression:
            report.skipped.add("generated file", file.name, f"source code of {file.n_bytes / 1e6:.1f} MB")
        case "text" | "markdown" | "code" | "jsonl":
            for block in read_blocks(file, report, is_text=file.format != "jsonl"):
                yield BlockUnit(file, block)
        case "csv":
            yield from record_units(_csv_rows(file, report))
        case "json":
            yield from record_units(_json_records(file, report))
        case "parquet" if not file.compression:
            yield from _row_group_units(file, report)
        case _:
            yield FilesUnit((file,))


def _read_file(file: SourceFile, rules: ReadRules, report: ReadReport) -> Iterator[Document]:
    match file.format:
        case "text" | "markdown" | "code" | "jsonl":
            for block in read_blocks(file, report, is_text=file.format != "jsonl"):
                yield from _read_block(file, block, rules, report)
        case "html":
            data = read_whole(file, report, _HTML_LIMIT_BYTES)
            if data is not None and (text := main_text(data, file.name, report)) is not None:
                yield Document(text, "article", "", rules.source, "", file.name)
        case "csv":
            yield from _from_records(_csv_rows(file, report), rules, report)
        case "json":
            yield from _from_records(_json_records(file, report), rules, report)
        case "parquet":
            yield from _from_records(_parquet_rows(file, rules, report), rules, report)


def _read_block(file: SourceFile, block: Block, rules: ReadRules, report: ReadReport) -> Iterator[Document]:
    if file.format == "jsonl":
        yield from _from_records(jsonl_records(file, block, report), rules, report)
        return
    where = f"{file.name}:{block.first_line}"
    text = decode(block.data, where, report)
    if text is None:
        return
    if file.format == "code":
        if block.index == 0 and not rules.keeps_ignored and is_generated(text):
            report.skipped.add("generated file", file.name)
            return
        where = file.name
    kind = _KIND_OF_FORMAT[file.format]
    yield Document(text, kind, "code" if kind == "code" else "", rules.source, "", where, block.index)


def _from_records(records: Iterable[tuple[Any, str]], rules: ReadRules, report: ReadReport) -> Iterator[Document]:
    for record, where in records:
        document = record_document(
            record, where, report, source=rules.source, text_field=rules.text_field, exclude=rules.exclude
        )
        if document is not None:
            yield document


# jsonl, json


def jsonl_records(file: SourceFile, block: Block, report: ReadReport) -> Iterator[tuple[Any, str]]:
    """Each line's value with its file and line; a line that is no JSON is counted."""
    import orjson

    for number, line in enumerate(block.data.split(b"\n"), block.first_line):
        if not line or line.isspace():
            continue
        where = f"{file.name}:{number}"
        try:
            yield orjson.loads(line), where
            continue
        except ValueError as error:
            problem = str(error)
        # orjson is strict; NaN, lone surrogates and other encodings take the slow way.
        text = decode(line, where, report)
        if text is None:
            continue
        try:
            yield json.loads(text), where
        except (ValueError, RecursionError):
            report.rejected.add("malformed JSON", where, problem)


def _json_records(file: SourceFile, report: ReadReport) -> Iterator[tuple[Any, str]]:
    for value, line in iterate_json(decoded_blocks(file, report), file.name, report):
        for index, record in enumerate(expand(value)):
            yield record, f"{file.name}:{line}" if record is value else f"{file.name}:{line}#{index}"


def decoded_blocks(file: SourceFile, report: ReadReport) -> Iterator[str]:
    """The file's text piece by piece; a piece that cannot be decoded is counted."""
    for block in read_blocks(file, report, is_text=True):
        text = decode(block.data, f"{file.name}:{block.first_line}", report)
        if text is not None:
            yield text


# csv, tsv


def _csv_rows(file: SourceFile, report: ReadReport) -> Iterator[tuple[Any, str]]:
    lines = (line for text in decoded_blocks(file, report) for line in io.StringIO(text, newline=""))
    first = next(lines, "")
    delimiter = "\t" if ".tsv" in file.path.name.lower() else max(",;\t", key=first.count)
    csv.field_size_limit(BLOCK_BYTES * 4)
    header = next(csv.reader([first], delimiter=delimiter), [])
    rows = csv.reader(lines, delimiter=delimiter)
    while True:
        line = rows.line_num + 2
        try:
            row = next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            report.rejected.add("malformed csv", f"{file.name}:{line}", str(error))
            continue
        if len(row) == len(header):
            yield dict(zip(header, row, strict=True)), f"{file.name}:{line}"
        elif row:
            report.rejected.add("malformed csv", f"{file.name}:{line}", f"{len(row)} columns instead of {len(header)}")


# parquet


def _row_group_units(file: SourceFile, report: ReadReport) -> Iterator[Unit]:
    import pyarrow
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(file.path)
    except (OSError, pyarrow.ArrowException) as error:
        report.rejected.add("damaged parquet", file.name, f"{error}".partition("\n")[0])
        return
    start, size = 0, 0
    for group in range(metadata.num_row_groups):
        size += metadata.row_group(group).total_byte_size
        if size >= BLOCK_BYTES or group == metadata.num_row_groups - 1:
            yield RowGroupsUnit(file, start, group + 1)
            start, size = group + 1, 0


def _parquet_rows(
    file: SourceFile, rules: ReadRules, report: ReadReport, start: int = 0, stop: int | None = None
) -> Iterator[tuple[Any, str]]:
    """Rows as mappings of the columns that matter, with origin `file:row`, rows counted from 1."""
    import pyarrow
    import pyarrow.parquet

    data: Any = file.path
    if file.compression:
        unpacked = read_whole(file, report, _PACKED_PARQUET_LIMIT_BYTES, is_text=False)
        if unpacked is None:
            return
        data = io.BytesIO(unpacked)
    wanted = {*TEXT_FIELDS, *MESSAGE_FIELDS, *KIND_FIELDS, *LANGUAGE_FIELDS, *LICENCE_FIELDS}
    wanted |= {name.lower() for name in (rules.text_field, *rules.exclude)}
    try:
        with pyarrow.parquet.ParquetFile(data, buffer_size=1 << 20) as parquet:
            columns = [name for name in parquet.schema_arrow.names if name.lower() in wanted]
            if not columns:
                names = ", ".join(parquet.schema_arrow.names[:8])
                report.rejected.add("no text field", file.name, f"fields: {names}")
                return
            groups = range(parquet.num_row_groups)[start:stop]
            row = 1 + sum(parquet.metadata.row_group(group).num_rows for group in range(start))
            for batch in parquet.iter_batches(batch_size=64, row_groups=list(groups), columns=columns):
                for record in batch.to_pylist():
                    yield record, f"{file.name}:{row}"
                    row += 1
    except (OSError, pyarrow.ArrowException) as error:
        report.rejected.add("damaged parquet", file.name, f"{error}".partition("\n")[0])


@functools.lru_cache(maxsize=1)
def _build_world(address: str) -> Any:
    from prosa.corpus.world import build_world, parse_world

    return build_world(parse_world(address))


def _rough_size(record: Any, depth: int = 0) -> int:
    """Characters of the strings in a record; what is nested deeper than chat logs are counts little."""
    if isinstance(record, str | bytes):
        return len(record)
    if depth == 6 or not isinstance(record, Mapping | list):
        return 8
    values = record.values() if isinstance(record, Mapping) else record
    return sum(_rough_size(value, depth + 1) for value in values)
