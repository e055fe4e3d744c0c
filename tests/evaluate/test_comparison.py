"""Paired comparisons: equal models, closed forms, different tokenizers, and what must not be compared."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from prosa.errors import DataError
from prosa.evaluate import bits_per_byte, cloze, compare, compare_bits, compare_cloze, encode_documents
from prosa.generate import LanguageModel
from prosa.tokenizer import Tokenizer
from tests.evaluate.conftest import Text
from tests.evaluate.test_bits import Uniform
from tests.evaluate.test_facts import ITEMS

DOCUMENTS = [
    Text(f"{i} the cat sat on the mat" + " and then there" * (i % 5), language=("en", "pt")[i % 2]) for i in range(30)
]


def test_a_model_does_not_differ_from_itself(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size)
    a = bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS))
    b = bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS[::-1]), batch_tokens=1)
    comparison = compare_bits(a, b)
    assert comparison.a == pytest.approx(a.total.bits_per_byte)
    assert comparison.b == pytest.approx(b.total.bits_per_byte)
    assert comparison.difference == pytest.approx(0, abs=1e-6)
    assert comparison.interval.high - comparison.interval.low < 1e-6
    same = compare_bits(a, a)
    assert (same.difference, same.p_value, same.n_better_a, same.n_better_b) == (0, 1, 0, 0)


def test_different_tokenizers_meet_on_bytes(tokenizer) -> None:
    """Uniform models: the one with merges has fewer tokens, each of a little more bits."""
    small = Tokenizer([])
    a, b = (bits_per_byte(Uniform(t.vocab_size, 16), encode_documents(t, DOCUMENTS)) for t in (tokenizer, small))
    n_bytes = sum(len(d.text.encode()) for d in DOCUMENTS)
    bits = [
        math.log2(t.vocab_size) * sum(len(t.encode(d.text)) + 1 for d in DOCUMENTS) / n_bytes
        for t in (tokenizer, small)
    ]
    comparison = compare_bits(a, b)
    assert (comparison.a, comparison.b) == pytest.approx(bits)
    assert comparison.difference == pytest.approx(bits[1] - bits[0])
    assert comparison.interval.low <= comparison.difference <= comparison.interval.high
    assert comparison.interval.low > 0
    assert comparison.p_value == pytest.approx(1 / 10_001)
    assert (comparison.n, comparison.n_better_a, comparison.pairs) == (30, 30, "documents")
    portuguese = compare_bits(a, b, language="pt")
    assert portuguese.n == 15
    assert portuguese.a == pytest.approx(a.by_language["pt"].bits_per_byte)


def test_pairing_beats_the_spread_of_documents(tokenizer, make_model) -> None:
    """A difference far smaller than documents differ among themselves is seen, because it is the same in each."""
    model = make_model(tokenizer.vocab_size)
    a = bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS))
    b = replace(a, blocks=replace(a.blocks, nats=a.blocks.nats * 1.001))
    assert a.total.interval.high > b.total.bits_per_byte * 1.001
    assert compare_bits(a, b).p_value < 0.001
    noise = np.random.default_rng(0).normal(1, 0.05, len(a.blocks.nats))
    assert compare_bits(a, replace(a, blocks=replace(a.blocks, nats=a.blocks.nats * noise))).p_value > 0.01


def test_single_document_is_paired_in_blocks(tokenizer, make_model) -> None:
    text = [Text("".join(f"line {i} of the cat and the mat, ção {i * i}\n" for i in range(600)))]
    small = Tokenizer([])
    a = bits_per_byte(make_model(tokenizer.vocab_size), encode_documents(tokenizer, text))
    b = bits_per_byte(make_model(small.vocab_size, seed=1), encode_documents(small, text))
    comparison = compare_bits(a, b)
    assert comparison.pairs == "blocks"
    assert comparison.n == len(text[0].text.encode()) // 2048
    assert comparison.a == pytest.approx(a.total.bits_per_byte)
    assert comparison.interval.low < comparison.difference < comparison.interval.high


def test_other_documents_are_refused(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size)
    a = bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS))
    with pytest.raises(DataError, match="3 documents"):
        compare_bits(a, bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS[3:])))
    with pytest.raises(DataError, match="sample"):
        compare_bits(a, bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS), max_tokens=50))
    with pytest.raises(DataError, match="language `fr`"):
        compare_bits(a, a, language="fr")


def test_cloze_pairs_items(tokenizer, make_model) -> None:
    a = cloze(make_model(tokenizer.vocab_size, context_length=64), tokenizer, ITEMS)
    right = replace(a, margins=np.array([1.0, 1.0, 1.0, -1.0]), total=replace(a.total, accuracy=0.75))
    wrong = replace(a, margins=np.array([-1.0, -1.0, 1.0, 0.0]), total=replace(a.total, accuracy=0.25))
    comparison = compare_cloze(right, wrong)
    assert (comparison.n, comparison.n_better_a, comparison.n_better_b) == (4, 2, 0)
    assert comparison.difference == -0.5
    assert comparison.p_value == 0.5
    with pytest.raises(DataError, match="different cloze items"):
        compare_cloze(a, replace(a, prompts=a.prompts[::-1]))


def test_compare_measures_both(tokenizer, make_model) -> None:
    first = LanguageModel(make_model(tokenizer.vocab_size), tokenizer)
    small = Tokenizer([])
    second = LanguageModel(make_model(small.vocab_size, seed=1), small)
    with torch.no_grad():
        second.model.unembedding.mul_(0.0)
    result = compare(first, second, DOCUMENTS, is_shown=False)
    assert result.bits.b == pytest.approx(
        bits_per_byte(second.model, encode_documents(small, DOCUMENTS)).total.bits_per_byte
    )
    assert set(result.bits_by_language) == {"en", "pt"}
    assert result.cloze is None
    assert result.to_json()["bits"]["n"] == 30
