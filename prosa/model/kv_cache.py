"""Keys and values of positions already seen, so that decoding computes only what is new.

Row b of the batch has its token of position p in slot p, whatever the other rows hold (right-padded), so a row's
numbers do not depend on its neighbours; slots from its length on are free and hidden by the attention mask.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from prosa.model.settings import ModelSettings


class KVCache:
    """Preallocated keys and values, each `[n_layer, B, n_kv_head, capacity, d_head]`."""

    def __init__(
        self,
        settings: ModelSettings,
        batch_size: int,
        capacity: int,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> None:
        shape = (settings.n_layer, batch_size, settings.n_kv_head, capacity, settings.d_head)
        # Zeros, not empty: a masked slot has weight 0, and 0 times a stray NaN would be NaN.
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.lengths = [0] * batch_size

    @property
    def capacity(self) -> int:
        return self.keys.shape[3]

    @property
    def is_ragged(self) -> bool:
        return min(self.lengths) != max(self.lengths)

    def positions(self, T: int) -> Int[Tensor, "B T"]:
        """Positions of the next `T` tokens of each row."""
        starts = torch.tensor(self.lengths, device=self.keys.device)
        return starts[:, None] + torch.arange(T, device=self.keys.device)

    def append(
        self, layer: int, k: Float[Tensor, "B K T D"], v: Float[Tensor, "B K T D"]
    ) -> tuple[Float[Tensor, "B K S D"], Float[Tensor, "B K S D"]]:
        """Stores the new keys and values of one layer; returns the layer's slots from 0 to the longest row's end."""
        T, end = k.shape[2], max(self.lengths) + k.shape[2]
        k, v = k.to(self.keys.dtype), v.to(self.values.dtype)
        keys, values = self.keys[layer], self.values[layer]
        if self.is_ragged:
            rows, positions = torch.arange(k.shape[0], device=k.device)[:, None], self.positions(T)
            keys[rows, :, positions] = k.transpose(1, 2)
            values[rows, :, positions] = v.transpose(1, 2)
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

    def select(self, rows: Sequence[int], capacity: int | None = None) -> "KVCache":
        """A new cache of the given rows, in that order and with repeats; `capacity` may differ but must hold them."""
        other = KVCache.__new__(KVCache)
        other.lengths = [self.lengths[row] for row in rows]
        used = max(other.lengths)
        index = torch.tensor(rows, device=self.keys.device)
        for name in ("keys", "values"):
            old: Tensor = getattr(self, name)
            new = old.new_zeros(old.shape[0], len(rows), old.shape[2], capacity or self.capacity, old.shape[4])
            new[:, :, :, :used] = old[:, :, :, :used].index_select(1, index)
            setattr(other, name, new)
        return other

    def join(self, other: "KVCache") -> "KVCache":
        """A new cache of these rows and then those of `other`, with the larger capacity of the two."""
        joined = KVCache.__new__(KVCache)
        joined.lengths = [*self.lengths, *other.lengths]
        capacity, n = max(self.capacity, other.capacity), len(self.lengths)
        for name in ("keys", "values"):
            mine, theirs = getattr(self, name), getattr(other, name)
            new = mine.new_zeros(mine.shape[0], len(joined.lengths), mine.shape[2], capacity, mine.shape[4])
            new[:, :n, :, : self.capacity] = mine
            new[:, n:, :, : other.capacity] = theirs
            setattr(joined, name, new)
        return joined

    def replace_rows(self, rows: Sequence[int], source: "KVCache") -> None:
        """Overwrites the given rows with all rows of `source`."""
        used = max(source.lengths)
        index = torch.tensor(rows, device=self.keys.device)
        self.keys[:, index, :, :used] = source.keys[:, :, :, :used]
        self.values[:, index, :, :used] = source.values[:, :, :, :used]
        for row, length in zip(rows, source.lengths, strict=True):
            self.lengths[row] = length
