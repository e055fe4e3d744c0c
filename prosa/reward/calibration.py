"""Does a difference of scores mean the probability it claims: reliability, calibration error, temperature.

Differences, each the score of the answer people found better minus that of the other, come in; plain numbers go out.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prosa.evaluate import Interval, wilson_interval

_PAIRS_PER_BIN = 20
# How many times flatter or steeper than one over the root mean square difference a fitted temperature may be.
_TEMPERATURE_LIMIT = 1e3
_BISECTIONS = 60


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs of like confidence: what was claimed on average, and how often it was so."""

    confidence: float
    accuracy: float
    n: int
    interval: Interval


def probabilities(differences: Float[np.ndarray, " n"], temperature: float = 1.0) -> Float[np.ndarray, " n"]:
    """sigmoid(difference / temperature)."""
    z = np.asarray(differences, np.float64) / temperature
    return 0.5 * (1 + np.tanh(z / 2))


def reliability(differences: Float[np.ndarray, " n"], *, temperature: float = 1.0, n_bins: int = 15) -> tuple[Bin, ...]:
    """Bins of equally many pairs by confidence, max(p, 1 - p), at least 20 pairs each where there are as many.

    Equal mass rather than equal width: Nguyen & O'Connor 2015 (arXiv:1508.05154). Equal scores are right half the time.
    """
    differences = np.asarray(differences, np.float64)
    if not len(differences):
        return ()
    confidence = probabilities(np.abs(differences), temperature)
    hits = (np.sign(differences) + 1) / 2
    order = np.argsort(confidence, kind="stable")
    bins = []
    for rows in np.array_split(order, max(1, min(n_bins, len(order) // _PAIRS_PER_BIN))):
        n_hits = float(hits[rows].sum())
        interval = wilson_interval(round(n_hits), len(rows))
        bins.append(Bin(float(confidence[rows].mean()), n_hits / len(rows), len(rows), interval))
    return tuple(bins)


def expected_calibration_error(bins: tuple[Bin, ...]) -> float:
    """Mean of |accuracy - confidence| over the bins, weighted by their pairs (Guo et al. 2017, arXiv:1706.04599)."""
    total = sum(one.n for one in bins)
    return sum(one.n * abs(one.accuracy - one.confidence) for one in bins) / total if total else 0.0


def mean_log_loss(differences: Float[np.ndarray, " n"], temperature: float = 1.0) -> float:
    """Mean of -ln sigmoid(difference / temperature), in nats; ln 2 for one who knows nothing."""
    return float(np.logaddexp(0.0, -np.asarray(differences, np.float64) / temperature).mean())


def fit_temperature(differences: Float[np.ndarray, " n"]) -> float:
    """The temperature with the least `mean_log_loss`: its slope in the inverse temperature, which rises, is zero there.

    Bounded where the scores are always right (steepest) or right no more than half the time (flattest). Bisection,
    because Newton's steps are tiny where nearly all are right.
    """
    d = np.asarray(differences, np.float64)
    scale = math.sqrt(float(np.mean(d**2))) if len(d) else 0.0
    if scale == 0.0:
        return 1.0
    d = d / scale
    low, high = 1 / _TEMPERATURE_LIMIT, _TEMPERATURE_LIMIT
    if (d >= 0).all():
        return scale / high
    for _ in range(_BISECTIONS):
        beta = math.sqrt(low * high)
        low, high = (beta, high) if float(np.mean(d * probabilities(-d, 1 / beta))) > 0 else (low, beta)
    return scale / math.sqrt(low * high)
