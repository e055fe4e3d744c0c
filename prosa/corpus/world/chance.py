"""Choices from a stream of random numbers, built only on `Random.random`, whose values no Python version changes.

`random.choice`, `shuffle` and `sample` may change their use of the stream between versions; these do not.
"""

from collections.abc import Sequence
from random import Random
from typing import TypeVar

T = TypeVar("T")


def pick(rng: Random, items: Sequence[T]) -> T:
    """One of `items`, all equally likely."""
    return items[int(rng.random() * len(items))]


def shuffled(rng: Random, items: Sequence[T]) -> list[T]:
    """A new list with all `items` in random order (Fisher-Yates)."""
    result = list(items)
    for last in range(len(result) - 1, 0, -1):
        other = int(rng.random() * (last + 1))
        result[last], result[other] = result[other], result[last]
    return result


def sample(rng: Random, items: Sequence[T], n: int) -> list[T]:
    """`n` different members of `items` in random order, or all of them when there are fewer."""
    result = list(items)
    n = min(n, len(result))
    for first in range(n):
        other = first + int(rng.random() * (len(result) - first))
        result[first], result[other] = result[other], result[first]
    return result[:n]


def deal(rng: Random, items: Sequence[T], n: int) -> list[T]:
    """`n` members of `items`, each dealt as often as the others (their counts differ by one at most)."""
    result: list[T] = []
    while len(result) < n:
        result += shuffled(rng, items)
    return result[:n]
