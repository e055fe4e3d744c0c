"""Which tokens are trained on at which step: a pure function of (seed, shards, step).

Every source is read in epochs. An epoch lays the source's documents end to end in an order drawn for that epoch,
cuts the stream into windows of `context_length` targets, and visits the windows in an order drawn as well; the last
window wraps round, so no token is thrown away. Sources take turns by their weights. The state of it all is the step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from prosa.errors import DataError
from prosa.streams import numpy_stream

if TYPE_CHECKING:
    from prosa.tokenizer import TokenShards

# Sources share this many turns by largest remainder, so a weight is honoured to 1/1024.
_TURNS = 1024


class Batch(NamedTuple):
    """Token ids and, for each, the id that should follow; targets of -100 are not trained on."""

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]

    @property
    def n_targets(self) -> int:
        """Tokens that are trained on."""
        return int((self.targets != -100).sum())


@dataclass(frozen=True, slots=True)
class _Epoch:
    """One epoch's order of a source: documents, where each begins in the stream, and the order of windows."""

    number: int
    documents: np.ndarray
    starts: np.ndarray
    windows: np.ndarray
    rotation: int


class Batches:
    """Batches of one split; `batch(step)` can be asked for any step in any order."""

    def __init__(
        self,
        shards: "TokenShards",
        *,
        split: str = "train",
        context_length: int,
        batch_size: int,
        seed: int,
        weights: Mapping[str, float] | None = None,
    ) -> None:
        self.shards, self.split, self.seed = shards, split, seed
        self.context_length, self.batch_size = context_length, batch_size
        self.sources = [name for name in shards.sources if shards.n_tokens(split, name) > 0]
        self.n_tokens = {name: shards.n_tokens(split, name) for name in self.sources}
        total = sum(self.n_tokens.values())
        if total < batch_size * context_length + 1:
            raise DataError(
                f"the {split} split has {total:,} tokens, fewer than one batch of {batch_size} x {context_length}",
                hint="add text, or lower batch_size or context_length",
            )
        self.turns, self._turn_counts = _share_turns(self.sources, self.n_tokens, weights or shards.weights, seed)
        self._epochs: dict[int, _Epoch] = {}

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> Batch:
        """The batch of step `step` (from 0), or one rank's equal share of its sequences."""
        share = self.batch_size // world_size
        first = step * self.batch_size + rank * share
        rows = np.stack([self._sequence(number) for number in range(first, first + share)])
        tokens = torch.from_numpy(rows.astype(np.int64))
        return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())

    def documents(self, step: int) -> list[dict[str, Any]]:
        """The documents whose tokens are in the batch of step `step`, for reports."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for number in range(step * self.batch_size, (step + 1) * self.batch_size):
            source, epoch, position = self._locate(number)
            for document, _, _ in self._pieces(source, epoch, position):
                name = self.sources[source]
                found[name, document] = self.shards.document(self.split, name, document)
        return list(found.values())

    def epochs(self, step: int) -> dict[str, float]:
        """How often each source has been read through before step `step`."""
        sequences = step * self.batch_size
        full, part = divmod(sequences, _TURNS)
        counts = full * self._turn_counts[-1] + self._turn_counts[part]
        return {
            name: float(count) * self.context_length / self.n_tokens[name]
            for name, count in zip(self.sources, counts, strict=True)
        }

    def _sequence(self, number: int) -> np.ndarray:
        """Sequence `number` of the run: context_length + 1 ids."""
        source, epoch, position = self._locate(number)
        name = self.sources[source]
        pieces = self._pieces(source, epoch, position)
        return np.concatenate([self.shards.read(self.split, name, document, start, n) for document, start, n in pieces])

    def _locate(self, number: int) -> tuple[int, _Epoch, int]:
        """The source of sequence `number`, its epoch, and where in the epoch's stream it begins."""
        full, part = divmod(number, _TURNS)
        source = int(self.turns[part])
        nth = int(full * self._turn_counts[-1][source] + self._turn_counts[part][source])
        n_windows = -(-self.n_tokens[self.sources[source]] // self.context_length)
        epoch = self._epoch(source, nth // n_windows)
        window = int(epoch.windows[nth % n_windows])
        return source, epoch, window * self.context_length + epoch.rotation

    def _pieces(self, source: int, epoch: _Epoch, position: int) -> list[tuple[int, int, int]]:
        """(document, first token, number of tokens) that make up the window at `position`, wrapping at the end."""
        n_tokens = self.n_tokens[self.sources[source]]
        pieces = []
        needed = self.context_length + 1
        while needed:
            position %= n_tokens
            index = int(np.searchsorted(epoch.starts, position, side="right")) - 1
            offset = position - int(epoch.starts[index])
            length = min(needed, int(epoch.starts[index + 1]) - position)
            pieces.append((int(epoch.documents[index]), offset, length))
            position += length
            needed -= length
        return pieces

    def _epoch(self, source: int, number: int) -> _Epoch:
        known = self._epochs.get(source)
        if known is None or known.number != number:
            known = self._epochs[source] = self._draw_epoch(source, number)
        return known

    def _draw_epoch(self, source: int, number: int) -> _Epoch:
        name = self.sources[source]
        stream = numpy_stream(self.seed, f"order of {name}", number)
        lengths = self.shards.document_lengths(self.split, name)
        documents = stream.permutation(len(lengths))
        starts = np.concatenate([[0], np.cumsum(lengths[documents])])
        n_windows = -(-int(starts[-1]) // self.context_length)
        return _Epoch(number, documents, starts, stream.permutation(n_windows), int(stream.integers(starts[-1])))


def _share_turns(
    sources: list[str], n_tokens: Mapping[str, int], weights: Mapping[str, float], seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """The source of each of the 1024 turns, and how many turns each source has had before each turn.

    A source whose weight is 0 counts with its number of tokens, so that unweighted sources are read equally often.
    """
    given = {name: weights.get(name, 0.0) for name in sources}
    natural = sum(n_tokens.values())
    shares = np.array([given[name] or n_tokens[name] / natural for name in sources], dtype=np.float64)
    exact = shares / shares.sum() * _TURNS
    counts = np.maximum(1, np.floor(exact)).astype(np.int64)
    for index in np.argsort(np.floor(exact) - exact, kind="stable"):
        if counts.sum() >= _TURNS:
            break
        counts[index] += 1
    counts[np.argmax(counts)] -= counts.sum() - _TURNS
    turns = numpy_stream(seed, "turns of sources").permutation(np.repeat(np.arange(len(sources)), counts))
    seen = np.zeros((_TURNS + 1, len(sources)), dtype=np.int64)
    seen[1:] = np.cumsum(turns[:, None] == np.arange(len(sources)), axis=0)
    return turns, seen
