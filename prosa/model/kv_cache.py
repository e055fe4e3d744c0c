"""Keys and values of positions already seen, so that decoding computes only what is new.

Row b of the batch has its token of position p in slot p, whatever the other rows hold (right-padded), so a row's
numbers do not depend on its neighbours; slots from its length on are free and hidden by the attention mask.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from prosa.model.settings import ModelSettings

# Slots added at once when a text grows beyond them.
_GROWTH = 64


class KVCache:
    """Keys and values of each layer, each `[B, n_kv_head, capacity, d_head]`; it grows with its longest row."""

    def __init__(
        self,
        settings: ModelSettings,
        batch_size: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (batch_size, settings.n_kv_head, capacity, settings.d_head)
        # Zeros, not empty: a masked slot has weight 0, and 0 times a stray NaN would be NaN.
        self.keys = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(settings.n_layer)]
        self.values = [torch.zeros(shape, dtype=dtype, device=device) for _ in range(settings.n_layer)]
        self.lengths = [0] * batch_size
        self.new_positions: Int[Tensor, "B T"]

    @property
    def capacity(self) -> int:
        return self.keys[0].shape[2]

    @property
    def device(self) -> torch.device:
        return self.keys[0].device

    @property
    def is_ragged(self) -> bool:
        return min(self.lengths) != max(self.lengths)

    def positions(self, T: int) -> Int[Tensor, "B T"]:
        """Positions of the next `T` tokens of each row."""
        starts = torch.tensor(self.lengths, device=self.device)
        return starts[:, None] + torch.arange(T, device=self.device)

    def reserve(self, T: int) -> None:
        """Makes room for `T` more tokens in every row, which all layers then append."""
        self.new_positions = self.positions(T)
        needed = max(self.lengths) + T
        if needed > self.capacity:
            capacity = -(-needed // _GROWTH) * _GROWTH
            self.keys = [_resize(old, capacity) for old in self.keys]
            self.values = [_resize(old, capacity) for old in self.values]

    def append(
        self, layer: int, k: Float[Tensor, "B K T D"], v: Float[Tensor, "B K T D"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        """Stores the new keys and values of one layer; returns the layer's slots from 0 to the longest row's end."""
        T, end = k.shape[2], max(self.lengths) + k.shape[2]
        keys, values = self.keys[layer], self.values[layer]
        k, v = k.to(keys.dtype), v.to(values.dtype)
        if self.is_ragged:
            rows = torch.arange(k.shape[0], device=k.device)[:, None]
            keys[rows, :, self.new_positions] = k.transpose(1, 2)
            values[rows, :, self.new_positions] = v.transpose(1, 2)
        else:
            keys[:, :, end - T : end] = k
            values[:, :, end - T : end] = v
        return keys[:, :, :end], values[:, :, :end]

    def advance(self, T: int) -> None:
        """Counts `T` more tokens in every row, after all layers have appended them."""
        self.lengths = [length + T for length in self.lengths]

    def truncate(self, lengths: Sequence[int]) -> None:
        """Forgets what each row holds from its new length on, such as the padding of a shorter prompt."""
        self.lengths = [min(old, new) for old, new in zip(self.lengths, lengths, strict=True)]

    def select(self, rows: Sequence[int]) -> "KVCache":
        """A new cache of the given rows, in that order and with repeats."""
        index = torch.tensor(rows, device=self.device)
        lengths = [self.lengths[row] for row in rows]
        return _made_of([old[index] for old in self.keys], [old[index] for old in self.values], lengths)

    def join(self, other: "KVCache") -> "KVCache":
        """A new cache of these rows and then those of `other`, with the larger capacity of the two."""
        capacity = max(self.capacity, other.capacity)

        def stack(mine: list[Tensor], theirs: list[Tensor]) -> list[Tensor]:
            pairs = zip(mine, theirs, strict=True)
            return [torch.cat([_resize(one, capacity), _resize(two, capacity)]) for one, two in pairs]

        lengths = [*self.lengths, *other.lengths]
        return _made_of(stack(self.keys, other.keys), stack(self.values, other.values), lengths)

    def replace_rows(self, rows: Sequence[int], source: "KVCache") -> None:
        """Overwrites the given rows with all rows of `source`."""
        used = max(source.lengths)
        index = torch.tensor(rows, device=self.device)
        for mine, theirs in zip([*self.keys, *self.values], [*source.keys, *source.values], strict=True):
            mine[index, :, :used] = theirs[:, :, :used]
        for row, length in zip(rows, source.lengths, strict=True):
            self.lengths[row] = length


class Slots:
    """The tensors of a cache as a compiled step sees them: each row's new key and value go where its position says."""

    def __init__(
        self,
        keys: Sequence[Float[Tensor, "B K S D"]],
        values: Sequence[Float[Tensor, "B K S D"]],
        positions: Int[Tensor, " B"],
    ) -> None:
        self.keys, self.values, self.positions = keys, values, positions

    def append(
        self, layer: int, k: Float[Tensor, "B K 1 D"], v: Float[Tensor, "B K 1 D"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        """Stores the new keys and values of one layer; returns all its slots, the free ones too."""
        rows = torch.arange(k.shape[0], device=k.device)
        keys, values = self.keys[layer], self.values[layer]
        keys[rows, :, self.positions] = k[:, :, 0].to(keys.dtype)
        values[rows, :, self.positions] = v[:, :, 0].to(values.dtype)
        return keys, values


def _made_of(keys: list[Tensor], values: list[Tensor], lengths: list[int]) -> KVCache:
    made = KVCache.__new__(KVCache)
    made.keys, made.values, made.lengths = keys, values, lengths
    return made


def _resize(old: Float[Tensor, "B K S D"], capacity: int) -> Float[Tensor, "B K S2 D"]:
    """`old` with more slots, which are zeros; itself if it has as many."""
    B, K, S, D = old.shape
    if capacity == S:
        return old
    new = old.new_zeros(B, K, capacity, D)
    new[:, :, :S] = old
    return new
