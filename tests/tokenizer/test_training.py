"""Training gives the same tokenizer anywhere, weighs sources like the mixture, and survives being killed."""

import json
import os
import random
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from prosa.corpus import Corpus, Document
from prosa.errors import ConfigError, DataError
from prosa.rundir import verify_folder
from prosa.tokenizer import Tokenizer, TokenizerSettings, choose_vocab_size, train_tokenizer, training_report
from prosa.tokenizer.files import byte_alphabet
from prosa.tokenizer.merges import build_tokens
from prosa.tokenizer.training import _learn_merges, _sample, count_train_bytes
from tests.faults.injection import at, die, faults, operations
from tests.faults.processes import needs_fork, run, run_and_kill
from tests.faults.report import RecordProperty
from tests.tokenizer.corpora import write_corpus, write_documents

# Many pairs occur equally often here, so that the order of ties decides most merges.
_TIES = """
import hashlib, json, random
from prosa.tokenizer.training import _learn_merges
stream = random.Random(1)
words = ["".join(stream.choices("abcdefghij", k=6)) for _ in range(500)]
print(hashlib.sha256(json.dumps(_learn_merges(iter(words * 2), 800)).encode()).hexdigest())
"""


def test_ties_are_broken_alike_in_every_process() -> None:
    found = set()
    for threads, hash_seed in (("1", "1"), ("4", "2"), ("7", "3")):
        environment = {**os.environ, "RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": hash_seed}
        done = subprocess.run(
            [sys.executable, "-c", _TIES], env=environment, capture_output=True, check=True, text=True
        )
        found.add(done.stdout)
    assert len(found) == 1


def test_merges_are_those_of_a_slow_trainer() -> None:
    """Count pairs in all words, join the commonest (the lowest ids among equals), count again."""
    stream = random.Random(2)
    words = ["".join(stream.choices("abcd", k=stream.randrange(1, 9))) for _ in range(200)]
    alphabet = byte_alphabet()
    order = {character: number for number, character in enumerate(sorted(alphabet))}
    position = {byte: order[alphabet[byte]] for byte in range(256)}
    parts = [list(word.encode()) for word in words]
    expected: list[tuple[int, int]] = []
    while True:
        counts: dict[tuple[int, int], int] = {}
        for part in parts:
            for pair in pairwise(part):
                counts[pair] = counts.get(pair, 0) + 1
        pairs = {pair: count for pair, count in counts.items() if count >= 2}
        if not pairs:
            break
        best = min(
            pairs, key=lambda pair: (-pairs[pair], position.get(pair[0], pair[0]), position.get(pair[1], pair[1]))
        )
        parts = [join(part, best, 256 + len(expected)) for part in parts]
        expected.append(best)
    assert len(expected) > 50
    assert _learn_merges(iter(words), 10_000) == expected
    assert _learn_merges(iter(words), 20) == expected[:20]


def join(part: list[int], pair: tuple[int, int], new: int) -> list[int]:
    joined: list[int] = []
    position = 0
    while position < len(part):
        if tuple(part[position : position + 2]) == pair:
            joined.append(new)
            position += 2
        else:
            joined.append(part[position])
            position += 1
    return joined


def test_the_folder_is_complete_and_repeatable(corpus: Corpus, tokenizer_folder: Path, tmp_path: Path) -> None:
    again = train_tokenizer(corpus, TokenizerSettings(vocab_size=700), tmp_path / "again")
    description = verify_folder(tmp_path / "again")
    assert description["hash"] == again.hash == Tokenizer.load(tokenizer_folder).hash
    assert description["corpus"] == corpus.hash
    files = ("manifest.json", "tokenizer.json", "tokenizer_config.json")
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == sorted(files)
    for name in files:
        assert (tmp_path / "again" / name).read_bytes() == (tokenizer_folder / name).read_bytes()


