"""Token shards hold every document's ids, lead back to it, do not depend on workers, and no damage goes unseen."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest

from prosa.corpus import Corpus, CorpusSettings, Document, SourceSettings, build_corpus
from prosa.errors import DataError, StorageError
from prosa.tokenizer import (
    Tokenizer,
    TokenizerSettings,
    TokenShards,
    build_shards,
    check_tokenizer,
    describe_tokenizer,
    open_shards,
    train_tokenizer,
)
from tests.faults.injection import at, die, faults, operations, refuse
from tests.faults.processes import needs_fork, run, run_and_kill
from tests.faults.report import RecordProperty
from tests.tokenizer.corpora import write_corpus, write_documents


@pytest.fixture(scope="session")
def shards(corpus: Corpus, tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> TokenShards:
    return build_shards(corpus, tokenizer, tmp_path_factory.mktemp("tokens") / "tokens")


def test_every_document_is_there_and_leads_back(corpus: Corpus, tokenizer: Tokenizer, shards: TokenShards) -> None:
    assert shards.sources == ("pt texts", "en texts", "code texts")
    assert shards.weights == corpus.weights
    assert (shards.vocab_size, shards.tokenizer_hash, shards.corpus_hash) == (700, tokenizer.hash, corpus.hash)
    for split in ("train", "validation"):
        for source in shards.sources:
            documents = list(corpus.documents(split, source))
            lengths = shards.document_lengths(split, source)
            assert lengths.dtype == np.int64
            assert len(lengths) == len(documents) > 5
            assert shards.n_tokens(split, source) == lengths.sum()
            assert shards.n_bytes(split, source) == sum(len(document.text.encode()) for document in documents)
            for number, document in enumerate(documents):
                ids = shards.read(split, source, number, 0, int(lengths[number]))
                assert ids.tolist() == [*tokenizer.encode(document.text), tokenizer.end_of_text_id]
                assert shards.document(split, source, number) == {
                    "id": document.id,
                    "kind": document.kind,
                    "language": document.language,
                    "licence": document.licence,
                    "origin": document.origin,
                    "n_bytes": len(document.text.encode()),
                    "n_tokens": len(ids),
                    "piece": document.piece,
                    "source": source,
                    "split": split,
                }


def test_spans_cross_documents_and_shards(corpus: Corpus, shards: TokenShards) -> None:
    source = "en texts"
    stream = shards.stream("train", source)
    lengths = shards.document_lengths("train", source)
    everything = np.concatenate([shards.read("train", source, n, 0, int(size)) for n, size in enumerate(lengths)])
    assert len(stream) == stream.n_tokens == len(everything)
    assert sum(part.split == "train" and part.source == source for part in corpus.parts) > 3
    assert stream.read_span(0, len(everything)).tolist() == everything.tolist()
    chance = random.Random(1)
    for _ in range(200):
        start = chance.randrange(len(everything) + 1)
        length = chance.randrange(len(everything) - start + 1)
        span = stream.read_span(start, length)
        assert span.dtype == np.uint16
        assert np.array_equal(span, everything[start : start + length])
    assert stream.document_starts.tolist() == [0, *np.cumsum(lengths)[:-1].tolist()]


def test_the_table_of_documents(corpus: Corpus, shards: TokenShards) -> None:
    table = shards.document_table("validation")
    assert table.column("id").to_pylist() == [document.id for document in corpus.documents("validation")]
    assert set(table.column("source").to_pylist()) == set(shards.sources)


def test_what_is_not_there_is_an_error_that_says_what_is(shards: TokenShards) -> None:
    with pytest.raises(DataError, match="'fr texts'") as caught:
        shards.n_tokens("train", "fr texts")
    assert "pt texts" in caught.value.hint
    with pytest.raises(DataError):
        shards.stream("test", "pt texts")
    n_tokens = shards.n_tokens("train", "pt texts")
    for position, length in ((0, n_tokens + 1), (-1, 2), (n_tokens, 1), (3, -1)):
        with pytest.raises(DataError):
            shards.stream("train", "pt texts").read_span(position, length)
    for document, start, length in ((10**6, 0, 1), (-1, 0, 1), (0, 0, 10**6), (0, -1, 1)):
        with pytest.raises(DataError):
            shards.read("train", "pt texts", document, start, length)
    with pytest.raises(DataError):
        shards.document("train", "pt texts", -1)


def test_a_source_without_validation_documents_is_empty_there(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = write_documents("pt", 50) + write_documents("en", 1)
    corpus = write_corpus(tmp_path / "corpus", documents)
    shards = build_shards(corpus, tokenizer, tmp_path / "tokens")
    assert shards.n_tokens("train", "en texts") == shards.n_bytes("train", "en texts") == 0
    assert shards.document_lengths("train", "en texts").tolist() == []
    assert shards.stream("train", "en texts").read_span(0, 0).tolist() == []
    assert shards.document_table("train").num_rows == 45


def test_bytes_do_not_depend_on_workers(
    corpus: Corpus, tokenizer: Tokenizer, shards: TokenShards, tmp_path: Path
) -> None:
    expected = {path.name: path.read_bytes() for path in shards.folder.iterdir()}
    assert len(expected) == 2 * len(corpus.parts) + 1
    for workers in (1, 2, 5):
        seen: dict[str, int] = {}
        other = build_shards(corpus, tokenizer, tmp_path / str(workers), workers=workers, progress=seen.__setitem__)
        assert other.hash == shards.hash
        assert {path.name: path.read_bytes() for path in other.folder.iterdir()} == expected
        assert list(seen.items()) == [(part.name.removesuffix(".parquet"), part.n_bytes) for part in corpus.parts]


def test_large_vocabularies_take_four_bytes(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", write_documents("pt", 20))
    tokenizer = Tokenizer([])
    assert build_shards(corpus, tokenizer, tmp_path / "two").stream("train", "pt texts").read_span(0, 1).itemsize == 2
    tokenizer.vocab_size, tokenizer.end_of_text_id = 65_537, 65_536
    shards = build_shards(corpus, tokenizer, tmp_path / "four")
    first = int(shards.document_lengths("train", "pt texts")[0])
    assert shards.read("train", "pt texts", 0, first - 1, 1).tolist() == [65_536]


def test_text_that_says_end_of_text_does_not_end_a_document(tokenizer: Tokenizer, tmp_path: Path) -> None:
    documents = write_documents("pt", 5)
    hostile = Document("a<|endoftext|>b<|im_end|>", "book", "pt", "pt texts", "CC0-1.0", "x")
    corpus = write_corpus(tmp_path / "corpus", [*documents, hostile], validation_every=100)
    shards = build_shards(corpus, tokenizer, tmp_path / "tokens")
    ids = shards.stream("train", "pt texts").read_span(0, shards.n_tokens("train", "pt texts")).tolist()
    assert sum(id in tokenizer.control_ids for id in ids) == 5
    assert ids.count(tokenizer.end_of_text_id) == 5


def test_a_corpus_as_the_corpus_room_builds_it(tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for number, document in enumerate(write_documents("pt", 40) + write_documents("en", 40)):
        (tmp_path / "texts" / f"{number}.txt").write_text(document.text, encoding="utf-8")
    settings = CorpusSettings(sources=(SourceSettings(path=str(tmp_path / "texts"), name="mine", licence="MIT"),))
    corpus = build_corpus(settings, tmp_path / "corpus", workers=1)
    trained = train_tokenizer(corpus, TokenizerSettings(vocab_size=300), tmp_path / "tokenizer")
    shards = build_shards(corpus, trained, tmp_path / "tokens")
    [document, *_] = corpus.documents("validation")
    n_tokens = int(shards.document_lengths("validation", document.source)[0])
    ids = shards.read("validation", document.source, 0, 0, n_tokens)
    assert trained.decode(ids.tolist()) == document.text
    row = shards.document("validation", document.source, 0)
    assert (row["id"], row["licence"], row["origin"]) == (document.id, "MIT", document.origin)
    assert describe_tokenizer(trained, corpus)["bytes_per_token"]["source"].keys() == {document.source}


def test_another_tokenizer_is_refused(tokenizer: Tokenizer, shards: TokenShards) -> None:
    check_tokenizer(shards, tokenizer)
    with pytest.raises(DataError, match=tokenizer.hash[:12]):
        check_tokenizer(shards, Tokenizer([]))


# R7: damage


@pytest.fixture
def copy(shards: TokenShards, tmp_path: Path) -> Path:
    shutil.copytree(shards.folder, tmp_path / "tokens")
    return tmp_path / "tokens"


def check_flips(copy: Path, n_flips: int, seed: int) -> None:
    chance = random.Random(seed)
    paths = sorted(copy.iterdir())
    for _ in range(n_flips):
        path = chance.choice(paths)
        original = path.read_bytes()
        place = chance.randrange(len(original))
        path.write_bytes(original[:place] + bytes([original[place] ^ 1 << chance.randrange(8)]) + original[place + 1 :])
        with pytest.raises(DataError, match=path.name):
            open_shards(copy)
        path.write_bytes(original)
    open_shards(copy)


def test_bit_flips_are_found_and_named(copy: Path, record_property: RecordProperty) -> None:
    check_flips(copy, 200, seed=1)
    record_property("R7", 200)


@pytest.mark.torture
@pytest.mark.timeout(1_800)
def test_bit_flips_are_found_and_named_at_torture_size(copy: Path, record_property: RecordProperty) -> None:
    check_flips(copy, 1_000, seed=2)
    record_property("R7", 1_000)


@pytest.mark.parametrize("is_verified", [True, False])
def test_a_missing_or_short_shard_is_named(copy: Path, is_verified: bool) -> None:
    name = sorted(path.name for path in copy.glob("train-pt*.ids"))[1]
    for damage in (lambda path: path.write_bytes(path.read_bytes()[:-2]), lambda path: path.unlink()):
        damage(copy / name)
        with pytest.raises(DataError, match=name):
            open_shards(copy, verify=is_verified).stream("train", "pt texts").read_span(0, 10)


def test_swapped_shards_are_found(copy: Path) -> None:
    first, second = sorted(copy.glob("train-en*.ids"))[:2]
    one, other = first.read_bytes(), second.read_bytes()
    first.write_bytes(other)
    second.write_bytes(one)
    with pytest.raises(DataError, match=r"train-en.*\.ids"):
        open_shards(copy)


def test_folders_that_hold_no_shards(tokenizer_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds tokenizer"):
        open_shards(tokenizer_folder)
    with pytest.raises(DataError, match="missing"):
        open_shards(tmp_path)


def test_a_damaged_corpus_is_not_encoded(tokenizer: Tokenizer, tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", write_documents("pt", 30))
    path = corpus.parts[0].path
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=path.name):
        build_shards(corpus, tokenizer, tmp_path / "tokens")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["corpus"]


def test_a_full_disk_leaves_nothing_behind(corpus: Corpus, tokenizer: Tokenizer, tmp_path: Path) -> None:
    import errno

    with faults(at(3, refuse(errno.ENOSPC))), pytest.raises(StorageError):
        build_shards(corpus, tokenizer, tmp_path / "tokens")
    assert list(tmp_path.iterdir()) == []


# R16: killed while packing


def pack(folder: Path) -> None:
    """What the killed processes do."""
    corpus = write_corpus(folder / f"corpus-{os.getpid()}", write_documents("pt", 200, sentences=40))
    build_shards(corpus, Tokenizer([(97, 98), (99, 100)]), folder / "tokens")


def pack_and_die(folder: Path, k: int) -> None:
    with faults(at(k, die)):
        pack(folder)


@needs_fork
def test_a_killed_packing_repeats_to_the_same_shards(tmp_path: Path, record_property: RecordProperty) -> None:
    pack(tmp_path / "calm")
    expected = open_shards(tmp_path / "calm" / "tokens").hash
    n_operations = len(operations(lambda: pack(tmp_path / "counted")))
    chance = random.Random(4)
    for k in (1, n_operations // 2, n_operations):
        folder = tmp_path / f"operation-{k}"
        assert run(pack_and_die, folder, k) != 0
        check_repeats(folder, expected)
    for kill in range(17):
        folder = tmp_path / f"kill-{kill}"
        run_and_kill(pack, folder, after_seconds=chance.uniform(0.05, 0.5))
        check_repeats(folder, expected)
    record_property("R16", 20)


def check_repeats(folder: Path, expected: str) -> None:
    if (folder / "tokens").exists():
        assert open_shards(folder / "tokens").hash == expected
    pack(folder)
    assert open_shards(folder / "tokens").hash == expected
