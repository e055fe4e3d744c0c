"""Texts that begin alike become branches of one tree, so that what they share is computed once.

A prompt and its K answers are K rows of a batch otherwise, each with the whole prompt. Here the prompt stands in a tree
once, the answers behind it; every answer sees the prompt and itself, at the positions that it would have alone. Short
trees share a row of the batch, none seeing another, so that hardly anything is computed for padding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prosa.model.transformer import BRANCHES, Transformer

# A tree takes no further branch beyond this: attention computes every pair of a row, seen or not.
_TREE_TOKENS = 384
# A row of the batch takes trees up to this; wider ones cost more in attention than they save in padding.
_ROW_TOKENS = 128
# Rows are as wide as a multiple of this: steps that meet fewer sizes are faster (docs/log.md).
_WIDTHS = 32


@dataclass(slots=True)
class Tree:
    """A beginning and its branches: ids, where each stands in its own text, and which branch it belongs to, from 1.

    texts: numbers of the texts in it; own: the columns of their branches, one after the other; lengths: of each.
    """

    ids: list[int]
    positions: list[int]
    branches: list[int]
    texts: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)


def plant(texts: Sequence[Sequence[int]], starts: Sequence[int]) -> list[Tree]:
    """Trees of `texts`, in order; each text's branch begins at `starts`, and neighbours share equal beginnings."""
    trees: list[Tree] = []
    for number, (text, start) in enumerate(zip(texts, starts, strict=True)):
        own = text[start:]
        is_alike = (
            number > 0 and start > 0 and starts[number - 1] == start and texts[number - 1][:start] == text[:start]
        )
        if not is_alike or len(trees[-1].ids) + len(own) > _TREE_TOKENS:
            trees.append(Tree(list(text[:start]), list(range(start)), [0] * start))
        tree = trees[-1]
        tree.texts.append(number)
        tree.lengths.append(len(own))
        tree.own += range(len(tree.ids), len(tree.ids) + len(own))
        tree.positions += range(start, len(text))
        tree.branches += [len(tree.texts)] * len(own)
        tree.ids += own
    return trees


def read_trees(model: Transformer, trees: Sequence[Tree]) -> Float[Tensor, "N C"]:
    """The vectors after the final norm at the branches of `trees`, tree by tree, branch by branch."""
    filled, places = _share_rows([len(tree.ids) for tree in trees])
    is_plain = len(filled) == len(trees) and all(tree.positions == list(range(len(tree.ids))) for tree in trees)
    T, device = max(filled), model.unembedding.device
    # A plain row may already be as long as the context.
    if not is_plain:
        T = -(-T // _WIDTHS) * _WIDTHS
    # Padding has a segment of its own, so that it sees itself and does not become NaN.
    columns: Int[Tensor, "3 B T"] = torch.tensor([0, 0, -1])[:, None, None].repeat(1, len(filled), T)
    for number, (tree, (row, first)) in enumerate(zip(trees, places, strict=True)):
        table = torch.tensor([tree.ids, tree.positions, tree.branches])
        table[2] += number * BRANCHES
        columns[:, row, first : first + len(tree.ids)] = table
    ids, positions, segments = columns.to(device)
    hidden = model.hidden(ids) if is_plain else model.hidden(ids, segments=segments, positions=positions)
    own = [row * T + first + column for tree, (row, first) in zip(trees, places, strict=True) for column in tree.own]
    return hidden.flatten(0, 1)[torch.tensor(own, device=device)]


def read_where(model: Transformer, ids: Int[Tensor, "B T"], is_wanted: Bool[Tensor, "B T"]) -> Float[Tensor, "N C"]:
    """The vectors after the final norm where they are wanted, row by row.

    What neighbours have in common before the first wanted position is computed once.
    """
    wanted = [row.nonzero()[:, 0].tolist() or [-1] for row in is_wanted.cpu()]
    starts, ends = [max(0, columns[0]) for columns in wanted], [columns[-1] + 1 for columns in wanted]
    texts = [row[:end] for row, end in zip(ids.tolist(), ends, strict=True)]
    found = read_trees(model, plant(texts, starts))
    return found[torch.cat([row[start:end] for row, start, end in zip(is_wanted, starts, ends, strict=True)])]


def group_by_length(lengths: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Row numbers from the shortest to the longest, in groups of at most `batch_tokens` after padding."""
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[row] > batch_tokens:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _share_rows(lengths: Sequence[int]) -> tuple[list[int], list[tuple[int, int]]]:
    """How full each row is, and each tree's row and first column: the longest first, each into the first with room."""
    width = max(_ROW_TOKENS, *lengths)
    filled: list[int] = []
    places = [(0, 0)] * len(lengths)
    for tree in sorted(range(len(lengths)), key=lambda tree: -lengths[tree]):
        row = next((row for row, end in enumerate(filled) if end + lengths[tree] <= width), len(filled))
        filled += [0] * (row == len(filled))
        places[tree] = row, filled[row]
        filled[row] += lengths[tree]
    return filled, places
