"""One unit of work from reading to cleaned, identified pieces in a spill file: all that workers do in parallel.

A task comes in; Arrow files of texts go to the spill folder, and what the plan of the corpus needs (ids, lengths,
labels) comes back. Later per-document work, such as quality scores, belongs in `_prepare_document`.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from prosa.corpus.cleaning import clean_text, find_language
from prosa.corpus.document import Document, ReadReport, content_id
from prosa.corpus.reading import Unit, read_unit
from prosa.corpus.sources import SourceSettings, read_rules, with_settings
from prosa.corpus.splitting import cut_pieces

if TYPE_CHECKING:
    import pyarrow

_SPILL_BYTES = 8_000_000
SPILL_COLUMNS = ("id", "text", "kind", "language", "licence", "origin")


@dataclass(frozen=True, slots=True)
class PrepareTask:
    number: int
    source_index: int
    source: SourceSettings
    unit: Unit
    report: ReadReport
    """What cutting the source into units counted since the unit before."""
    languages: tuple[str, ...]
    document_bytes: int
    min_chars: int
    folder: Path


@dataclass(frozen=True, slots=True)
class SpillRow:
    """What the plan needs to know of one piece."""

    id: str
    n_bytes: int
    n_chars: int
    is_continued: bool
    kind: str
    language: str
    licence: str


@dataclass(slots=True)
class Prepared:
    source_index: int
    report: ReadReport
    spills: list[tuple[str, list[SpillRow]]] = field(default_factory=list)


def prepare(task: PrepareTask) -> Prepared:
    """Reads, cleans and spills one unit. Raises OSError only if the spill cannot be written."""
    prepared = Prepared(task.source_index, task.report)
    rows: list[SpillRow] = []
    columns: dict[str, list[str]] = {name: [] for name in SPILL_COLUMNS}
    size = 0
    for document, piece in _pieces(task, prepared.report):
        text, labels = piece.decode(), (document.kind, document.language, document.licence)
        row = SpillRow(content_id(piece), len(piece), len(text), document.piece > 0, *labels)
        rows.append(row)
        for name, value in zip(SPILL_COLUMNS, (row.id, text, *labels, document.origin), strict=True):
            columns[name].append(value)
        size += len(piece)
        if size >= _SPILL_BYTES:
            prepared.spills.append((_spill(task, len(prepared.spills), columns), rows))
            rows, columns, size = [], {name: [] for name in SPILL_COLUMNS}, 0
    if rows:
        prepared.spills.append((_spill(task, len(prepared.spills), columns), rows))
    return prepared


def read_spill(folder: Path, name: str) -> "pyarrow.Table":
    import pyarrow

    with pyarrow.OSFile(str(folder / name)) as file, pyarrow.ipc.open_file(file) as reader:
        return reader.read_all()


def _pieces(task: PrepareTask, report: ReadReport) -> Iterator[tuple[Document, bytes]]:
    """Pairs (the document with its number of piece, the piece's UTF-8 text)."""
    for document in read_unit(task.unit, read_rules(task.source), report):
        report.n_documents += 1
        prepared = _prepare_document(with_settings(document, task.source), task, report)
        if prepared is None:
            continue
        ready, data = prepared
        for index, piece in enumerate(cut_pieces(data, task.document_bytes)):
            number = ready.piece + index
            yield ready if number == ready.piece else replace(ready, piece=number), piece


def _prepare_document(document: Document, task: PrepareTask, report: ReadReport) -> tuple[Document, bytes] | None:
    """The cleaned document and its UTF-8 text; None, counted, if nothing usable is left."""
    text = document.text
    if task.source.cleans:
        text, touched = clean_text(text, is_code=document.kind == "code")
        for rule in touched:
            report.cleaned[rule] = report.cleaned.get(rule, 0) + 1
    if not text or text.isspace():
        report.rejected.add("empty", document.origin)
        return None
    if len(text) < task.min_chars and document.piece == 0:
        report.rejected.add("too short", document.origin, f"{len(text)} characters")
        return None
    try:
        data = text.encode()
    except UnicodeEncodeError:
        report.rejected.add("lone surrogates", document.origin, "half of a character that UTF-8 cannot hold")
        return None
    language = document.language or find_language(text, task.languages)
    return replace(document, text=text, language=language), data


def _spill(task: PrepareTask, index: int, columns: dict[str, list[str]]) -> str:
    import pyarrow

    name = f"{task.number:06d}-{index:03d}.arrow"
    table = pyarrow.table({key: pyarrow.array(values, pyarrow.string()) for key, values in columns.items()})
    options = pyarrow.ipc.IpcWriteOptions(compression="lz4")
    path = str(task.folder / name)
    with pyarrow.OSFile(path, "wb") as file, pyarrow.ipc.new_file(file, table.schema, options=options) as writer:
        writer.write_table(table)
    return name
