"""What is shown next: whole sessions are played, and information is compared with a slow sum over rankings."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from prosa.errors import ConfigError
from prosa.preferences.judgments import Item, Judgment, Ranking
from prosa.preferences.pairing import (
    PairingSettings,
    expected_information,
    is_overlap,
    judgments_wanted,
    next_item,
)
from tests.preferences.rankings import make_item, make_judgment

ITEMS = [make_item(f"p{k}") for k in range(40)]
GOLD = [make_item(f"gold {k}", gold=Ranking(((0,), (1,)))) for k in range(3)]


def play(items: list[Item], annotators: str, settings: PairingSettings, **options) -> list[Judgment]:
    """The annotators judge in turn until nothing is left for any of them."""
    judgments: list[Judgment] = []
    waiting = list(annotators)
    while waiting:
        for name in list(waiting):
            item = next_item(items, judgments, name, settings, **options)
            if item is None:
                waiting.remove(name)
            else:
                judgments.append(make_judgment(item, [1, 2, 3, 4], number=len(judgments), annotator=name))
    return judgments


def test_every_item_gets_what_it_wants_and_nobody_sees_it_twice() -> None:
    settings = PairingSettings(overlap_share=0.3, judgments_per_overlap_item=3, judgments_per_item=1)
    judgments = play(ITEMS, "abcd", settings)
    assert Counter(one.item_id for one in judgments) == {item.id: judgments_wanted(item, settings) for item in ITEMS}
    assert max(Counter((one.item_id, one.annotator) for one in judgments).values()) == 1
    n_shared = sum(is_overlap(item, settings) for item in ITEMS)
    assert 4 <= n_shared <= 20
    # Opinions meet early, not after everything else was judged once.
    early = Counter(one.item_id for one in judgments[: len(judgments) // 2])
    assert max(early.values()) == 3


def test_two_annotators_cannot_give_three_judgments() -> None:
    settings = PairingSettings(overlap_share=1, judgments_per_overlap_item=3)
    assert Counter(Counter(one.item_id for one in play(ITEMS, "ab", settings)).values()) == {2: len(ITEMS)}


def test_choice_is_a_function_of_state_and_seed() -> None:
    settings = PairingSettings()
    first = play(ITEMS, "ab", settings)
    assert first == play(ITEMS, "ab", settings)
    assert first != play(ITEMS, "ab", PairingSettings(seed=1))
    # A killed session goes on with the item that was on the screen.
    for k, judgment in enumerate(first[:12]):
        assert next_item(ITEMS, first[:k], judgment.annotator, settings).id == judgment.item_id
    assert next_item([], [], "a", settings) is None


def test_skipped_items_stay_open_for_others_only() -> None:
    settings = PairingSettings(overlap_share=0)
    skip = make_judgment(ITEMS[0], None, number=1, annotator="a")
    assert next_item(ITEMS[:1], [skip], "a", settings) is None
    assert next_item(ITEMS[:1], [skip], "b", settings) == ITEMS[0]
    done = make_judgment(ITEMS[0], [1, 2, 3, 4], number=2, annotator="a")
    assert next_item(ITEMS[:1], [done], "b", settings) is None


def test_gold_items_come_every_nth_time_to_everybody() -> None:
    settings = PairingSettings(gold_every=5, overlap_share=0)
    judgments = play([*ITEMS, *GOLD], "ab", settings)
    gold = {item.id for item in GOLD}
    for name in "ab":
        own = [one.item_id for one in judgments if one.annotator == name]
        assert [k + 1 for k, item in enumerate(own) if item in gold] == [5, 10, 15]
    ordinary = play([*ITEMS, *GOLD], "a", PairingSettings(overlap_share=0))
    assert len(ordinary) == len(ITEMS) + len(GOLD)


def test_repeats_come_later_and_once() -> None:
    settings = PairingSettings(repeat_share=0.3, overlap_share=0)
    judgments = play(ITEMS, "a", settings)
    own = [one.item_id for one in judgments]
    counts = Counter(own)
    assert set(counts.values()) == {1, 2}
    assert len(counts) == len(ITEMS)
    for item, n in counts.items():
        if n == 2:
            first = own.index(item)
            assert own.index(item, first + 1) - first > 10
    assert 5 <= sum(n == 2 for n in counts.values()) <= 25


def test_most_informative_item_comes_first() -> None:
    information = {item.id: float(k) for k, item in enumerate(ITEMS)}
    judgments = play(ITEMS, "a", PairingSettings(overlap_share=0), information=information)
    assert [one.item_id for one in judgments] == [item.id for item in reversed(ITEMS)]


def plackett_luce(scores: list[float], order: tuple[int, ...]) -> float:
    return math.prod(
        math.exp(scores[order[k]]) / sum(math.exp(scores[i]) for i in order[k:]) for k in range(len(order))
    )


def slow_information(scores: np.ndarray) -> float:
    """H[mean p] - mean H[p] over all orders of one item's answers."""
    orders = list(itertools.permutations(range(scores.shape[1])))
    table = [[plackett_luce(row.tolist(), order) for order in orders] for row in scores]

    def entropy(p) -> float:
        return -sum(value * math.log(value) for value in p)

    return entropy(np.mean(table, 0)) - float(np.mean([entropy(row) for row in table]))


def test_information_equals_a_slow_sum() -> None:
    scores = np.random.default_rng(0).normal(0, 1.5, (3, 5, 4))
    expected = [slow_information(scores[:, item]) for item in range(5)]
    assert expected_information(scores) == pytest.approx(expected)
    scores[:, 1, 2] = np.nan
    expected[1] = slow_information(scores[:, 1][:, [0, 1, 3]])
    assert expected_information(scores) == pytest.approx(expected)


def test_information_of_many_answers_is_that_of_the_first_place() -> None:
    scores = np.random.default_rng(1).normal(0, 1, (4, 2, 8))
    first = np.exp(scores) / np.exp(scores).sum(2, keepdims=True)
    mean = first.mean(0)
    expected = -(mean * np.log(mean)).sum(1) + (first * np.log(first)).sum(2).mean(0)
    assert expected_information(scores) == pytest.approx(expected)


def test_models_that_agree_leave_nothing_to_learn() -> None:
    scores = np.tile(np.random.default_rng(2).normal(0, 3, (1, 3, 4)), (5, 1, 1))
    assert expected_information(scores) == pytest.approx(np.zeros(3), abs=1e-12)
    # Models that are sure of opposite orders tell everything: one ranking decides between two.
    opposite = np.array([[[50.0, 0, -50]], [[-50.0, 0, 50]]])
    assert expected_information(opposite) == pytest.approx([math.log(2)])
    with pytest.raises(ConfigError, match="shape"):
        expected_information(np.zeros((3, 4)))
