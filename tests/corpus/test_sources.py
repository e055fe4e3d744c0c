import sys
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from pydantic import ValidationError

from prosa.corpus import CorpusSettings, ReadReport, SourceSettings, corpus_inputs, read_source
from prosa.corpus.hub import parse_hub_address
from prosa.corpus.sources import name_sources
from prosa.corpus.world import build_world, parse_world
from prosa.errors import ConfigError, DataError


def test_names_come_from_paths_and_are_distinct() -> None:
    paths = [
        "data/Meus Livros/",
        "x/books.jsonl.gz",
        "y/books.txt",
        "python:",
        "world:small",
        "hf:owner/name:cfg",
        "Books",
    ]
    named = name_sources([*(SourceSettings(path=path) for path in paths), SourceSettings(path="z", name="books")])
    assert [source.name for source in named] == [
        "Meus-Livros",
        "books-2",
        "books-3",
        "python",
        "world",
        "name",
        "Books-4",
        "books",
    ]


def test_wrong_sources_say_what_helps(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no sources"):
        name_sources([])
    with pytest.raises(ConfigError, match="two sources are called `a`"):
        name_sources([SourceSettings(path="x", name="a"), SourceSettings(path="y", name="a")])
    (tmp_path / "livros").mkdir()
    with pytest.raises(DataError, match="does not exist") as error:
        list(read_source(SourceSettings(path=str(tmp_path / "livro" / "a.txt")), ReadReport()))
    assert f"did you mean `{tmp_path / 'livros'}`" in str(error.value)
    with pytest.raises(ConfigError, match="peopel"):
        list(read_source(SourceSettings(path="world:peopel=3"), ReadReport()))
    for wrong in (
        {"path": ""},
        {"path": "x", "kind": "poem"},
        {"path": "x", "language": "?"},
        {"path": "x", "weight": -1},
    ):
        with pytest.raises(ValidationError):
            SourceSettings(**wrong)  # type: ignore[arg-type]


def test_an_empty_folder_has_no_documents(tmp_path: Path) -> None:
    assert list(read_source(SourceSettings(path=str(tmp_path)), ReadReport())) == []


def test_python_is_its_own_library() -> None:
    report = ReadReport()
    documents = {
        document.origin: document
        for document in read_source(SourceSettings(path="python:", max_bytes=3_000_000), report)
    }
    assert documents["Lib/argparse.py"].text == Path(sys.modules["argparse"].__file__ or "").read_text("utf-8")
    assert {document.licence for document in documents.values()} == {"PSF-2.0"}
    assert {document.kind for document in documents.values()} == {"code"}
    assert not any("/test/" in name or "site-packages" in name for name in documents)


def test_python_topics_are_articles() -> None:
    from prosa.corpus.python_library import python_units
    from prosa.corpus.reading import DocumentsUnit
    from prosa.corpus.sources import read_rules

    rules = read_rules(SourceSettings(path="python:", name="python"))
    (unit,) = (unit for unit in python_units(rules, ReadReport()) if isinstance(unit, DocumentsUnit))
    topics = {document.origin.rpartition(":")[2]: document for document in unit.documents}
    assert "while" in topics and topics["while"].kind == "article" and topics["while"].language == "en"


def test_the_world_is_read_as_it_writes_itself() -> None:
    address = "world:small,size=60KB"
    documents = list(read_source(SourceSettings(path=address), ReadReport()))
    expected = list(build_world(parse_world(address)).documents())
    assert [(d.text, d.kind, d.language, d.origin, d.licence) for d in documents] == [
        (d.text, d.kind, d.language, d.origin, d.licence) for d in expected
    ]


def test_a_source_stops_after_max_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "0123456789"}\n' * 50, encoding="utf-8")
    documents = list(read_source(SourceSettings(path=str(tmp_path), max_bytes=95), ReadReport()))
    assert len(documents) == 10


def test_hub_addresses(tmp_path: Path) -> None:
    assert parse_hub_address("hf:owner/name") == ("owner/name", None, "train")
    assert parse_hub_address("hf:owner/name:pt") == ("owner/name", "pt", "train")
    assert parse_hub_address("hf:owner/name:validation") == ("owner/name", None, "validation")
    assert parse_hub_address("hf:owner/name:pt:test") == ("owner/name", "pt", "test")
    assert parse_hub_address(f"hf:{tmp_path}") == (str(tmp_path), None, "train")
    with pytest.raises(ConfigError):
        parse_hub_address("hf:a:b:c:d")


@pytest.mark.filterwarnings("ignore")
def test_a_data_set_folder_is_streamed_through_datasets(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    rows = [{"text": f"Texto número {number}.", "language": "pt"} for number in range(5)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows[:3]), tmp_path / "train-0.parquet")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows[3:]), tmp_path / "train-1.parquet")
    documents = list(read_source(SourceSettings(path=f"hf:{tmp_path}"), ReadReport()))
    assert [(document.text, document.language) for document in documents] == [(row["text"], "pt") for row in rows]
    with pytest.raises(DataError, match="cannot be streamed"):
        list(read_source(SourceSettings(path=f"hf:{tmp_path}:test"), ReadReport()))


def test_without_datasets_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ConfigError, match=r"prosa\[hub\]"):
        list(read_source(SourceSettings(path="hf:owner/name"), ReadReport()))


def test_inputs_change_with_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("um", encoding="utf-8")
    settings = CorpusSettings(
        sources=(SourceSettings(path=str(tmp_path), name="x"), SourceSettings(path="world:small"))
    )
    before: dict[str, Any] = corpus_inputs(settings)
    assert before == corpus_inputs(settings) and set(before) == {"corpus format", "x", "world"}
    (tmp_path / "a.txt").write_text("uma", encoding="utf-8")
    after = corpus_inputs(settings)
    assert after["x"] != before["x"] and after["world"] == before["world"]
    (tmp_path / "b.txt").write_text("um", encoding="utf-8")
    assert corpus_inputs(settings)["x"] != after["x"]
