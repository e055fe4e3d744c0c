"""What was read once is not read again: keys and values of beginnings, kept for texts that begin in the same way.

A conversation's next prompt begins with all that was said before, and prompts with one system message begin with it.
"""

from collections.abc import Iterator, Sequence

from prosa.model import KVCache

# Shorter beginnings are read again sooner than they are found and copied.
_SHORTEST = 16
# Tokens that reading a shared beginning first must save, as it is one more pass through the model.
_WORTHWHILE = 256


class Prefixes:
    """Beginnings of texts, each with its cache of one row; those used longest ago are forgotten first."""

    def __init__(self, max_tokens: int) -> None:
        self.max_tokens = max_tokens
        # From the one used longest ago to the newest.
        self._kept: dict[tuple[int, ...], KVCache] = {}

    @property
    def n_tokens(self) -> int:
        """Of all beginnings together."""
        return sum(map(len, self._kept))

    def find(self, ids: Sequence[int]) -> tuple[int, KVCache | None]:
        """How many of the first `ids` are known, and a cache of them; 0 and None if too few are."""
        lengths = {known: _count_alike(known, ids) for known in self._kept}
        best = max(lengths, key=lengths.__getitem__, default=())
        if lengths.get(best, 0) < _SHORTEST:
            return 0, None
        self._kept[best] = self._kept.pop(best)
        kv_cache = self._kept[best].select([0])
        kv_cache.truncate([lengths[best]])
        return lengths[best], kv_cache

    def keep(self, ids: Sequence[int], kv_cache: KVCache) -> None:
        """Keeps a beginning unless it is part of one that is kept; forgets those that are part of it, or too old."""
        new = tuple(ids)
        if len(new) < _SHORTEST or len(new) > self.max_tokens or any(known[: len(new)] == new for known in self._kept):
            return
        self._kept = {known: cache for known, cache in self._kept.items() if new[: len(known)] != known}
        self._kept[new] = kv_cache
        while self.n_tokens > self.max_tokens:
            del self._kept[next(iter(self._kept))]


def find_shared(prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Beginnings that several of the prompts share, if reading them once for all saves enough."""
    group: list[list[int]] = []
    n_shared = 0
    for prompt in [*sorted(map(list, prompts)), []]:
        # One token of a prompt is always left to read, as what comes after it is asked for.
        n_alike = min(_count_alike(group[-1], prompt), len(group[-1]) - 1, len(prompt) - 1) if group else 0
        if n_alike >= _SHORTEST:
            n_shared = min(n_shared, n_alike) if n_shared else n_alike
            group.append(prompt)
        else:
            if (len(group) - 1) * n_shared >= _WORTHWHILE:
                yield group[0][:n_shared]
            group, n_shared = [prompt], 0


def _count_alike(one: Sequence[int], other: Sequence[int]) -> int:
    n = 0
    for first, second in zip(one, other, strict=False):
        if first != second:
            break
        n += 1
    return n
