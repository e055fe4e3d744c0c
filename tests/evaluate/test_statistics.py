"""Intervals and tests against published numbers, enumeration and coverage by simulation."""

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.evaluate import bootstrap_ratio, mcnemar_exact, sign_flip_test, wilson_interval


@pytest.mark.parametrize(
    ("n_hits", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_newcombes_table(n_hits, n, low, high) -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    interval = wilson_interval(n_hits, n)
    assert (round(interval.low, 4), round(interval.high, 4)) == (low, high)


def test_wilson_of_nothing_is_everything() -> None:
    assert (wilson_interval(0, 0).low, wilson_interval(0, 0).high) == (0.0, 1.0)
    assert wilson_interval(7, 7).high == 1.0


@pytest.mark.parametrize("n", [30, 6000])
def test_bootstrap_covers_the_true_ratio(n) -> None:
    """Units of very unequal size, as documents are; the interval holds the truth about 95 times in 100."""
    n_covered, n_trials = 0, 100 if n == 30 else 10
    for trial in range(n_trials):
        random = np.random.default_rng(trial)
        sizes = random.lognormal(3, 0.7, n)
        interval = bootstrap_ratio(sizes * random.gamma(4, 0.5, n), sizes, seed=trial, n_resamples=300)
        n_covered += interval.low <= 2.0 <= interval.high
    assert n_covered >= 0.85 * n_trials


def test_bootstrap_width_shrinks_with_the_root_of_n() -> None:
    random = np.random.default_rng(0)
    values = random.normal(1, 1, 20_000)
    widths = []
    for n in (200, 20_000):
        interval = bootstrap_ratio(values[:n], np.ones(n), seed=1)
        widths.append(interval.high - interval.low)
    assert widths[0] / widths[1] == pytest.approx(10, rel=0.15)
    assert widths[1] == pytest.approx(2 * 1.96 * values.std() / 20_000**0.5, rel=0.15)


def test_bootstrap_is_seeded_and_defined_for_one_unit() -> None:
    values, ones = np.arange(50.0), np.ones(50)
    assert bootstrap_ratio(values, ones, seed=3) == bootstrap_ratio(values, ones, seed=3)
    single = bootstrap_ratio(np.array([3.0]), np.array([2.0]), seed=0)
    assert (single.low, single.high) == (1.5, 1.5)


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
@settings(max_examples=30, derandomize=True, deadline=None)
def test_sign_flips_equal_enumeration(differences) -> None:
    observed = abs(sum(differences))
    sums = [
        abs(sum(s * d for s, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    expected = sum(total >= observed for total in sums) / len(sums)
    assert sign_flip_test(np.array(differences, float), seed=0) == pytest.approx(expected)


def test_random_sign_flips_are_near_the_exact_test() -> None:
    # 60 differences of one sign or the other: the exact p is a binomial tail.
    differences = np.array([1.0] * 40 + [-1.0] * 20)
    exact = 2 * sum(comb(60, k) for k in range(21)) / 2**60
    assert sign_flip_test(differences, seed=0) == pytest.approx(exact, rel=0.25)
    assert sign_flip_test(np.ones(100), seed=0) == pytest.approx(1 / 10_001)
    assert sign_flip_test(np.zeros(100), seed=0) == 1.0
    assert sign_flip_test(np.ones(10_000), seed=0) == pytest.approx(1 / 10_001)


@pytest.mark.parametrize(("b", "c"), [(0, 0), (1, 0), (5, 5), (2, 9), (12, 3), (40, 17)])
def test_mcnemar_equals_the_binomial(b, c) -> None:
    n = b + c
    expected = min(Fraction(1), 2 * sum(Fraction(comb(n, k), 2**n) for k in range(min(b, c) + 1)))
    assert mcnemar_exact(b, c) == pytest.approx(float(expected))
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


def test_mcnemar_of_many_items() -> None:
    assert 0 < mcnemar_exact(3000, 2800) < 0.01
    assert mcnemar_exact(5000, 0) == 0.0
