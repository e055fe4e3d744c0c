"""How sure a measured number is: intervals and paired tests on plain arrays.

Counts or sums per document come in; intervals and p-values go out. Every use of chance is seeded, so the same
measurement gives the same interval.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prosa.streams import numpy_stream

_Z_95 = 1.959963984540054
# Beyond this many units, random groups of equal size are resampled instead: as valid, and bounded in time.
_MAX_CELLS = 4096
_CHUNK_DRAWS = 2**20
# Up to this many pairs the sign-flip test enumerates all sign patterns.
_MAX_EXACT_PAIRS = 13


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Share:
    """`n_hits` out of `n`, with an interval; `share` is 0 when n is 0."""

    n_hits: int
    n: int
    share: float
    interval: Interval


def wilson_interval(n_hits: int, n: int) -> Interval:
    """Wilson's score interval of a proportion (JASA 22, 1927); (0, 1) when nothing was counted."""
    if n == 0:
        return Interval(0.0, 1.0)
    share, squared = n_hits / n, _Z_95**2 / n
    centre = share + squared / 2
    half = math.sqrt(squared * (share * (1 - share) + squared / 4))
    low, high = (centre - half) / (1 + squared), (centre + half) / (1 + squared)
    return Interval(0.0 if n_hits == 0 else low, 1.0 if n_hits == n else high)


def bootstrap_ratio(
    numerators: Float[np.ndarray, " n"], denominators: Float[np.ndarray, " n"], *, seed: int, n_resamples: int = 1000
) -> Interval:
    """Percentile bootstrap of sum(numerators) / sum(denominators) over units drawn with replacement (Efron 1979)."""
    random = numpy_stream(seed, "bootstrap", len(numerators))
    above, below = _group(random, numerators, denominators)
    n = len(above)
    if n < 2:
        ratio = float(above.sum() / below.sum()) if n else math.nan
        return Interval(ratio, ratio)
    rows = max(1, _CHUNK_DRAWS // n)
    ratios = []
    for first in range(0, n_resamples, rows):
        drawn = random.integers(0, n, (min(rows, n_resamples - first), n), dtype=np.int32)
        ratios.append(above[drawn].sum(1) / below[drawn].sum(1))
    low, high = np.quantile(np.concatenate(ratios), [0.025, 0.975])
    return Interval(float(low), float(high))


def sign_flip_test(differences: Float[np.ndarray, " n"], *, seed: int, n_flips: int = 10_000) -> float:
    """Two-sided p-value of paired differences: how often random signs give a sum as far from zero.

    Fisher's randomisation test; all 2^n sign patterns for small n, else `n_flips` random ones with the observed
    pattern counted among them (Phipson & Smyth 2010), so that p is never zero.
    """
    observed = abs(float(differences.sum()))
    tolerance = 1e-9 * float(np.abs(differences).sum())
    n = len(differences)
    if n <= _MAX_EXACT_PAIRS:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs((1 - 2 * patterns) @ differences) >= observed - tolerance))
    random = numpy_stream(seed, "sign flips", n)
    (cells,) = _group(random, differences)
    rows = max(1, _CHUNK_DRAWS // len(cells))
    n_far = 0
    for first in range(0, n_flips, rows):
        signs = random.integers(0, 2, (min(rows, n_flips - first), len(cells)), dtype=np.int8)
        sums = (2.0 * signs - 1.0) @ cells
        n_far += int(np.count_nonzero(np.abs(sums) >= observed - tolerance))
    return (1 + n_far) / (1 + n_flips)


def mcnemar_exact(n_only_a: int, n_only_b: int) -> float:
    """Two-sided exact McNemar test on the two counts of disagreement (Psychometrika 12, 1947)."""
    n = n_only_a + n_only_b
    ways, tail = 1, 0
    for k in range(min(n_only_a, n_only_b) + 1):
        tail += ways
        ways = ways * (n - k) // (k + 1)
    return min(1.0, float(2 * tail / 2**n))


def _group(random: np.random.Generator, *columns: Float[np.ndarray, " n"]) -> list[Float[np.ndarray, " m"]]:
    """The columns themselves, or sums over equally large random groups of rows when there are too many."""
    n = len(columns[0])
    if n <= _MAX_CELLS:
        return [np.asarray(column, np.float64) for column in columns]
    cells = random.permutation(np.arange(n) % _MAX_CELLS)
    return [np.bincount(cells, weights=column, minlength=_MAX_CELLS) for column in columns]
