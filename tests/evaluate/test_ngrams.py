import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from prosa.evaluate import ngram_nats


def count_slowly(train: list[int], validation: list[int], vocab_size: int, order: int) -> float:
    """The definition, with dictionaries."""
    after: dict[tuple[int, ...], Counter[int]] = defaultdict(Counter)
    for place, token in enumerate(train):
        for n in range(min(order - 1, place) + 1):
            after[tuple(train[place - n : place])][token] += 1

    def probability(history: tuple[int, ...], token: int) -> float:
        lower = probability(history[1:], token) if history else 1 / vocab_size
        counts = after.get(history)
        if not counts:
            return lower
        return (counts[token] + len(counts) * lower) / (sum(counts.values()) + len(counts))

    places = range(len(validation))
    return -sum(
        math.log(probability(tuple(validation[max(0, p - order + 1) : p]), validation[p])) for p in places
    ) / len(validation)


@pytest.mark.parametrize("order", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(3))
def test_it_is_what_dictionaries_count(order: int, seed: int) -> None:
    stream = np.random.default_rng(seed)
    train, validation = stream.integers(0, 5, 400), stream.integers(0, 6, 60)
    wanted = count_slowly(train.tolist(), validation.tolist(), 6, order)
    assert ngram_nats(train, validation, 6, order) == pytest.approx(wanted, rel=1e-12)


def test_what_was_seen_is_expected_and_nothing_is_impossible() -> None:
    train = np.array([1, 2, 3, 4] * 200)
    assert ngram_nats(train, np.array([1, 2, 3, 4] * 20), 10) < 0.1
    assert math.log(10) < ngram_nats(train, np.array([7, 8, 9, 9, 7]), 10) < 50
    assert ngram_nats(train, np.array([3]), 10) == pytest.approx(-math.log((200 + 4 / 10) / 804))
