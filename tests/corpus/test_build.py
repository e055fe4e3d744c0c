import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest

from prosa.corpus import (
    Corpus,
    CorpusSettings,
    Document,
    SourceSettings,
    build_corpus,
    describe_corpus,
    open_corpus,
)
from prosa.corpus.stored import COLUMNS, PART_BYTES
from prosa.errors import ConfigError, DataError, StorageError

WORDS = ["maré", "céu", "barco", "vento", "luz", "rio", "foz", "areia", "farol", "rede"]


def sentence(rng: random.Random, n_words: int = 12) -> str:
    return " ".join(rng.choices(WORDS, k=n_words)).capitalize() + "."


def write_jsonl(path: Path, n_documents: int, seed: int, **fields: Any) -> list[str]:
    rng = random.Random(seed)
    texts = [" ".join(sentence(rng) for _ in range(rng.randint(2, 6))) for _ in range(n_documents)]
    lines = [json.dumps({"text": text, "lang": "pt", **fields}, ensure_ascii=False) for text in texts]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return texts


def build(folder: Path, *paths: Path | str, workers: int = 1, **settings: Any) -> Corpus:
    sources = tuple(SourceSettings(path=str(path), language="pt") for path in paths)
    return build_corpus(CorpusSettings(sources=sources, **settings), folder, workers=workers)


