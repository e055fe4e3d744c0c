"""Multiple choice against sums done by hand and the harness's definition, and the files it reads."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from prosa.errors import DataError
from prosa.evaluate import ChoiceItem, measure_choices, read_choices
from prosa.tokenizer import Tokenizer
from tests.evaluate.real_data import find_real
from tests.evaluate.test_continuations import harness_logprob
from tests.evaluate.unigram import Unigram

BYTES = Tokenizer([])
# "a" and the two bytes of "ã" are likely, "z" is less so.
UNIGRAM = Unigram({ord("a"): 4.0, ord("z"): 2.0, 0xC3: 4.0, 0xA3: 4.0})


def item(*choices: str, answer: int = 0, context: str = "q") -> ChoiceItem:
    return ChoiceItem((context,) * len(choices), choices, answer)


def test_three_ways_of_choosing_by_hand() -> None:
    # By sum the shortest wins, by characters the longest, by bytes the one with two bytes a letter.
    report = measure_choices(UNIGRAM, BYTES, [item("z", "aaa", "ãã", "zz")])
    space = UNIGRAM.logprob(" ")
    sums = [space + UNIGRAM.logprob(text) for text in ("z", "aaa", "ãã", "zz")]
    np.testing.assert_allclose(report.logprobs[0], sums, rtol=1e-6)
    assert int(np.argmax(sums)) == 0
    by_characters = [sums[0] / 1, sums[1] / 3, sums[2] / 2, sums[3] / 2]
    by_bytes = [sums[0] / 1, sums[1] / 3, sums[2] / 4, sums[3] / 2]
    for answer in range(4):
        report = measure_choices(UNIGRAM, BYTES, [item("z", "aaa", "ãã", "zz", answer=answer)])
        assert report.acc.n_right == (np.argmax(sums) == answer)
        assert report.acc_norm.n_right == (np.argmax(by_characters) == answer)
        assert report.acc_bytes.n_right == (np.argmax(by_bytes) == answer)
    assert len({int(np.argmax(values)) for values in (sums, by_characters, by_bytes)}) == 3


def test_equals_the_harness_definition(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size, context_length=48)
    items = [
        item("a mat", "the other thing", "it", answer=1, context="Question: where?\nAnswer:"),
        item("não", "pão", answer=1, context="João tem"),
        ChoiceItem(("the cat the cat", "the dog the dog"), ("sat.", "sat."), 0),
        item("b", "c", "d", "e", answer=3, context="x" * 80),
    ]
    report = measure_choices(model, tokenizer, items, batch_tokens=64)
    n_right, n_right_norm = 0, 0
    for one, logprobs in zip(items, report.logprobs, strict=True):
        pairs = zip(one.contexts, one.choices, strict=True)
        expected = np.array([harness_logprob(model, tokenizer, context, f" {choice}") for context, choice in pairs])
        np.testing.assert_allclose(logprobs, expected, rtol=1e-4)
        n_right += expected.argmax() == one.answer
        n_right_norm += (expected / [len(choice) for choice in one.choices]).argmax() == one.answer
    assert (report.acc.n_right, report.acc_norm.n_right) == (n_right, n_right_norm)
    assert report.acc.chance == pytest.approx((1 / 3 + 1 / 2 + 1 / 2 + 1 / 4) / 4)
    assert report.acc.interval.low <= report.acc.accuracy <= report.acc.interval.high
    assert (report.n_cut, report.n_skipped) == (4, 0)
    assert json.loads(json.dumps(report.to_json()))["acc_norm"]["n"] == 4


def test_the_first_of_equal_choices_wins() -> None:
    assert [measure_choices(UNIGRAM, BYTES, [item("b", "c", answer=n)]).acc.n_right for n in (0, 1)] == [1, 0]


def test_items_too_long_are_counted() -> None:
    long = item("x", "y" * 99)
    report = measure_choices(UNIGRAM, BYTES, [long, item("x", "y")])
    assert (report.n_skipped, report.acc.n, len(report.logprobs)) == (1, 1, 1)
    for items in ([long], []):
        with pytest.raises(DataError, match="no item fits"):
            measure_choices(UNIGRAM, BYTES, items)


@pytest.mark.parametrize(
    "broken",
    [item("a"), item("a", "b", answer=2), item("a", "b", answer=-1), item("a", ""), ChoiceItem(("q",), ("a", "b"), 0)],
)
def test_broken_items_are_named(broken: ChoiceItem) -> None:
    with pytest.raises(DataError, match=r"item 1 .*needs two choices"):
        measure_choices(UNIGRAM, BYTES, [item("a", "b"), broken])


def write_lines(path: Path, *records: object) -> Path:
    text = "\n".join(record if isinstance(record, str) else json.dumps(record) for record in records) + "\n"
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def test_reads_queries_and_context_options(tmp_path: Path) -> None:
    records = [
        {"query": "Question: Plants make", "choices": ["food.", "água."], "gold": 1},
        {"query": "Question: How?\n", "choices": ["a", "b"], "gold": 0},
        {"query": "Question: Which?\nChoices:\nA. x\nB. y\nAnswer:", "choices": ["A", "B"], "gold": 0},
        {"query": "It rained, because", "choices": ["a.", "b."], "gold": 0},
        {
            "context_options": ["Ana saw Bia because Ana", "Ana saw Bia because Bia"],
            "continuation": "looked.",
            "gold": 1,
        },
    ]
    for name in ("items.jsonl", "items.jsonl.gz"):
        items = read_choices(write_lines(tmp_path / name, *records[:2], "", *records[2:]))
        assert [one.contexts[0] for one in items] == [
            "Question: Plants make\nAnswer:",
            "Question: How?\nAnswer:",
            "Question: Which?\nChoices:\nA. x\nB. y\nAnswer:",
            "It rained, because",
            "Ana saw Bia because Ana",
        ]
        assert items[0] == ChoiceItem(("Question: Plants make\nAnswer:",) * 2, ("food.", "água."), 1)
        assert items[-1].choices == ("looked.", "looked.") and items[-1].contexts[1].endswith("Bia")


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[1]", "is no JSON object"),
        ({"query": "q", "choices": ["a"], "gold": 0}, "`choices` is not a list of two"),
        ({"query": "q", "choices": ["a", 7], "gold": 0}, "`choices` is 7, not text"),
        ({"query": "q", "choices": "ab", "gold": 0}, "`choices` is not a list"),
        ({"query": "", "choices": ["a", "b"], "gold": 0}, "`query` is '', not text"),
        ({"query": "q", "choices": ["a", "b"], "gold": 2}, "`gold` is 2, not the number of one of 2"),
        ({"query": "q", "choices": ["a", "b"], "gold": True}, "`gold` is True"),
        ({"query": "q", "choices": ["a", "b"]}, "`gold` is None"),
        ({"context_options": ["a", "b"], "gold": 0}, "`continuation` is None"),
    ],
)
def test_a_broken_line_is_named(tmp_path: Path, record: object, problem: str) -> None:
    good = {"query": "q", "choices": ["a", "b"], "gold": 0}
    with pytest.raises(DataError, match=rf"items.jsonl:2`.*{problem}"):
        read_choices(write_lines(tmp_path / "items.jsonl", good, record))


def test_damaged_empty_and_missing_files_are_named(tmp_path: Path) -> None:
    whole = write_lines(
        tmp_path / "a.jsonl.gz", *[{"query": f"q{n}", "choices": ["a", "b"], "gold": 0} for n in range(99)]
    )
    data = whole.read_bytes()
    for damaged in (data[:200], data[:100] + bytes(20) + data[120:], b"no gzip at all"):
        whole.write_bytes(damaged)
        with pytest.raises(DataError, match="cannot be read"):
            read_choices(whole)
    (tmp_path / "latin.jsonl").write_bytes('{"query": "não"'.encode("latin-1"))
    for name, problem in (("latin.jsonl", "cannot be read"), ("none.jsonl", "cannot be read")):
        with pytest.raises(DataError, match=problem):
            read_choices(tmp_path / name)
    with pytest.raises(DataError, match="has no items"):
        read_choices(write_lines(tmp_path / "empty.jsonl", ""))


@pytest.mark.parametrize(
    ("name", "n_items", "n_choices"),
    [
        ("arc_easy_even", 1188, 4),
        ("piqa_even", 919, 2),
        ("copa", 100, 2),
        ("commonsense_qa_even", 611, 4),
        ("winograd_wsc", 273, 2),
    ],
)
def test_reads_the_published_sets(name: str, n_items: int, n_choices: int) -> None:
    items = read_choices(find_real(f"lm_tasks/{name}.jsonl.gz"))
    assert len(items) == n_items and max(len(one.choices) for one in items) >= n_choices
    answers = np.bincount([one.answer for one in items])
    assert answers.max() < 0.75 * n_items
    if name in ("arc_easy_even", "piqa_even", "commonsense_qa_even"):
        assert all(
            context.endswith("Answer:") and context.count("Answer:") == 1 for one in items for context in one.contexts
        )
