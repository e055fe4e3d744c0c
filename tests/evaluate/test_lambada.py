"""Last words against one forward pass each."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from prosa.errors import DataError
from prosa.evaluate import LastWord, measure_lambada, read_lambada
from tests.evaluate.real_data import find_real
from tests.evaluate.test_choices import write_lines
from tests.evaluate.test_continuations import harness_logprob


def test_equals_the_harness_definition(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size, context_length=40)
    contexts = ["the cat sat on the", "a mãe de", "x" * 60 + " the end of", *(f"number {n} is" for n in range(12))]
    items = [LastWord(context, "mat") for context in contexts]
    report = measure_lambada(model, tokenizer, items, batch_tokens=64)
    expected = [harness_logprob(model, tokenizer, item.context, f" {item.word}") for item in items]
    np.testing.assert_allclose(report.logprobs, expected, rtol=1e-4)
    assert report.perplexity == pytest.approx(math.exp(-np.mean(expected)), rel=1e-4)
    assert report.perplexity_interval.low < report.perplexity < report.perplexity_interval.high
    for item, is_found in zip(items, report.is_found, strict=True):
        n_context = len(tokenizer.encode(item.context))
        ids = tokenizer.encode(f"{item.context} {item.word}")
        window = ids[-41:]
        with torch.no_grad():
            likeliest = model(torch.tensor([window[:-1]]))[0].argmax(-1).tolist()
        n = len(ids) - n_context
        assert is_found == (likeliest[-n:] == window[-n:])
    assert report.accuracy.n_hits == report.is_found.sum() and report.n_cut >= 1
    assert json.loads(json.dumps(report.to_json()))["accuracy"]["n"] == len(items)


def test_a_word_is_found_if_each_of_its_tokens_is_the_likeliest(tokenizer, make_model) -> None:
    """A model that always finds " a" the likeliest token, and then "b"."""
    model = make_model(tokenizer.vocab_size, context_length=16)
    unembed, bonus = model.unembed, torch.zeros(tokenizer.vocab_size)
    bonus[[tokenizer.encode(" a")[0], ord("b")]] = torch.tensor([200.0, 100.0])
    model.unembed = lambda hidden: unembed(hidden) + bonus
    words = ["a", "b", "ab", "aa"]
    assert [len(tokenizer.encode(f" {word}")) for word in words] == [1, 2, 2, 2]
    report = measure_lambada(model, tokenizer, [LastWord("x" * n, word) for n in (3, 30) for word in words])
    assert report.is_found.tolist() == [True, False, False, False] * 2
    assert (report.accuracy.n_hits, report.accuracy.n, report.n_cut) == (2, 8, 4)


def test_words_too_long_are_counted(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size, context_length=16)
    report = measure_lambada(model, tokenizer, [LastWord("a", "x" * 40), LastWord("a", "x" * 15), LastWord("a", "x")])
    assert (report.n_skipped, report.accuracy.n) == (1, 2)
    with pytest.raises(DataError, match="no passage fits"):
        measure_lambada(model, tokenizer, [LastWord("a", "x" * 40)])


def test_reads_both_forms(tmp_path: Path) -> None:
    records = [{"context": "I don't care about", "continuation": "signs"}, {"text": "a long way to Tipperary"}]
    assert read_lambada(write_lines(tmp_path / "l.jsonl", *records)) == [
        LastWord("I don't care about", "signs"),
        LastWord("a long way to", "Tipperary"),
    ]
    for record in ({"context": "a"}, {"text": "ends in a space "}, {"continuation": "b"}):
        with pytest.raises(DataError, match=r"l\.jsonl:1`"):
            read_lambada(write_lines(tmp_path / "l.jsonl", record))


def test_reads_the_published_set() -> None:
    items = read_lambada(find_real("lm_tasks/lambada_openai_even.jsonl.gz"))
    assert len(items) == 2577 and all(" " not in item.word and not item.context.endswith(" ") for item in items)
