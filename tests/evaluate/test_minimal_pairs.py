"""Minimal pairs against sums done by hand and one forward pass each, and BLiMP's files."""

import json
from pathlib import Path

import numpy as np
import pytest

from prosa.errors import DataError
from prosa.evaluate import MinimalPair, measure_minimal_pairs, read_minimal_pairs
from prosa.tokenizer import Tokenizer
from tests.evaluate.real_data import find_real
from tests.evaluate.test_choices import write_lines
from tests.evaluate.test_continuations import harness_logprob
from tests.evaluate.unigram import Unigram

UNIGRAM = Unigram({ord("a"): 3.0, ord("b"): 1.0})
PAIRS = [
    MinimalPair("a", "b", "p1", "agreement", "morphology"),
    MinimalPair("b", "a", "p1", "agreement", "morphology"),
    MinimalPair("ab", "bb", "p2", "agreement", "morphology"),
    MinimalPair("c", "d", "p3", "islands", "syntax"),
]


def test_groups_and_the_mean_of_paradigms_by_hand() -> None:
    report = measure_minimal_pairs(UNIGRAM, Tokenizer([]), PAIRS)
    np.testing.assert_allclose(report.margins, [2, -2, 2, 0], atol=1e-5)
    # A tie is wrong.
    assert (report.total.n_right, report.total.n, report.total.accuracy) == (2, 4, 0.5)
    assert {name: one.accuracy for name, one in report.by_paradigm.items()} == {"p1": 0.5, "p2": 1.0, "p3": 0.0}
    assert report.mean_of_paradigms == pytest.approx(0.5)
    assert {name: one.n_right for name, one in report.by_field.items()} == {"morphology": 2, "syntax": 0}
    assert report.by_term["agreement"].n == 3 and report.total.chance == 0.5
    assert json.loads(json.dumps(report.to_json()))["by_term"]["islands"]["n"] == 1


@pytest.mark.parametrize("delimiter", [" ", ""])
def test_equals_the_harness_definition(tokenizer, make_model, delimiter: str) -> None:
    model = make_model(tokenizer.vocab_size, context_length=64)
    pairs = [MinimalPair("the cat sat.", "the cat sit."), MinimalPair("Uma mãe.", "Um mãe."), PAIRS[0]]
    report = measure_minimal_pairs(model, tokenizer, pairs, delimiter=delimiter, batch_tokens=20)
    expected = [
        harness_logprob(model, tokenizer, "", delimiter + pair.good)
        - harness_logprob(model, tokenizer, "", delimiter + pair.bad)
        for pair in pairs
    ]
    np.testing.assert_allclose(report.margins, expected, rtol=1e-3, atol=1e-4)


def test_pairs_too_long_are_counted() -> None:
    long = MinimalPair("x" * 99, "x")
    report = measure_minimal_pairs(UNIGRAM, Tokenizer([]), [*PAIRS, long])
    assert (report.n_skipped, report.total.n) == (1, 4)
    for pairs in ([long], []):
        with pytest.raises(DataError, match="no pair fits"):
            measure_minimal_pairs(UNIGRAM, Tokenizer([]), pairs)


def test_reads_both_forms_and_folders(tmp_path: Path) -> None:
    own = {"good": "Dogs run.", "bad": "Dogs runs.", "uid": "agr", "term": "agreement", "field": "morphology"}
    blimp = {
        "sentence_good": "Who ran?",
        "sentence_bad": "Ran who?",
        "UID": "wh",
        "linguistics_term": "filler_gap",
        "field": "syntax",
    }
    first = MinimalPair("Dogs run.", "Dogs runs.", "agr", "agreement", "morphology")
    second = MinimalPair("Who ran?", "Ran who?", "wh", "filler_gap", "syntax")
    assert read_minimal_pairs(write_lines(tmp_path / "a.jsonl.gz", own)) == [first]
    write_lines(tmp_path / "b.jsonl", blimp)
    assert read_minimal_pairs(tmp_path) == [first, second]
    assert read_minimal_pairs(write_lines(tmp_path / "c.jsonl", {"good": "a", "bad": "b"})) == [MinimalPair("a", "b")]


def test_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.jsonl:1`: `bad` is None"):
        read_minimal_pairs(write_lines(tmp_path / "a.jsonl", {"good": "x"}))
    with pytest.warns(UserWarning, match="1 pairs of equal sentences are left out"):
        pairs = read_minimal_pairs(
            write_lines(tmp_path / "a.jsonl", {"good": "x", "bad": "x"}, {"good": "x", "bad": "y"})
        )
    assert pairs == [MinimalPair("x", "y")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no .jsonl files"):
        read_minimal_pairs(tmp_path / "empty")


def test_reads_the_published_set() -> None:
    pairs = read_minimal_pairs(find_real("blimp/blimp_even.jsonl.gz"))
    paradigms = [pair.paradigm for pair in pairs]
    assert len(pairs) == 33_500 and len(set(paradigms)) == 67 and paradigms.count("adjunct_island") == 500
    assert len({pair.term for pair in pairs}) >= 12 and len({pair.field for pair in pairs}) >= 4
