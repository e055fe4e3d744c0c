"""Texts that begin alike become branches of one row, so that what they share is computed once.

A prompt and its K answers are K rows of a batch otherwise, each with the whole prompt. Here the prompt stands in a row
once, the answers behind it; every answer sees the prompt and itself, at the positions that it would have alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from prosa.model.transformer import SHARED, Transformer

# A row takes no further branch beyond this: attention computes every pair of a row, seen or not.
_ROW_TOKENS = 384


@dataclass(slots=True)
class Row:
    """A beginning and its branches: ids, where each stands in its own text, and which branch it belongs to.

    texts: numbers of the texts in it; own: the columns of their branches, one after the other.
    """

    ids: list[int]
    positions: list[int]
    segments: list[int]
    texts: list[int] = field(default_factory=list)
    own: list[int] = field(default_factory=list)


def plant(texts: Sequence[Sequence[int]], starts: Sequence[int]) -> list[Row]:
    """Rows for `texts`, in order; each text's branch begins at `starts`, and neighbours share equal beginnings."""
    rows: list[Row] = []
    for number, (text, start) in enumerate(zip(texts, starts, strict=True)):
        own = text[start:]
        is_alike = number > 0 and starts[number - 1] == start and texts[number - 1][:start] == text[:start]
        if not is_alike or len(rows[-1].ids) + len(own) > _ROW_TOKENS:
            rows.append(Row(list(text[:start]), list(range(start)), [SHARED] * start))
        row = rows[-1]
        row.own += range(len(row.ids), len(row.ids) + len(own))
        row.positions += range(start, len(text))
        row.segments += [len(row.texts)] * len(own)
        row.ids += own
        row.texts.append(number)
    return rows


def read_rows(model: Transformer, rows: Sequence[Row]) -> Float[Tensor, "N C"]:
    """The vectors after the final norm at the branches of `rows`, row by row, branch by branch."""
    T, device = max(len(row.ids) for row in rows), model.unembedding.device

    def pad(lists: list[list[int]], value: int) -> Int[Tensor, "B T"]:
        return torch.tensor([one + [value] * (T - len(one)) for one in lists], device=device)

    ids, segments, positions = pad([row.ids for row in rows], 0), None, None
    if any(len(row.texts) > 1 for row in rows):
        segments = pad([row.segments for row in rows], max(len(row.texts) for row in rows))
        positions = pad([row.positions for row in rows], 0)
    hidden = model.hidden(ids, segments=segments, positions=positions)
    places = [number * T + column for number, row in enumerate(rows) for column in row.own]
    return hidden.flatten(0, 1)[torch.tensor(places, device=device)]


def read_where(model: Transformer, ids: Int[Tensor, "B T"], is_wanted: Bool[Tensor, "B T"]) -> Float[Tensor, "N C"]:
    """The vectors after the final norm where they are wanted, row by row.

    What neighbours have in common before the first wanted position is computed once.
    """
    wanted = [row.nonzero()[:, 0].tolist() or [-1] for row in is_wanted.cpu()]
    starts, ends = [max(0, columns[0]) for columns in wanted], [columns[-1] + 1 for columns in wanted]
    texts = [row[:end] for row, end in zip(ids.tolist(), ends, strict=True)]
    found = read_rows(model, plant(texts, starts))
    return found[torch.cat([row[start:end] for row, start, end in zip(is_wanted, starts, ends, strict=True)])]