def test_vocab_sizes(corpus: Corpus, tmp_path: Path) -> None:
    assert train_tokenizer(corpus, TokenizerSettings(vocab_size=260), tmp_path / "bytes").vocab_size == 260
    assert train_tokenizer(corpus, TokenizerSettings(vocab_size=300), tmp_path / "300").vocab_size == 300
    chosen = train_tokenizer(corpus, TokenizerSettings(), tmp_path / "chosen").vocab_size
    assert chosen == choose_vocab_size(sum(count_train_bytes(corpus).values())) == 512
    for size in (1, 259):
        with pytest.raises(ConfigError, match="260"):
            train_tokenizer(corpus, TokenizerSettings(vocab_size=size), tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_the_rule_for_the_size() -> None:
    sizes = {0: 512, 1: 512, 1 << 20: 2_048, (1 << 22) - 1: 2_048, 1 << 22: 4_096, 1 << 24: 8_192, 1 << 30: 32_768}
    assert {n_bytes: choose_vocab_size(n_bytes) for n_bytes in sizes} == sizes
    assert choose_vocab_size(1 << 50) == 32_768


def test_a_small_corpus_gives_what_it_can_and_says_so(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", write_documents("pt", 3), validation_every=100)
    tokenizer = train_tokenizer(corpus, TokenizerSettings(vocab_size=5_000), tmp_path / "tokenizer")
    assert 260 < tokenizer.vocab_size < 1_000
    assert tokenizer.pad_id == tokenizer.vocab_size - 1
    assert "5,000 were wanted" in training_report(tmp_path / "tokenizer")
    whole = train_tokenizer(corpus, TokenizerSettings(vocab_size=280), tmp_path / "280")
    assert training_report(tmp_path / "280").startswith("280 tokens")
    assert "wanted" not in training_report(tmp_path / "280")
    assert whole.vocab_size == 280


def test_tokens_have_at_most_64_bytes() -> None:
    word = "".join(random.Random(4).choices("abcdefgh", k=200))
    sizes = [len(token) for token in build_tokens(_learn_merges(iter([word, "-" * 500] * 3), 1_000))]
    assert 32 < max(sizes) <= 64


def test_no_text_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no training text"):
        train_tokenizer(write_corpus(tmp_path / "empty", [], weights={}), TokenizerSettings(), tmp_path / "tokenizer")


def test_the_sample_has_the_weights_of_the_mixture(tmp_path: Path) -> None:
    documents = write_documents("pt", 250) + write_documents("en", 1_000)
    corpus = write_corpus(tmp_path / "corpus", documents, weights={"pt texts": 0.5, "en texts": 0.5})
    n_bytes = count_train_bytes(corpus)
    settings = TokenizerSettings(sample_bytes=200_000)
    counted = dict.fromkeys(n_bytes, 0)
    texts = list(_sample(corpus, n_bytes, settings, counted))
    assert sum(len(text.encode()) for text in texts) == sum(counted.values()) <= settings.sample_bytes
    assert n_bytes["pt texts"] < 100_000 < n_bytes["en texts"]  # so Portuguese comes more than once
    assert counted["pt texts"] == pytest.approx(100_000, rel=0.1)
    assert counted["en texts"] == pytest.approx(100_000, rel=0.1)
    again = list(_sample(corpus, n_bytes, settings, dict.fromkeys(n_bytes, 0)))
    other_seed = TokenizerSettings(sample_bytes=200_000, seed=1)
    assert again == texts
    assert list(_sample(corpus, n_bytes, other_seed, dict.fromkeys(n_bytes, 0))) != texts


def test_a_small_corpus_is_sampled_whole(corpus: Corpus) -> None:
    n_bytes = count_train_bytes(corpus)
    texts = list(_sample(corpus, n_bytes, TokenizerSettings(), dict.fromkeys(n_bytes, 0)))
    assert sorted(texts) == sorted(document.text for document in corpus.documents("train"))


def test_one_huge_document_is_sampled_in_spans(tmp_path: Path) -> None:
    text = "".join(document.text for document in write_documents("pt", 2_000))
    book = Document(text, "book", "pt", "pt texts", "CC0-1.0", "livro.txt")
    corpus = write_corpus(tmp_path / "corpus", [book, book], validation_every=2)
    counted = {"pt texts": 0}
    texts = list(_sample(corpus, count_train_bytes(corpus), TokenizerSettings(sample_bytes=50_000), counted))
    assert 30_000 < counted["pt texts"] <= 50_000
    assert len(texts) > 5


def train(folder: Path) -> None:
    """What the killed processes do."""
    documents = write_documents("pt", 300) + write_documents("en", 300)
    corpus = write_corpus(folder / f"corpus-{os.getpid()}", documents)
    train_tokenizer(corpus, TokenizerSettings(vocab_size=600), folder / "tokenizer")


def train_and_die(folder: Path, k: int) -> None:
    with faults(at(k, die)):
        train(folder)


@needs_fork
def test_a_killed_training_repeats_to_the_same_tokenizer(tmp_path: Path, record_property: RecordProperty) -> None:
    """R16: whatever the instant, afterwards there is no tokenizer or the whole one, and the rerun makes it."""
    train(tmp_path / "calm")
    expected = (tmp_path / "calm" / "tokenizer" / "manifest.json").read_bytes()
    n_operations = len(operations(lambda: train(tmp_path / "counted")))
    stream = random.Random(3)
    at_operations = (1, n_operations // 2, n_operations - 1, n_operations)
    for k in at_operations:
        folder = tmp_path / f"operation-{k}"
        assert run(train_and_die, folder, k) != 0
        check_repeats(folder, expected)
    for kill in range(16):
        folder = tmp_path / f"kill-{kill}"
        run_and_kill(train, folder, after_seconds=stream.uniform(0.05, 0.6))
        check_repeats(folder, expected)
    record_property("R16", len(at_operations) + 16)


def check_repeats(folder: Path, expected: bytes) -> None:
    manifest = folder / "tokenizer" / "manifest.json"
    if (folder / "tokenizer").exists():
        assert manifest.read_bytes() == expected
    train(folder)
    assert manifest.read_bytes() == expected
    assert json.loads(expected)["description"]["hash"] == Tokenizer.load(folder / "tokenizer").hash
