import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from prosa.corpus import ReadReport, SourceSettings, read_source, reading

TEXTS = ['Era uma vez um rei.\n\nO rei era "bom"; e só.', "Linha um,\nlinha dois.", "Fim — ponto."]
ROWS = [{"id": index, "text": text, "lang": "pt", "kind": "story"} for index, text in enumerate(TEXTS)]


def as_jsonl(rows: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(row, ensure_ascii=False).encode() + b"\n" for row in rows)


def as_json(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows, indent=2).encode()


def as_csv(rows: list[dict[str, Any]], delimiter: str = ",") -> bytes:
    def cell(value: Any) -> str:
        return '"' + str(value).replace('"', '""') + '"'

    lines = [delimiter.join(rows[0]), *(delimiter.join(map(cell, row.values())) for row in rows)]
    return "\r\n".join(lines).encode()


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), sink, row_group_size=2)
    return bytes(sink.getvalue())


FORMATS: dict[str, Callable[[list[dict[str, Any]]], bytes]] = {
    "jsonl": as_jsonl,
    "ndjson": as_jsonl,
    "json": as_json,
    "csv": as_csv,
    "tsv": lambda rows: as_csv(rows, "\t"),
    "parquet": as_parquet,
}


def pack(data: bytes, suffix: str) -> bytes:
    if suffix == ".zst":
        return bytes(pyarrow.compress(data, "zstd", asbytes=True))
    return gzip.compress(data) if suffix == ".gz" else data


def read(path: Path, **settings: Any) -> tuple[list[Any], ReadReport]:
    report = ReadReport()
    return list(read_source(SourceSettings(path=str(path), **settings), report)), report


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
@pytest.mark.parametrize("extension", FORMATS)
@pytest.mark.parametrize("is_large", [False, True])
def test_records_of_every_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extension: str, suffix: str, is_large: bool
) -> None:
    if is_large:
        monkeypatch.setattr(reading, "SMALL_FILE_BYTES", 0)
        monkeypatch.setattr(reading, "_SMALL_PACKED_BYTES", 0)
        monkeypatch.setattr(reading, "_ROWS_PER_UNIT", 2)
        monkeypatch.setattr(reading, "BLOCK_BYTES", 1 if extension == "parquet" else 4_000_000)
    (tmp_path / f"a.{extension}{suffix}").write_bytes(pack(FORMATS[extension](ROWS), suffix))
    documents, report = read(tmp_path)
    assert [document.text for document in documents] == TEXTS
    assert {(document.kind, document.language) for document in documents} == {("book", "pt")}
    assert len({document.origin for document in documents}) == 3
    assert report.rejected.counts == {} and report.n_documents == 3


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_plain_files(tmp_path: Path, suffix: str) -> None:
    page = "<html><head><title>x</title><style>p{}</style></head><body><nav>menu</nav><article>"
    page += "".join(f"<p>Este é o parágrafo {number} de um texto longo sobre o rio e a foz.</p>" for number in range(9))
    files = {
        "a.txt": ("Um livro.\n", "book"),
        "b.md": ("# Título\n\nTexto.\n", "article"),
        "c.py": ("def f():\n    return 1\n", "code"),
        "d.html": (page + "</article></body></html>", "article"),
    }
    for name, (text, _) in files.items():
        (tmp_path / f"{name}{suffix}").write_bytes(pack(text.encode(), suffix))
    documents, report = read(tmp_path)
    assert [document.kind for document in documents] == [kind for _, kind in files.values()]
    assert [document.text for document in documents[:3]] == [text for text, _ in list(files.values())[:3]]
    assert documents[2].language == "code" and documents[0].origin == f"a.txt{suffix}:1"
    assert "parágrafo 8" in documents[3].text and "menu" not in documents[3].text
    assert report.rejected.counts == report.repaired.counts == {}