def texts_of(corpus: Corpus, split: str, source: str | None = None) -> list[str]:
    return [document.text for document in corpus.documents(split, source)]


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """A folder of several formats with some bad input in each, enough for several units of work."""
    root = tmp_path / "mixed"
    (root / "src").mkdir(parents=True)
    rng = random.Random(1)
    write_jsonl(root / "a.jsonl", 300, seed=2, kind="news")
    with (root / "a.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"text": "cut short\n{"title": "no text"}\n')
    (root / "b.txt").write_text("\n\n".join(sentence(rng, 40) for _ in range(900)), encoding="utf-8")
    (root / "c.html").write_text("<p>Oi, isto é uma página pequena.</p>", encoding="utf-8")
    (root / "d.txt").write_bytes(b"\x00\x01\x02")
    (root / "src" / "f.py").write_text("def f(x):\n    return x + 1\n" * 3, encoding="utf-8")
    (root / "talk.json").write_text(
        json.dumps([{"messages": [{"role": "user", "content": sentence(rng)}]} for _ in range(50)]), encoding="utf-8"
    )
    return root


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.timeout(120)
def test_the_same_bytes_for_any_number_of_workers(mixed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Only where units are cut, which is in this process, so that the workers get many.
    monkeypatch.setattr("prosa.corpus.reading.SMALL_FILE_BYTES", 2000)
    monkeypatch.setattr("prosa.corpus.files.BLOCK_BYTES", 6000)
    monkeypatch.setattr("prosa.corpus.files._CHUNK_BYTES", 1000)
    extra = tmp_path / "extra.jsonl"
    write_jsonl(extra, 80, seed=3)
    sources = (SourceSettings(path=str(mixed), language="pt"), SourceSettings(path=str(extra), max_bytes=5000))
    settings = CorpusSettings(sources=sources, document_bytes=3000, languages=("pt", "en"))
    folders = []
    for workers in (1, 2, 3):
        folders.append(tmp_path / f"corpus-{workers}")
        build_corpus(settings, folders[-1], workers=workers)
    first, second, third = map(all_bytes, folders)
    assert first == second == third
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


def test_every_document_is_there_once_with_its_label(mixed: Path, tmp_path: Path) -> None:
    corpus = build(tmp_path / "corpus", mixed, document_bytes=3000)
    report = describe_corpus(corpus)
    source = report["sources"][0]
    stored = [*corpus.documents("train"), *corpus.documents("validation")]
    assert len({document.id for document in stored}) == len(stored) == sum(report["documents"].values())
    assert sum(len(document.text.encode()) for document in stored) == sum(report["bytes"].values())
    assert {kind: entry["documents"] for kind, entry in report["kinds"].items()} == {
        "article": 301,
        "book": sum(document.kind == "book" for document in stored),
        "code": 1,
        "conversation": 50,
    }
    assert source["rejected"]["malformed JSON"]["examples"][0].startswith("a.jsonl:301")
    assert source["rejected"]["no text field"]["count"] == source["rejected"]["binary"]["count"] == 1
    n_long = report["kinds"]["book"]["documents"]
    assert source["documents_read"] == 300 + 1 + 1 + 1 + 50 and n_long > 50
    book = sorted((document for document in stored if document.kind == "book"), key=lambda document: document.piece)
    assert [document.piece for document in book] == list(range(n_long))
    assert "".join(document.text for document in book) == (mixed / "b.txt").read_text("utf-8")
    assert report["samples"] and all(sample["text"] for sample in report["samples"])
    json.dumps(report)


def test_parts_are_parquet_that_anyone_can_read(mixed: Path, tmp_path: Path) -> None:
    corpus = build(tmp_path / "corpus", mixed)
    for part in corpus.parts:
        table = pyarrow.parquet.read_table(part.path)
        assert tuple(table.column_names) == COLUMNS
        assert table.num_rows == part.n_documents
        texts = table["text"].to_pylist()
        assert sum(len(text.encode()) for text in texts) == part.n_bytes <= PART_BYTES
        assert table["id"].to_pylist() == [Document(text, "", "", "", "", "").id for text in texts]
        assert set(table["source"].to_pylist()) == {part.source}


def test_parts_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("prosa.corpus.parts.PART_BYTES", 20_000)
    texts = write_jsonl(tmp_path / "a.jsonl", 400, seed=5)
    corpus = build(tmp_path / "corpus", tmp_path / "a.jsonl", validation_fraction=0)
    assert len(corpus.parts) > 4 and max(part.n_bytes for part in corpus.parts) <= 20_000
    assert texts_of(corpus, "train") == list(dict.fromkeys(texts))


def test_duplicates_leave_across_sources_and_the_first_stays(tmp_path: Path) -> None:
    texts = write_jsonl(tmp_path / "a.jsonl", 60, seed=7)
    rows = [*texts[:20], *texts[:5], "Este texto só está na segunda fonte."]
    (tmp_path / "b.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in rows), encoding="utf-8")
    corpus = build(tmp_path / "corpus", tmp_path / "a.jsonl", tmp_path / "b.jsonl", validation_fraction=0)
    report = describe_corpus(corpus)
    assert texts_of(corpus, "train", "a") == texts
    assert texts_of(corpus, "train", "b") == ["Este texto só está na segunda fonte."]
    assert [source["duplicates"] for source in report["sources"]] == [0, 25] and report["duplicates"] == 25


def test_a_small_change_does_not_reshuffle_the_validation_split(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    texts = write_jsonl(path, 600, seed=8)
    before = set(texts_of(build(tmp_path / "one", path, validation_fraction=0.1), "validation"))
    lines = path.read_text("utf-8").splitlines()
    lines[3] = json.dumps({"text": "Outra frase, no lugar da terceira."})
    path.write_text("\n".join([json.dumps({"text": "Uma frase nova no começo."}), *lines[:500]]), encoding="utf-8")
    after = set(texts_of(build(tmp_path / "two", path, validation_fraction=0.1), "validation"))
    kept = {text for index, text in enumerate(texts[:500]) if index != 3}
    assert 30 < len(before) < 90
    assert before & kept == after & kept


def test_a_single_book_is_divided_at_its_tail(tmp_path: Path) -> None:
    rng = random.Random(9)
    text = "\n\n".join(sentence(rng, 50) for _ in range(400))
    (tmp_path / "book.txt").write_text(text, encoding="utf-8")
    corpus = build(tmp_path / "corpus", tmp_path / "book.txt", document_bytes=20_000, validation_fraction=0.1)
    train, validation = "".join(texts_of(corpus, "train")), "".join(texts_of(corpus, "validation"))
    assert train + validation == text
    assert train.endswith("\n\n") and 0.85 < len(train) / len(text) < 0.95
    assert describe_corpus(corpus)["sources"][0]["validation"] == "tail"


@pytest.mark.parametrize("document_bytes", [1000, 200_000])
def test_an_exact_tail_is_at_the_very_character(tmp_path: Path, document_bytes: int) -> None:
    rng = random.Random(10)
    text = "".join(rng.choice("abé \n") for _ in range(11_394)) + "\n"
    (tmp_path / "book.txt").write_text(text, encoding="utf-8", newline="")
    source = SourceSettings(path=str(tmp_path / "book.txt"), language="en", cleans=False)
    settings = CorpusSettings(
        sources=(source,),
        validation="tail",
        validation_cut="exact",
        validation_fraction=0.1,
        document_bytes=document_bytes,
    )
    corpus = build_corpus(settings, tmp_path / "corpus", workers=1)
    assert "".join(texts_of(corpus, "train")) == text[: int(0.9 * len(text))]
    assert "".join(texts_of(corpus, "validation")) == text[int(0.9 * len(text)) :]


def test_a_long_file_read_in_blocks_is_one_document_to_the_tail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prosa.corpus.files.BLOCK_BYTES", 4000)
    monkeypatch.setattr("prosa.corpus.files._CHUNK_BYTES", 500)
    text = "".join(f"Linha {number} do livro.\n" for number in range(2000))
    (tmp_path / "book.txt").write_text(text, encoding="utf-8", newline="")
    source = SourceSettings(path=str(tmp_path / "book.txt"), language="pt", cleans=False)
    settings = CorpusSettings(sources=(source,), validation="tail", validation_cut="exact", validation_fraction=0.25)
    corpus = build_corpus(settings, tmp_path / "corpus", workers=1)
    assert "".join(texts_of(corpus, "train")) == text[: int(0.75 * len(text))]


def test_each_source_is_divided_by_itself(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "many.jsonl", 200, seed=11)
    write_jsonl(tmp_path / "few.jsonl", 5, seed=12)
    corpus = build(tmp_path / "corpus", tmp_path / "many.jsonl", tmp_path / "few.jsonl")
    assert corpus.manifest["description"]["validation"] == {"many": "hash", "few": "tail"}
    assert texts_of(corpus, "validation", "many") and len(texts_of(corpus, "validation", "few")) == 5


def test_weights_by_source_and_by_kind(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", 100, seed=13, kind="story")
    write_jsonl(tmp_path / "b.jsonl", 100, seed=14, kind="news")
    with (tmp_path / "b.jsonl").open("a", encoding="utf-8") as file:
        file.write((tmp_path / "a.jsonl").read_text("utf-8").replace("Maré", "Mar").replace("Vento", "Ventos"))
    sources = tuple(
        SourceSettings(path=str(tmp_path / f"{name}.jsonl"), weight=weight) for name, weight in (("a", 3), ("b", 1))
    )
    corpus = build_corpus(CorpusSettings(sources=sources), tmp_path / "one", workers=1)
    assert corpus.weights == {"a": 0.75, "b": 0.25} and corpus.sources == ("a", "b")
    natural = tuple(source.model_copy(update={"weight": 0}) for source in sources)
    by_kind = CorpusSettings(sources=natural, kind_weights={"book": 0.8})
    corpus = build_corpus(by_kind, tmp_path / "two", workers=1)
    assert set(corpus.sources) == {"a.book", "b.article", "b.book"}
    assert corpus.weights["a.book"] + corpus.weights["b.book"] == pytest.approx(0.8)
    assert sum(corpus.weights.values()) == pytest.approx(1)
    assert {document.kind for document in corpus.documents("train", "b.book")} == {"book"}
    with pytest.raises(ConfigError, match="both"):
        build_corpus(CorpusSettings(sources=sources, kind_weights={"book": 1}), tmp_path / "three")


def test_what_lies_beyond_max_bytes_does_not_count_as_read(tmp_path: Path) -> None:
    texts = write_jsonl(tmp_path / "a.jsonl", 100, seed=21)
    source = SourceSettings(path=str(tmp_path / "a.jsonl"), max_bytes=3000)
    corpus = build_corpus(CorpusSettings(sources=(source,), validation_fraction=0), tmp_path / "corpus", workers=1)
    kept = texts_of(corpus, "train")
    assert texts[: len(kept)] == kept and 2500 < corpus.n_bytes("train") - len(kept[-1].encode()) < 3000
    assert describe_corpus(corpus)["sources"][0]["documents_read"] == len(kept)


def test_the_hash_is_that_of_the_content(tmp_path: Path) -> None:
    texts = write_jsonl(tmp_path / "a.jsonl", 50, seed=15)
    first = build(tmp_path / "one", tmp_path / "a.jsonl")
    assert build(tmp_path / "two", tmp_path / "a.jsonl").hash == first.hash == open_corpus(tmp_path / "one").hash
    path = tmp_path / "a.jsonl"
    path.write_text(path.read_text("utf-8").replace(texts[7], texts[7] + " Fim."), encoding="utf-8")
    assert build(tmp_path / "two", path).hash != first.hash


def test_an_existing_corpus_is_replaced_whole(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", 50, seed=16)
    write_jsonl(tmp_path / "b.jsonl", 50, seed=17)
    build(tmp_path / "corpus", tmp_path / "a.jsonl")
    assert build(tmp_path / "corpus", tmp_path / "b.jsonl").sources == ("b",)
    assert not [name for name in all_bytes(tmp_path / "corpus") if "-a-" in name]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jsonl", "b.jsonl", "corpus"]


def damage_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize(
    "harm",
    [
        lambda folder: next(folder.glob("*.parquet")).unlink(),
        lambda folder: next(folder.glob("*.parquet")).write_bytes(b"PAR1"),
        lambda folder: damage_middle(next(folder.glob("*.parquet"))),
        lambda folder: damage_middle(folder / "manifest.json"),
        lambda folder: (folder / "manifest.json").unlink(),
    ],
)
def test_a_damaged_corpus_is_refused(tmp_path: Path, harm: Callable[[Path], Any]) -> None:
    write_jsonl(tmp_path / "a.jsonl", 50, seed=18)
    build(tmp_path / "corpus", tmp_path / "a.jsonl")
    harm(tmp_path / "corpus")
    with pytest.raises(DataError, match="corpus") as error:
        open_corpus(tmp_path / "corpus", verify=True)
    assert "hint" in str(error.value)


def test_nothing_usable_lists_the_reasons(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\0\0")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.jsonl").write_text('{"id": 1}\n{"text": "curto"}\n', encoding="utf-8")
    (tmp_path / "d.png").write_bytes(b"png")
    with pytest.raises(DataError, match="no usable text") as error:
        build(tmp_path / "corpus", tmp_path)
    for reason in ("1 binary (such as a.txt)", "1 empty", "1 no text field", "1 too short", "1 unknown format .png"):
        assert reason in str(error.value)
    assert [path.name for path in tmp_path.iterdir() if path.is_dir()] == []


def test_too_small_for_validation(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Uma só frase, de umas palavras.", encoding="utf-8")
    with pytest.raises(DataError, match="too small") as error:
        build(tmp_path / "corpus", tmp_path / "a.txt", validation="hash")
    assert "validation_fraction" in str(error.value)
    corpus = build(tmp_path / "corpus", tmp_path / "a.txt", validation_fraction=0)
    assert texts_of(corpus, "train") == ["Uma só frase, de umas palavras."]
    assert not texts_of(corpus, "validation")


@pytest.mark.parametrize("where", ["prosa.corpus.preparing._spill", "prosa.corpus.build.write_part"])
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    write_jsonl(tmp_path / "a.jsonl", 50, seed=19)
    monkeypatch.setattr(where, refuse)
    with pytest.raises(StorageError):
        build(tmp_path / "corpus", tmp_path / "a.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["a.jsonl"]


def test_progress_tells_what_is_done(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl", 50, seed=20)
    seen: list[tuple[str, int]] = []
    settings = CorpusSettings(sources=(SourceSettings(path=str(tmp_path / "a.jsonl")),))
    corpus = build_corpus(settings, tmp_path / "corpus", workers=1, progress=lambda what, n: seen.append((what, n)))
    n_bytes = corpus.n_bytes("train") + corpus.n_bytes("validation")
    assert seen[-1] == ("writing", n_bytes) and ("reading", n_bytes) in seen
