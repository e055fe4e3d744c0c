"""The exact expectation against all subsets, and the published law against its own curve."""

import math
from itertools import combinations

import pytest

from prosa.errors import DataError
from prosa.reward import BestOf, best_of_n, fit_best_of_n
from prosa.streams import numpy_stream


def test_the_expectation_is_the_mean_over_all_subsets() -> None:
    stream = numpy_stream(1, "best of n")
    proxy, gold = stream.normal(size=9).tolist(), stream.normal(size=9).tolist()
    for one in best_of_n([proxy], [gold]):
        subsets = list(combinations(range(9), one.n))
        best = [max(subset, key=proxy.__getitem__) for subset in subsets]
        assert one.proxy == pytest.approx(sum(proxy[i] for i in best) / len(subsets))
        assert one.gold == pytest.approx(sum(gold[i] for i in best) / len(subsets))


def test_equal_rewards_share_alike() -> None:
    assert best_of_n([[1.0, 1.0, 1.0, 1.0]], [[0.0, 1.0, 2.0, 5.0]])[-1].gold == pytest.approx(2.0)


def test_distances_are_the_published_ones() -> None:
    curve = best_of_n([list(map(float, range(256)))])
    kl = {one.n: round(one.kl, 2) for one in curve}
    assert [one.n for one in curve] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert (kl[1], kl[4], kl[16], kl[64], kl[256]) == (0.0, 0.64, 1.84, 3.17, 4.55)
    assert curve[0].proxy == pytest.approx(127.5) and curve[-1].proxy == pytest.approx(255)


def test_the_curve_ends_with_the_prompt_that_has_the_fewest_answers() -> None:
    assert [one.n for one in best_of_n([[1.0, 2.0, 3.0], [1.0] * 8])] == [1, 2]
    assert best_of_n([]) == ()
    with pytest.raises(DataError):
        best_of_n([[1.0, 2.0]], [[1.0]])


def test_the_law_of_over_optimisation_is_fitted_and_its_peak_found() -> None:
    a, b = 2.0, 0.8
    curve = []
    for n in (1, 2, 4, 8, 16, 32, 64):
        kl = math.log(n) - (n - 1) / n
        curve.append(BestOf(n, kl, 0.0, 5.0 + math.sqrt(kl) * (a - b * math.sqrt(kl))))
    fit = fit_best_of_n(curve)
    assert fit is not None and (fit.a, fit.b) == pytest.approx((a, b))
    assert fit.peak_kl == pytest.approx((a / (2 * b)) ** 2)
    rising = fit_best_of_n([BestOf(one.n, one.kl, 0.0, math.sqrt(one.kl) + one.kl) for one in curve])
    assert rising is not None and rising.b == pytest.approx(-1) and rising.peak_kl is None
    assert fit_best_of_n(curve[:2]) is None
    assert fit_best_of_n([BestOf(one.n, one.kl, 1.0, None) for one in curve]) is None
