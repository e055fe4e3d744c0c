"""Which conversations are learned from at which step: a pure function of (seed, conversations, step).

Encoded conversations come in; batches of packed rows go out, in which no conversation sees another. Every epoch draws
its conversations by their weights and packs them anew; rows follow each other from epoch to epoch without a gap.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from prosa.sft.packing import EncodedConversation, pack
from prosa.streams import numpy_stream


class SftBatch(NamedTuple):
    """Rows of ids, for each the id to be learned after it (-100: none), and which conversation of its row it is of."""

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    segments: Int[Tensor, "B T"]

    @property
    def n_targets(self) -> int:
        """Tokens that are learned."""
        return int((self.targets != -100).sum())


class SftBatches:
    """Batches of conversations; `batch(step)` can be asked for any step in any order.

    weights: how often an epoch reads each conversation of a source, 1 where nothing is said. Without `packs` each
    conversation has a row of its own, as wide as the longest of its batch.
    """

    def __init__(
        self,
        conversations: Sequence[EncodedConversation],
        *,
        context_length: int,
        batch_size: int,
        pad_id: int,
        seed: int,
        weights: Mapping[str, float] | None = None,
        packs: bool = True,
    ) -> None:
        assert conversations, "there is nothing to learn"
        self.conversations, self.seed, self.packs = conversations, seed, packs
        self.context_length, self.batch_size, self.pad_id = context_length, batch_size, pad_id
        self._lengths = [conversation.length for conversation in conversations]
        self._weights = np.array([(weights or {}).get(conversation.source, 1.0) for conversation in conversations])
        # The number of the first row of each epoch known so far, and the rows of the last few.
        self._starts = [0]
        self._epochs: dict[int, list[list[int]]] = {}

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> SftBatch:
        """The batch of step `step` (from 0), or one rank's equal share of its rows."""
        share = self.batch_size // world_size
        first = step * self.batch_size + rank * share
        rows = [self._row(number) for number in range(first, first + share)]
        width = self.context_length if self.packs else max(self._lengths[row[0]] for row in rows)
        return make_batch(self.conversations, rows, width=width, pad_id=self.pad_id)

    def documents(self, step: int) -> list[dict[str, Any]]:
        """The conversations in the batch of step `step`, for reports."""
        rows = [self._row(number) for number in range(step * self.batch_size, (step + 1) * self.batch_size)]
        found = {number: self.conversations[number] for row in rows for number in row}
        return [{"id": item.id, "source": item.source, "language": item.language} for item in found.values()]

    def epoch(self, step: int) -> float:
        """Epochs read before step `step`."""
        number = step * self.batch_size
        self._row(number)
        epoch = bisect_right(self._starts, number) - 1
        return epoch + (number - self._starts[epoch]) / (self._starts[epoch + 1] - self._starts[epoch])

    def rows(self, epoch: int) -> list[list[int]]:
        """The rows of an epoch in the order they are read, each as numbers of conversations."""
        stream = numpy_stream(self.seed, "conversations", epoch)
        whole, part = np.divmod(self._weights, 1)
        copies = whole.astype(np.int64) + (stream.random(len(part)) < part)
        order = stream.permutation(np.repeat(np.arange(len(copies)), copies)).tolist()
        rows = pack(self._lengths, order, self.context_length) if self.packs else [[number] for number in order]
        return [rows[place] for place in stream.permutation(len(rows))]

    def _row(self, number: int) -> list[int]:
        """Row `number` of the run. How many rows the epochs before it have is only known by packing them."""
        while number >= self._starts[-1]:
            epoch = len(self._starts) - 1
            rows = self._epoch(epoch)
            self._starts.append(self._starts[-1] + len(rows))
        epoch = bisect_right(self._starts, number) - 1
        return self._epoch(epoch)[number - self._starts[epoch]]

    def _epoch(self, epoch: int) -> list[list[int]]:
        if epoch not in self._epochs:
            # A batch may reach into the next epoch, and further where all conversations fit in a few rows.
            while len(self._epochs) > 8:
                del self._epochs[next(iter(self._epochs))]
            self._epochs[epoch] = self.rows(epoch)
        return self._epochs[epoch]


def make_batch(
    conversations: Sequence[EncodedConversation], rows: Sequence[Sequence[int]], *, width: int, pad_id: int
) -> SftBatch:
    """The conversations of each row one after the other; what is left of the row is a segment of its own, unlearned."""
    ids = np.full((len(rows), width), pad_id, np.int64)
    targets = np.full((len(rows), width), -100, np.int64)
    segments = np.zeros((len(rows), width), np.int64)
    for place, row in enumerate(rows):
        start = 0
        for segment, number in enumerate(row):
            conversation = conversations[number]
            end = start + conversation.length
            ids[place, start:end] = conversation.ids[:-1]
            targets[place, start:end] = np.where(conversation.is_target[1:], conversation.ids[1:], -100)
            segments[place, start:end] = segment
            start = end
        segments[place, start:] = len(row)
    return SftBatch(torch.from_numpy(ids), torch.from_numpy(targets), torch.from_numpy(segments))
