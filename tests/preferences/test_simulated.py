"""Simulated annotators against the probabilities they are said to have."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from prosa.errors import ConfigError
from prosa.preferences.judgments import Ranking
from prosa.preferences.simulated import SimulatedAnnotator
from tests.preferences.rankings import ANSWERS, make_item

SCORES = [1.0, 0.3, -0.4]


def orders_of(annotator: SimulatedAnnotator, n: int, scores=SCORES) -> Counter:
    rankings = [annotator.rank(scores, ANSWERS[: len(scores)], item_id=str(k)) for k in range(n)]
    return Counter(tuple(ranking.ranked) for ranking in rankings)


def test_orders_have_plackett_luces_probabilities() -> None:
    n = 4000
    counts = orders_of(SimulatedAnnotator("pl", temperature=0.7, seed=1), n)
    for order in itertools.permutations(range(3)):
        strengths = [math.exp(SCORES[k] / 0.7) for k in order]
        p = strengths[0] / sum(strengths) * strengths[1] / sum(strengths[1:])
        assert abs(counts[order] / n - p) < 4 * math.sqrt(p * (1 - p) / n)


def test_temperature_zero_makes_no_errors_and_flips_reverse_every_pair_equally() -> None:
    assert orders_of(SimulatedAnnotator("exact", temperature=0), 50) == {(0, 1, 2): 50}
    n = 4000
    counts = orders_of(SimulatedAnnotator("flips", temperature=0, flip_share=0.25), n)
    for i, j in itertools.combinations(range(3), 2):
        reversed_share = sum(count for order, count in counts.items() if order.index(j) < order.index(i)) / n
        assert reversed_share == pytest.approx(0.25, abs=0.03)


def test_close_scores_tie() -> None:
    annotator = SimulatedAnnotator("ties", temperature=0, tie_margin=0.5)
    answers = ANSWERS[:4]
    assert annotator.rank([2.0, 0.0, 0.4, 0.8], answers) == Ranking(((0,), (1, 2, 3)))
    assert SimulatedAnnotator("exact", temperature=0).rank([1.0, 1.0, 0.0, 2.0], answers) == Ranking(
        ((3,), (0, 1), (2,))
    )


def test_biased_kinds() -> None:
    scores, order = [0.0, 1.0, 2.0], (1, 2, 0)
    answers = ("long answer", "short", "short")
    assert SimulatedAnnotator("x", "length").rank(scores, answers, order) == Ranking(((0,), (1, 2)))
    assert SimulatedAnnotator("x", "position").rank(scores, answers, order) == Ranking(((1,), (2,), (0,)))
    assert SimulatedAnnotator("x", "ties").rank(scores, answers, order) == Ranking(((0, 1, 2),))
    counts = orders_of(SimulatedAnnotator("x", "random"), 1200)
    assert len(counts) == 6
    assert min(counts.values()) > 140


def test_name_says_simulated_and_judgments_are_marked() -> None:
    annotator = SimulatedAnnotator("ana", seed=2)
    assert annotator.name == SimulatedAnnotator("simulated:ana").name == "simulated:ana"
    item = make_item("p")
    judgment = annotator.judge(item, [1.0, 0, 0, 0])
    assert judgment.is_simulated
    assert judgment.annotator == "simulated:ana"
    judgment.check(4)
    assert judgment == annotator.judge(item, [1.0, 0, 0, 0])
    again = annotator.judge(item, [1.0, 0, 0, 0], repeat=1)
    assert again.uuid != judgment.uuid
    orders = {annotator.judge(make_item(f"p{k}"), [0.0] * 4).order_shown for k in range(40)}
    assert len(orders) > 10


def test_same_seed_and_item_same_ranking() -> None:
    annotator, other = SimulatedAnnotator("a"), SimulatedAnnotator("a", seed=1)
    rankings = [annotator.rank(np.zeros(4).tolist(), ANSWERS[:4], item_id=str(k)) for k in range(20)]
    assert rankings == [annotator.rank([0.0] * 4, ANSWERS[:4], item_id=str(k)) for k in range(20)]
    assert rankings != [other.rank([0.0] * 4, ANSWERS[:4], item_id=str(k)) for k in range(20)]
    assert rankings != [annotator.rank([0.0] * 4, ANSWERS[:4], item_id=str(k), repeat=1) for k in range(20)]


def test_impossible_annotators_are_refused() -> None:
    for options in ({"temperature": -1.0}, {"flip_share": 0.6}, {"tie_margin": -0.1}):
        with pytest.raises(ConfigError, match="flip_share"):
            SimulatedAnnotator("a", **options)
    with pytest.raises(ConfigError, match="3 answers"):
        SimulatedAnnotator("a").rank([1.0], ANSWERS[:3])
