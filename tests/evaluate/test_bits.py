"""Bits per byte against one token at a time, a closed form, and every way in which batches must not matter."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from prosa.errors import ConfigError, DataError, ModelFileRefused
from prosa.evaluate import bits_per_byte, encode_documents, encoded_split
from prosa.model import Transformer
from prosa.tokenizer import Tokenizer
from tests.evaluate.conftest import Text

DOCUMENTS = [
    Text("the cat sat on the mat and then the other cat sat there too", "book", "en", "tales"),
    Text("O pão da manhã não está à mão; então vão à padaria.", "article", "pt", "news"),
    Text("a", "code", "code", "tales"),
    Text("the the the the", "code", "code", "news"),
    Text("é", "book", "pt", "tales"),
]


def slow_nats(model: Transformer, ids: list[int], end_of_text_id: int) -> float:
    """One forward pass per token, each with the context that the documented windows give it."""
    C = model.settings.context_length
    stride = C - C // 2
    stream = [end_of_text_id, *ids]
    total = 0.0
    for target in range(1, len(stream)):
        window = max(0, math.ceil((target - C) / stride))
        context = stream[window * stride : target]
        assert len(context) >= min(target, C // 2)
        with torch.no_grad():
            total -= float(model(torch.tensor([context]))[0, -1].double().log_softmax(-1)[stream[target]])
    return total


def slow_bits(model: Transformer, tokenizer: Tokenizer, documents: list[Text]) -> float:
    end = tokenizer.end_of_text_id
    nats = sum(slow_nats(model, [*tokenizer.encode(d.text), end], end) for d in documents)
    return nats / math.log(2) / sum(len(d.text.encode()) for d in documents)


@pytest.mark.parametrize("context_length", [1, 2, 5, 16, 64])
def test_equals_one_token_at_a_time(tokenizer, make_model, make_shards, context_length) -> None:
    model = make_model(tokenizer.vocab_size, context_length=context_length)
    result = bits_per_byte(model, make_shards(tokenizer, DOCUMENTS))
    assert result.total.bits_per_byte == pytest.approx(slow_bits(model, tokenizer, DOCUMENTS), rel=1e-5)
    assert result.is_whole
    for language, score in result.by_language.items():
        own = [d for d in DOCUMENTS if d.language == language]
        assert score.bits_per_byte == pytest.approx(slow_bits(model, tokenizer, own), rel=1e-5)
        assert score.n_documents == len(own)
    assert set(result.by_kind) == {"book", "article", "code"}
    assert set(result.by_source) == {"tales", "news"}


class Uniform:
    """Every token equally probable."""

    training = False

    def __init__(self, vocab_size: int, context_length: int) -> None:
        self.settings = type("Settings", (), {"vocab_size": vocab_size, "context_length": context_length})
        self.logit = 0.0

    def parameters(self):
        yield torch.zeros(1)

    def eval(self) -> None: ...
    def train(self, mode: bool) -> None: ...

    def hidden(self, ids: Tensor) -> Tensor:
        return torch.zeros(*ids.shape, 1)

    def unembed(self, hidden: Tensor) -> Tensor:
        return torch.full((*hidden.shape[:-1], self.settings.vocab_size), self.logit)


def test_uniform_model_needs_log2_v_bits_a_token(tokenizer, make_shards) -> None:
    result = bits_per_byte(Uniform(tokenizer.vocab_size, 8), make_shards(tokenizer, DOCUMENTS))
    n_tokens = sum(len(tokenizer.encode(d.text)) + 1 for d in DOCUMENTS)
    n_bytes = sum(len(d.text.encode()) for d in DOCUMENTS)
    assert (result.total.n_tokens, result.total.n_bytes) == (n_tokens, n_bytes)
    assert result.total.bits_per_byte == pytest.approx(math.log2(tokenizer.vocab_size) * n_tokens / n_bytes)
    assert result.total.nats_per_token == pytest.approx(math.log(tokenizer.vocab_size))
    assert result.total.nats_per_byte == pytest.approx(result.total.bits_per_byte * math.log(2))


def test_batching_does_not_matter(tokenizer, make_model, make_shards) -> None:
    model, shards = make_model(tokenizer.vocab_size, context_length=8), make_shards(tokenizer, DOCUMENTS)
    one = bits_per_byte(model, shards, batch_tokens=1)
    for batch_tokens in (7, 30, 10_000):
        many = bits_per_byte(model, shards, batch_tokens=batch_tokens)
        np.testing.assert_allclose(many.blocks.nats, one.blocks.nats, rtol=1e-5)
        np.testing.assert_array_equal(many.blocks.n_tokens, one.blocks.n_tokens)


def test_slices_of_logits_do_not_matter(tokenizer, make_model, make_shards, monkeypatch) -> None:
    model, shards = make_model(tokenizer.vocab_size), make_shards(tokenizer, DOCUMENTS)
    whole = bits_per_byte(model, shards)
    monkeypatch.setattr("prosa.evaluate.scoring._SLICE_LOGITS", {"cpu": 3 * tokenizer.vocab_size})
    assert bits_per_byte(model, shards).total.bits_per_byte == pytest.approx(whole.total.bits_per_byte)


def test_same_result_twice_and_training_mode_kept(tokenizer, make_model, make_shards) -> None:
    model, shards = make_model(tokenizer.vocab_size).train(), make_shards(tokenizer, DOCUMENTS)
    assert bits_per_byte(model, shards).to_json() == bits_per_byte(model, shards).to_json()
    assert model.training


def test_documents_equal_shards(tokenizer, make_model, make_shards) -> None:
    model = make_model(tokenizer.vocab_size)
    from_shards = bits_per_byte(model, make_shards(tokenizer, DOCUMENTS))
    from_texts = bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS))
    assert from_texts.total.bits_per_byte == pytest.approx(from_shards.total.bits_per_byte, rel=1e-6)
    assert sorted(from_texts.labels["id"]) == sorted(from_shards.labels["id"])


def test_single_document_is_resampled_in_blocks(tokenizer, make_model, make_shards) -> None:
    text = Text("".join(f"line {i} the cão {'x' * (i % 7)}\n" for i in range(800)))
    model, shards = make_model(tokenizer.vocab_size, context_length=64), make_shards(tokenizer, [text])
    exact = bits_per_byte(model, encoded_split(shards, "validation", tokenizer))
    rough = bits_per_byte(model, shards)
    assert exact.total.resampled == "blocks"
    assert len(exact.blocks.nats) == len(text.text.encode()) // 2048
    assert exact.blocks.n_bytes.sum() == exact.total.n_bytes == len(text.text.encode())
    assert exact.total.interval.low < exact.total.bits_per_byte < exact.total.interval.high
    assert rough.total.bits_per_byte == pytest.approx(exact.total.bits_per_byte, rel=1e-6)
    # Each block has the tokens whose first byte lies in it.
    ids = tokenizer.encode(text.text)
    begins = np.cumsum([0, *tokenizer.n_bytes[ids]])
    expected = np.bincount(np.minimum(begins // 2048, len(exact.blocks.nats) - 1))
    np.testing.assert_array_equal(exact.blocks.n_tokens, expected)


def test_interval_covers_documents(tokenizer, make_model, make_shards) -> None:
    documents = [Text("the cat " * (1 + i % 9) + str(i)) for i in range(40)]
    result = bits_per_byte(make_model(tokenizer.vocab_size), make_shards(tokenizer, documents))
    assert result.total.resampled == "documents"
    assert result.total.interval.low < result.total.bits_per_byte < result.total.interval.high


def test_estimate_on_a_sample(tokenizer, make_model, make_shards) -> None:
    documents = [Text(f"{i} the cat sat on the mat " * (1 + i % 5)) for i in range(200)]
    model, shards = make_model(tokenizer.vocab_size), make_shards(tokenizer, documents)
    whole = bits_per_byte(model, shards)
    part = bits_per_byte(model, shards, max_tokens=whole.total.n_tokens // 4)
    assert not part.is_whole
    assert part.total.n_tokens <= whole.total.n_tokens // 4
    assert part.total.bits_per_byte == pytest.approx(whole.total.bits_per_byte, rel=0.05)
    assert bits_per_byte(model, shards, max_tokens=1).total.n_tokens >= 1
    assert bits_per_byte(model, shards, max_tokens=10**9).to_json() == whole.to_json()


def test_bad_input(tokenizer, make_model, make_shards) -> None:
    model = make_model(tokenizer.vocab_size)
    train_only = make_shards(tokenizer, [], [Text("the cat")])
    with pytest.raises(DataError, match="no validation documents"):
        bits_per_byte(model, train_only)
    with pytest.raises(DataError, match="no text"):
        encode_documents(tokenizer, [Text("")])
    with pytest.raises(ConfigError, match="context_length = 17"):
        bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS), context_length=17)
    with torch.no_grad():
        model.unembedding[5] = torch.nan
    with pytest.raises(ModelFileRefused, match="not numbers"):
        bits_per_byte(model, encode_documents(tokenizer, DOCUMENTS))
