"""What choosing the best of n answers by the reward would gain, and what it costs in distance from the policy.

Scores of many answers to each prompt come in, of the reward and, where it is known, of the truth; a curve over n goes
out. No answer is sampled anew: the expectation over all subsets is exact.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prosa.errors import DataError


@dataclass(frozen=True, slots=True)
class BestOf:
    """The expected score of the best of `n`: by the reward that chooses, and by the truth if there is one.

    kl: ln n - (n - 1) / n nats from the policy (Stiennon et al. 2020, arXiv:2009.01325, appendix G.3), an upper bound
    (Beirami et al. 2024, arXiv:2401.01879).
    """

    n: int
    kl: float
    proxy: float
    gold: float | None


@dataclass(frozen=True, slots=True)
class BestOfFit:
    """gold - gold(1) = d (a - b d) with d = sqrt(kl) (Gao et al. 2022, arXiv:2210.10760, eq. 1).

    peak_kl: where it is highest; None where it only rises.
    """

    a: float
    b: float
    peak_kl: float | None


def best_of_n(proxy: Sequence[Sequence[float]], gold: Sequence[Sequence[float]] | None = None) -> tuple[BestOf, ...]:
    """The curve at n = 1, 2, 4, ... up to the fewest answers that any prompt has, averaged over prompts.

    Of N answers in ascending order of the reward the i-th (from 1) is the best of n in C(i-1, n-1) of C(N, n) subsets
    (Nakano et al. 2021, arXiv:2112.09332, appendix I). Equal rewards share alike.
    """
    if not proxy:
        return ()
    if gold is not None and [len(row) for row in gold] != [len(row) for row in proxy]:
        raise DataError("rewards and true scores are not of the same answers")
    largest = min(map(len, proxy))
    curve = []
    n = 1
    while n <= largest:
        expected = []
        for row, scores in enumerate(proxy):
            chosen = np.asarray(scores, np.float64)
            truth = chosen if gold is None else np.asarray(gold[row], np.float64)
            expected.append(_expected_best(chosen, truth, n))
        means = np.mean(expected, axis=0)
        kl = math.log(n) - (n - 1) / n
        curve.append(BestOf(n, kl, float(means[0]), None if gold is None else float(means[1])))
        n *= 2
    return tuple(curve)


def fit_best_of_n(curve: Sequence[BestOf]) -> BestOfFit | None:
    """Least squares of the true gain on d and d squared; None with fewer than three points or without truth."""
    points = [(math.sqrt(one.kl), one.gold) for one in curve if one.gold is not None]
    if len(points) < 3:
        return None
    d = np.array([point[0] for point in points])
    gain = np.array([point[1] for point in points]) - points[0][1]
    (a, minus_b), *_ = np.linalg.lstsq(np.stack([d, d**2], axis=1), gain, rcond=None)
    b = -float(minus_b)
    peak = (float(a) / (2 * b)) ** 2 if a > 0 and b > 0 else None
    return BestOfFit(float(a), b, peak)


def _expected_best(chosen: Float[np.ndarray, " N"], truth: Float[np.ndarray, " N"], n: int) -> tuple[float, float]:
    order = np.argsort(chosen, kind="stable")
    N = len(order)
    # ln of C(i-1, n-1) / C(N, n), which overflows as it stands.
    total = math.lgamma(N + 1) - math.lgamma(n + 1) - math.lgamma(N - n + 1)
    weights = np.zeros(N)
    for i in range(n, N + 1):
        weights[i - 1] = math.exp(math.lgamma(i) - math.lgamma(n) - math.lgamma(i - n + 1) - total)
    _, places = np.unique(chosen[order], return_inverse=True)
    shared = (np.bincount(places, weights) / np.bincount(places))[places]
    return float(shared @ chosen[order]), float(shared @ truth[order])