def test_bad_jsonl_lines_are_counted_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(
        b'{"text": "um"}\n'
        b'{"text": "dois"\n'
        b"\n"
        b'{"text": 4}\n'
        b'{"text": "cinco", "score": NaN}\n'
        b'{"title": "seis"}\n'
        + '{"text": "ação"}\n'.encode("latin-1")
        + b'{"text": "'
        + b"\xff\xfe\xfa\xfb" * 5
        + b'"}\n'
        + b'{"text": "nove"'
    )
    documents, report = read(path)
    assert [(document.text, document.origin) for document in documents] == [
        ("um", "a.jsonl:1"),
        ("cinco", "a.jsonl:5"),
        ("ação", "a.jsonl:7"),
    ]
    assert report.rejected.counts == {"malformed JSON": 2, "wrong type": 1, "no text field": 1, "undecodable": 1}
    assert [place.split(": ")[0] for place in report.rejected.examples["malformed JSON"]] == ["a.jsonl:2", "a.jsonl:9"]
    assert report.rejected.examples["wrong type"] == ["a.jsonl:4: 4"]
    assert report.repaired.examples == {"read as Windows-1252": ["a.jsonl:7"]}


def test_bad_csv_rows_are_counted_by_line(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('id;texto\n1;um\n2;dois;extra\n\n3;"três\nlinhas"\n4\n5;cinco\n', encoding="utf-8")
    documents, report = read(path)
    assert [(document.text, document.origin) for document in documents] == [
        ("um", "a.csv:2"),
        ("três\nlinhas", "a.csv:5"),
        ("cinco", "a.csv:8"),
    ]
    assert report.rejected.counts == {"malformed csv": 2}
    assert [place[:7] for place in report.rejected.examples["malformed csv"]] == ["a.csv:3", "a.csv:7"]


def test_damaged_and_foreign_parquet(tmp_path: Path) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 this is not parquet PAR1")
    (tmp_path / "b.parquet").write_bytes(as_parquet([{"id": 1, "label": 2}]))
    data = bytearray(as_parquet([{"text": "palavra " * 2000 + str(index)} for index in range(9)]))
    data[100:400] = b"\xff" * 300
    (tmp_path / "c.parquet").write_bytes(data)
    (tmp_path / "d.parquet").write_bytes(as_parquet([{"text": 1.5}]))
    documents, report = read(tmp_path)
    assert len(documents) < 9
    assert report.rejected.counts == {"damaged parquet": 2, "no text field": 1, "wrong type": 1}


def test_large_text_is_read_in_blocks_that_know_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosa.corpus.files.BLOCK_BYTES", 1000)
    monkeypatch.setattr("prosa.corpus.files._CHUNK_BYTES", 128)
    text = "\n\n".join(f"Parágrafo {number}, com algumas palavras." for number in range(200))
    (tmp_path / "a.txt").write_text(text, encoding="utf-8", newline="\n")
    documents, _ = read(tmp_path)
    assert "".join(document.text for document in documents) == text
    assert [document.piece for document in documents] == list(range(len(documents)))
    assert documents[3].origin == f"a.txt:{1 + text[: text.index(documents[3].text)].count(chr(10))}"


def test_source_settings_beat_records(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(as_jsonl([{"text": "um", "answer": "dois", "lang": "pt", "kind": "story", "license": "MIT"}]))
    (document,), _ = read(path, kind="article", language="en", licence="CC0-1.0", text_field="answer", name="x")
    assert (document.text, document.kind, document.language, document.licence, document.source) == (
        "dois",
        "article",
        "en",
        "CC0-1.0",
        "x",
    )
    (document,), _ = read(path)
    assert (document.kind, document.language, document.licence, document.source) == ("book", "pt", "MIT", "a")


def test_generated_code_is_skipped_unless_asked_for(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("# generated by a tool, do not edit\nx = 1\n", encoding="utf-8")
    (tmp_path / "b.py").write_text("x = 1\n" * 200_000, encoding="utf-8")
    (tmp_path / "c.py").write_text("y = 2\n", encoding="utf-8")
    documents, report = read(tmp_path)
    assert [document.origin for document in documents] == ["c.py"]
    assert report.skipped.counts == {"generated file": 2}
    assert len(read(tmp_path, keeps_ignored=True)[0]) == 3


def test_deep_nesting_is_no_trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "SMALL_FILE_BYTES", 0)
    for depth in (900, 50_000):
        (tmp_path / f"{depth}.json").write_text(
            f'[{{"text": "um", "x": {"[" * depth}{"]" * depth}}}]', encoding="utf-8"
        )
        (tmp_path / f"{depth}.jsonl").write_text(f'{{"text": "um", "x": {"[" * depth}{"]" * depth}}}', encoding="utf-8")
    documents, report = read(tmp_path)
    assert len(documents) + report.rejected.counts.get("malformed JSON", 0) == 4 and len(documents) <= 2
