"""Bias tests against enumeration of all permutations, hand counts, and annotators of known bias."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.preferences.bias import length_bias, permutation_variance, position_bias
from prosa.preferences.simulated import SimulatedAnnotator
from tests.preferences.rankings import make_item, make_judgment, make_ranked


@given(
    st.lists(st.integers(-3, 3), min_size=6, max_size=6),
    st.lists(st.sampled_from([0, 1, 1, 2]), min_size=4, max_size=4),
    st.integers(2, 4),
)
@settings(max_examples=40, derandomize=True, deadline=None)
def test_variance_equals_enumeration(above, feature, n) -> None:
    a = np.zeros((4, 4))
    a[np.triu_indices(4, 1)] = above
    a = (a - a.T)[:n, :n]
    b = np.sign(np.subtract.outer(feature[:n], feature[:n])).astype(float)
    sums = [(a * b[np.ix_(order, order)]).sum() / 2 for order in itertools.permutations(range(n))]
    assert np.mean(sums) == pytest.approx(0)
    assert permutation_variance(a, b) == pytest.approx(np.mean(np.square(sums)))


def test_variance_without_ties_is_kendalls() -> None:
    a = np.sign(np.subtract.outer(np.arange(7.0), np.arange(7.0)))
    assert permutation_variance(a, a) == pytest.approx(7 * 6 * 19 / 18)


def test_length_baseline_by_hand() -> None:
    # Answers have lengths 1, 2, 3. Item 1: 0 > 1, 0 > 2, 1 > 2: the longer wins 0 of 3. Item 2: 2 > 0, 2 > 1: 2 of 2.
    ranked = [make_ranked([1, 2, 3], item="1"), make_ranked([2, 2, 1], item="2")]
    test = length_bias(ranked)
    assert (test.share.value, test.share.n) == (pytest.approx(2 / 5), 5)
    assert length_bias(ranked, length=lambda text: 5).share.value == 0.5
    assert length_bias(ranked, length=lambda text: 5).p_value == 1
    assert length_bias(ranked, length=lambda text: -len(text)).share.value == pytest.approx(3 / 5)
    assert length_bias([]).share.n == 0


def test_position_by_hand() -> None:
    item = make_item("p")
    # Shown 3 1 0 2; ranked 1 > 3 > 0 = 2: of five preferences only 1 > 3 goes against the order shown.
    judgment = make_judgment(item, [3, 1, 3, 2], number=1, order=(3, 1, 0, 2))
    assert position_bias([judgment]).share.value == pytest.approx(4 / 5)
    assert position_bias([make_judgment(item, [1, 2, 3, 4], number=2)]).share.n == 0
    assert position_bias([make_judgment(item, None, number=3, order=(0, 1, 2, 3))]).share.n == 0


def test_p_value_is_near_the_exact_one() -> None:
    """Five judgments of three answers: all 6^5 orders shown are equally likely."""
    items = [make_item(f"p{k}", models=("m",) * 3) for k in range(5)]
    orders = [(0, 1, 2), (0, 2, 1), (0, 1, 2), (1, 0, 2), (2, 0, 1)]
    judgments = [
        make_judgment(item, [1, 2, 3], number=k, order=order)
        for k, (item, order) in enumerate(zip(items, orders, strict=True))
    ]

    def lead(order: tuple[int, ...]) -> int:
        return sum(1 if order.index(i) < order.index(j) else -1 for i, j in itertools.combinations(range(3), 2))

    observed = abs(sum(map(lead, orders)))
    leads = [lead(order) for order in itertools.permutations(range(3))]
    far = [abs(sum(choice)) >= observed for choice in itertools.product(leads, repeat=5)]
    assert position_bias(judgments).p_value == pytest.approx(np.mean(far), abs=0.02)


def judge(kind: str, n: int, *, seed: int = 0) -> list:
    annotator = SimulatedAnnotator(kind, kind, temperature=1.0, seed=seed)  # type: ignore[arg-type]
    random = np.random.default_rng(seed)
    return [annotator.judge(make_item(f"{seed} {k}"), random.normal(0, 1, 4).tolist()) for k in range(n)]


def test_unbiased_annotators_are_rarely_accused() -> None:
    p_values = [position_bias(judge("plackett_luce", 12, seed=seed)).p_value for seed in range(120)]
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.07)
    assert np.mean(np.array(p_values) < 0.5) == pytest.approx(0.5, abs=0.15)


def test_biased_annotators_are_found() -> None:
    by_place = position_bias(judge("position", 20))
    assert by_place.share.value == 1
    assert by_place.share.low > 0.8
    assert by_place.p_value < 1e-6
    judgments = judge("length", 20)
    ranked = [make_ranked(one.ranking.ranks(4), item=one.item_id) for one in judgments]
    by_length = length_bias(ranked)
    assert by_length.share.value == 1
    assert by_length.p_value < 1e-6
    assert position_bias(judgments).p_value > 0.001


def test_annotators_of_one_item_are_permuted_together() -> None:
    """Ten annotators who all prefer the longer answer of one item are one coincidence, not ten."""
    ranked = [make_ranked([2, 1], annotator=f"a{k}") for k in range(10)]
    test = length_bias(ranked)
    assert test.share.value == 1
    assert test.p_value == pytest.approx(math.erfc(9 / 10 / math.sqrt(2)))
