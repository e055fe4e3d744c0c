"""Continuations against one forward pass each, and the border between context and continuation."""

import numpy as np
import pytest
import torch

from prosa.errors import DataError
from prosa.evaluate.continuations import Passage, encode_continuations, score_continuations
from prosa.tokenizer import Tokenizer

PAIRS = [
    ("the cat sat", " on the mat"),
    ("the cat sat ", "on the mat"),
    ("the cat \n ", "sat"),
    ("", " the other"),
    ("  ", "the other"),
    ("a mãe de João", " não"),
    ("x" * 90 + " the cat", " sat on it"),
    ("a" * 70, " b"),
]


def harness_logprob(model, tokenizer, context: str, continuation: str) -> float:
    """lm-evaluation-harness's definition: encode both together, cut from the left, sum over the continuation."""
    n_spaces = len(context) - len(context.rstrip())
    if n_spaces:
        context, continuation = context[:-n_spaces], context[-n_spaces:] + continuation
    if context:
        context_ids = tokenizer.encode(context)
        continuation_ids = tokenizer.encode(context + continuation)[len(context_ids) :]
    else:
        context_ids, continuation_ids = [tokenizer.end_of_text_id], tokenizer.encode(continuation)
    ids = (context_ids + continuation_ids)[-(model.settings.context_length + 1) :]
    with torch.no_grad():
        logprobs = model(torch.tensor([ids[:-1]]))[0].double().log_softmax(-1)
    n = len(continuation_ids)
    return sum(
        float(logprobs[place, id]) for place, id in zip(range(len(ids) - 1 - n, len(ids) - 1), ids[-n:], strict=True)
    )


def test_equals_the_harness_definition(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size, context_length=32)
    passages = encode_continuations(tokenizer, PAIRS, 32)
    logprobs = score_continuations(model, passages, batch_tokens=50)
    np.testing.assert_allclose(logprobs, [harness_logprob(model, tokenizer, *pair) for pair in PAIRS], rtol=1e-4)
    assert [passage.is_cut for passage in passages] == [False] * 6 + [True] * 2
    # Spaces go over to the continuation, so both ways of writing them are the same.
    assert passages[0] == passages[1] and logprobs[3] != logprobs[4]


def test_beginning_a_document_adds_its_mark(tokenizer, make_model) -> None:
    plain, marked = (encode_continuations(tokenizer, PAIRS[:4], 64, begins_document=is_one) for is_one in (False, True))
    for one, other in zip(plain, marked, strict=True):
        assert other.n_scored == one.n_scored and other.ids[0] == tokenizer.end_of_text_id
        assert other.ids[1:] == [id for id in one.ids if id != tokenizer.end_of_text_id]


def test_a_token_that_spans_the_border_belongs_to_the_continuation() -> None:
    # "th" is one token: alone it has nothing before it, so <|endoftext|> goes there.
    tokenizer = Tokenizer([(116, 104)])
    assert encode_continuations(tokenizer, [("t", "h"), ("at", "h"), ("t", "he")], 16) == [
        Passage([tokenizer.end_of_text_id, 256], 1, False),
        Passage([97, 256], 1, False),
        Passage([256, 101], 1, False),
    ]


def test_a_continuation_longer_than_the_context_is_not_scored(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size, context_length=16)
    passages = encode_continuations(tokenizer, [("a", "x" * 16), ("a", "x" * 17)], 16)
    assert passages[1] is None and len(passages[0].ids) == 17
    logprobs = score_continuations(model, passages)
    assert np.isfinite(logprobs[0]) and np.isnan(logprobs[1])
    assert len(score_continuations(model, [])) == 0


def test_an_empty_continuation_is_refused(tokenizer) -> None:
    with pytest.raises(DataError, match=r"continuation 1 \(after 'a b'\) is empty"):
        encode_continuations(tokenizer, [("a", " b"), ("a b", "")], 16)
