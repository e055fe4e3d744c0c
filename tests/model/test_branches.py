"""Texts that share their beginnings in one row are read as each would be alone."""

import random
from typing import Any

import pytest
import torch

from prosa.model import plant, read_trees, read_where
from tests.model.tiny import tiny_model

VARIANTS: list[dict[str, Any]] = [
    {"family": "qwen3"},
    {"family": "llama"},
    {"family": "mistral", "sliding_window": 5},
    {"family": "qwen3", "sliding_window": 5, "n_full_layer": 1},
]


def some_texts(vocab_size: int) -> tuple[list[list[int]], list[int]]:
    """Answers to three prompts, two of which are equally long, one with a single answer; and where they begin."""
    draw = random.Random(0)

    def ids(n: int) -> list[int]:
        return [draw.randrange(vocab_size) for _ in range(n)]

    prompts = [ids(6), ids(6), ids(3)]
    texts, starts = [], []
    for prompt, lengths in zip(prompts, ([4, 9, 1, 4], [5], [2, 30, 7]), strict=True):
        texts += [prompt + ids(n) for n in lengths]
        starts += [len(prompt)] * len(lengths)
    return texts, starts


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_a_branch_is_read_as_its_text_alone(variant: dict[str, Any]) -> None:
    model = tiny_model(**variant)
    texts, starts = some_texts(model.settings.vocab_size)
    trees = plant(texts, starts)
    assert [tree.texts for tree in trees] == [[0, 1, 2, 3], [4], [5, 6, 7]]
    with torch.no_grad():
        found = read_trees(model, trees)
        alone = [model.hidden(torch.tensor([text]))[0, start:] for text, start in zip(texts, starts, strict=True)]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=1e-4)


def test_gradients_are_those_of_whole_rows() -> None:
    model = tiny_model(family="qwen3")
    texts, starts = some_texts(model.settings.vocab_size)
    weights = torch.randn(sum(map(len, texts)) - sum(starts), model.settings.d_model)
    (read_trees(model, plant(texts, starts)) * weights).sum().backward()  # type: ignore[no-untyped-call]
    found = {name: one.grad for name, one in model.named_parameters() if one.grad is not None}
    model.zero_grad()
    alone = [model.hidden(torch.tensor([text]))[0, start:] for text, start in zip(texts, starts, strict=True)]
    (torch.cat(alone) * weights).sum().backward()  # type: ignore[no-untyped-call]
    for name, one in model.named_parameters():
        if one.grad is not None:
            torch.testing.assert_close(found[name], one.grad, atol=1e-4, rtol=1e-3)


def test_a_tree_does_not_grow_without_end() -> None:
    texts = [[1, 2, 3] + [4] * 200 for _ in range(5)]
    assert [len(tree.texts) for tree in plant(texts, [3] * 5)] == [1, 1, 1, 1, 1]
    assert [len(tree.texts) for tree in plant([text[:103] for text in texts], [3] * 5)] == [3, 2]


def test_short_trees_share_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model(family="qwen3")
    texts, starts = some_texts(model.settings.vocab_size)
    shapes, hidden = [], model.hidden
    monkeypatch.setattr(model, "hidden", lambda ids, **more: shapes.append(tuple(ids.shape)) or hidden(ids, **more))
    with torch.no_grad():
        read_trees(model, plant(texts, starts))
    assert shapes == [(1, 96)], "three trees of 24 + 11 + 42 in one row, up to the next multiple of 32"


def test_read_where_takes_what_is_wanted_of_each_row() -> None:
    model = tiny_model(family="qwen3")
    texts, starts = some_texts(model.settings.vocab_size)
    ids = torch.zeros(len(texts), max(map(len, texts)) + 2, dtype=torch.long)
    is_wanted = torch.zeros(ids.shape, dtype=torch.bool)
    for number, (text, start) in enumerate(zip(texts, starts, strict=True)):
        ids[number, : len(text)] = torch.tensor(text)
        is_wanted[number, start : len(text) - 1] = True
    is_wanted[6, 10:20] = False
    assert not is_wanted[2].any()
    with torch.no_grad():
        torch.testing.assert_close(
            read_where(model, ids, is_wanted), model.hidden(ids)[is_wanted], atol=1e-5, rtol=1e-4
        )
