"""Copies found by hashing against a set of all windows, with weak hashes and small chunks to meet every border."""

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.evaluate import measure_memorisation
from prosa.evaluate import memorisation as module

END = 9


class Shards:
    """Token shards in memory: lists of documents by split and source, each ended by END."""

    folder, vocab_size = "memory", 10

    def __init__(self, train: dict[str, list[list[int]]], validation: list[list[int]]) -> None:
        self.sources = tuple(sorted({*train, "held"}))
        self._documents = {
            ("train", source): [np.array([*ids, END]) for ids in train.get(source, [])] for source in self.sources
        } | {("validation", s): [np.array([*ids, END]) for ids in validation] * (s == "held") for s in self.sources}

    def n_tokens(self, split: str, source: str) -> int:
        return sum(map(len, self._documents[split, source]))

    def document_lengths(self, split: str, source: str) -> np.ndarray:
        return np.array([len(ids) for ids in self._documents[split, source]], np.int64)

    def read(self, split: str, source: str, document: int, start: int, length: int) -> np.ndarray:
        return self._documents[split, source][document][start : start + length]

    def stream(self, split: str, source: str) -> SimpleNamespace:
        ids = np.concatenate(self._documents[split, source]).astype(np.uint16)
        return SimpleNamespace(read_span=lambda position, length: ids[position : position + length])

    def document(self, split: str, source: str, document: int) -> dict[str, str]:
        return {"origin": f"{source}:{document}"}

    def document_table(self, split: str) -> pa.Table:
        lengths = np.concatenate([self.document_lengths(split, source) for source in self.sources])
        rows = [""] * len(lengths)
        columns = dict.fromkeys(("id", "kind", "language", "source"), rows)
        return pa.table({**columns, "n_tokens": lengths.astype(np.int64), "n_bytes": lengths.astype(np.int64)})


def windows(ids: list[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(ids[i : i + n]) for i in range(len(ids) - n + 1)]


def brute_force(texts: list[list[int]], train: dict[str, list[list[int]]], n: int) -> list[bool]:
    known = {window for documents in train.values() for ids in documents for window in windows([*ids, END], n)}
    return [window in known for ids in texts for window in windows(ids, n)]


ids = st.lists(st.integers(0, 2), max_size=12)


@pytest.mark.parametrize("code", ["random", "weak", "constant"])
@given(
    train=st.dictionaries(st.sampled_from(["a", "b"]), st.lists(ids, min_size=1, max_size=5)),
    validation=st.lists(ids, min_size=1, max_size=3),
    texts=st.lists(ids, max_size=3),
    n=st.integers(1, 5),
)
@settings(max_examples=60, derandomize=True, deadline=None)
def test_equals_brute_force(code, train, validation, texts, n) -> None:
    codes = {
        "random": module._token_codes(10),
        "weak": np.arange(10, dtype=np.uint64) % np.uint64(2),
        "constant": np.ones(10, np.uint64),
    }[code]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CHUNK_TOKENS", 7)
        patch.setattr(module, "_token_codes", lambda vocab_size: codes)
        report = measure_memorisation(texts, Shards(train, validation), window_tokens=n, n_windows=10**6)
    for share, own in ((report.generated, texts), (report.validation, validation)):
        expected = brute_force(own, train, n)
        assert (share.n_hits, share.n) == (sum(expected), len(expected))
        assert share.interval.low <= share.share <= share.interval.high


def test_planted_copies_are_found_and_traced() -> None:
    random = np.random.default_rng(0)
    documents = random.integers(0, 9, (40, 200)).tolist()
    fresh = random.integers(0, 9, (4, 100)).tolist()
    planted = [*fresh[0][:20], *documents[23][70:130], *fresh[0][20:]]
    shards = Shards({"a": documents[:20], "b": documents[20:]}, fresh[2:])
    report = measure_memorisation([fresh[1], planted, [*fresh[1], END, *documents[0]]], shards, n_windows=10**6)
    assert report.generated.n_hits == 60 - 50 + 1
    assert report.generated.n == 51 + (160 - 49) + 51
    assert report.validation.n_hits == 0
    assert {(copy.text, copy.source, copy.document, copy.origin) for copy in report.copies} == {(1, "b", 3, "b:3")}
    assert report.copies[0].start == 20


def test_sample_estimates_the_share() -> None:
    random = np.random.default_rng(1)
    documents = random.integers(0, 9, (50, 300)).tolist()
    half = [[*documents[i][:150], *random.integers(0, 9, 150).tolist()] for i in range(50)]
    shards = Shards({"a": documents}, random.integers(0, 9, (5, 200)).tolist())
    report = measure_memorisation(half, shards, n_windows=1000)
    assert report.generated.n == 1000
    expected = 101 / 251
    assert report.generated.interval.low < expected < report.generated.interval.high
    assert report == measure_memorisation(half, shards, n_windows=1000)
    assert report.validation.share == 0
    assert report.validation.interval.high < 0.01


def test_texts_without_a_window() -> None:
    report = measure_memorisation([[1, 2], []], Shards({"a": [[1, 2, 3]]}, [[1, 2]]))
    assert (report.generated.n, report.generated.share, report.validation.n) == (0, 0.0, 0)


def test_real_shards(tokenizer, make_shards) -> None:
    from tests.evaluate.conftest import Text

    train = [Text(f"{i} " + "the cat sat on the mat. " * 5, source=f"s{i % 2}", origin=f"o{i}") for i in range(6)]
    shards = make_shards(tokenizer, [Text("nothing of the kind stands there, or so " * 3)], train)
    report = measure_memorisation([tokenizer.encode(train[3].text)], shards, window_tokens=20)
    assert report.generated.share == 1
    assert report.copies[0].origin == "o3"
    assert report.validation.share == 0
