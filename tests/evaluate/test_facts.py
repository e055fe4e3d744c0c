"""Cloze by log-likelihood against one forward pass per answer, and the border between prompt and answer."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from prosa.errors import DataError
from prosa.evaluate import cloze


@dataclass(frozen=True)
class Item:
    prompt: str
    answer: str
    distractors: tuple[str, ...]
    language: str = "en"
    relation: str = "home"
    is_seen_phrasing: bool = True

    @property
    def fact(self) -> SimpleNamespace:
        return SimpleNamespace(relation=self.relation)


ITEMS = [
    Item("the cat sat", "on the mat", ("on it", "the other way, as cats do")),
    Item("a mãe de João é", "a Ana", ("a Bia", "ela"), "pt", "mother", False),
    Item("the", "a", ("b", "c", "the"), "en", "home", False),
    Item("João", "não", ("mão", "pão"), "pt", "home", True),
]


def slow_logprob(model, tokenizer, item: Item, answer: str) -> float:
    prompt, ids = tokenizer.encode(item.prompt), tokenizer.encode(f"{item.prompt} {answer}")
    assert ids[: len(prompt)] == prompt
    with torch.no_grad():
        logprobs = model(torch.tensor([ids[:-1]]))[0].double().log_softmax(-1)
    return sum(float(logprobs[i - 1, ids[i]]) for i in range(len(prompt), len(ids)))


def test_equals_one_pass_per_answer(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size, context_length=64)
    report = cloze(model, tokenizer, ITEMS, batch_tokens=40)
    expected = [
        slow_logprob(model, tokenizer, item, item.answer)
        - max(slow_logprob(model, tokenizer, item, other) for other in item.distractors)
        for item in ITEMS
    ]
    np.testing.assert_allclose(report.margins, expected, rtol=1e-4)
    is_right = [margin > 0 for margin in expected]
    assert report.total.n_right == sum(is_right)
    assert report.by_language["pt"].n_right == is_right[1] + is_right[3]
    assert report.by_relation["home"].n == 3
    assert report.by_phrasing["held_out"].n == 2
    assert report.total.chance == pytest.approx((1 / 3 + 1 / 3 + 1 / 4 + 1 / 3) / 4)
    assert report.total.interval.low <= report.total.accuracy <= report.total.interval.high


class Pairs:
    """Bytes, but for "e a", which is one token and so spans the border between a prompt and some answers."""

    end_of_text_id, vocab_size = 258, 260

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [self._encode(text.encode()) for text in texts]

    def _encode(self, text: bytes) -> list[int]:
        return list(text.replace(b"e a", b"\xff")) if text else []


class Fond:
    """A model that likes the token "e a" and finds all others equally probable."""

    def __init__(self) -> None:
        self.settings = SimpleNamespace(vocab_size=260, context_length=32)
        self.training = False

    def parameters(self):
        yield torch.zeros(1)

    def eval(self) -> None: ...
    def train(self, mode: bool) -> None: ...

    def hidden(self, ids: Tensor) -> Tensor:
        return torch.zeros(*ids.shape, 1)

    def unembed(self, hidden: Tensor) -> Tensor:
        logits = torch.zeros(*hidden.shape[:-1], 260)
        logits[..., 255] = 5.0
        return logits


def test_all_answers_are_scored_from_the_same_place() -> None:
    # "the a" is t, h, "e a"; "the bc" is t, h, e, space, b, c: scored are one token and four.
    report = cloze(Fond(), Pairs(), [Item("the", "a", ("bc",))])
    z = np.log(259 + np.exp(5))
    assert report.margins[0] == pytest.approx((5 - z) - 4 * -z)


def test_the_mark_is_read_only_where_nothing_else_could_be() -> None:
    # "e a" is one token, so nothing stands before it; the bytes of "e b" then count from the first on.
    report = cloze(Fond(), Pairs(), [Item("e", "a", ("b",))])
    z = np.log(259 + np.exp(5))
    assert report.margins[0] == pytest.approx((5 - z) - 3 * -z)


def test_a_tie_is_wrong() -> None:
    report = cloze(Fond(), Pairs(), [Item("x", "b", ("c", "d")), Item("x", "b", ("cc", "d"))])
    assert report.total.accuracy == 0
    assert report.margins == pytest.approx([0, 0])


def test_items_too_long_are_counted(tokenizer, make_model) -> None:
    model = make_model(tokenizer.vocab_size, context_length=16)
    report = cloze(model, tokenizer, [Item("x" * 40, "a", ("b",)), Item("x", "a", ("b",))])
    assert (report.n_skipped, report.total.n) == (1, 1)
    # The last token is only predicted, so 16 read and 17 in all fit: 15 bytes, and " " and "b".
    exact = cloze(model, tokenizer, [Item("x" * 15, "b", ("c",))])
    assert exact.n_skipped == 0
    with pytest.raises(DataError, match="no cloze item fits"):
        cloze(model, tokenizer, [Item("x" * 16, "b", ("c",))])


@pytest.mark.parametrize("item", [Item("x", "a", ()), Item("x", "a", ("b", "a")), Item("x", "", ("b",))])
def test_items_without_a_choice_are_refused(tokenizer, make_model, item) -> None:
    with pytest.raises(DataError, match="cloze item 0"):
        cloze(make_model(tokenizer.vocab_size), tokenizer, [item])
