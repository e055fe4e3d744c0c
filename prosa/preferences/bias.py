"""Does what should not matter predict who wins: the place on the screen, or the length of the answer.

Judgments or rankings come in; the share of preferences that go the biased way and a p-value go out.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prosa.preferences.agreement import Estimate, first_judgments, prompt_key, share
from prosa.preferences.judgments import Judgment, RankedAnswers, Ranking


@dataclass(frozen=True, slots=True)
class BiasTest:
    """`share` of the preferences that go to the longer (or earlier shown) answer, and the p-value of no relation."""

    share: Estimate
    p_value: float


def position_bias(judgments: Sequence[Judgment], *, seed: int = 0) -> BiasTest:
    """How often the answer shown earlier wins; 1/2 without bias, as the order shown is random.

    The p-value is two-sided: all orders of each judgment are equally likely if the place does not matter. The interval
    is a bootstrap over items. Judgments without `order_shown` say nothing.
    """
    rows = []
    for judgment in judgments:
        if judgment.ranking is not None and judgment.order_shown:
            n = len(judgment.order_shown)
            place = np.empty(n)
            place[list(judgment.order_shown)] = np.arange(n)
            rows.append((_preferences([judgment.ranking], n), -place, judgment.item_id))
    return _test(rows, seed)


def length_bias(ranked: Sequence[RankedAnswers], *, length: Callable[[str], int] = len, seed: int = 0) -> BiasTest:
    """How often the longer answer wins: the accuracy of always choosing it, where equal lengths count one half.

    The p-value is two-sided: all ways to give an item's lengths to its answers are equally likely if length does not
    matter, for all its annotators together. The interval is a bootstrap over prompts. Longer answers may of course be
    better: this is a baseline to beat, and a bias only where content is the same.
    """
    items: dict[str, list[RankedAnswers]] = {}
    for one in first_judgments(ranked):
        items.setdefault(one.item_id, []).append(one)
    rows = []
    for group in items.values():
        lengths = np.array([length(text) for text in group[0].answers], np.float64)
        preferences = _preferences([one.ranking for one in group], len(lengths))
        rows.append((preferences, lengths, repr(prompt_key(group[0]))))
    return _test(rows, seed)


def permutation_variance(a: Float[np.ndarray, "n n"], b: Float[np.ndarray, "n n"]) -> float:
    """Variance of sum_{i<j} a_ij b_ij when the answers of `b` are put into random order; both antisymmetric.

    Daniels, The relation between measures of correlation (Biometrika 33, 1944); Kendall, Rank Correlation Methods
    (1975), chapter 5. Without ties it is n (n - 1) (2 n + 5) / 18, as for Kendall's tau.
    """
    n = len(a)
    squares = float((a**2).sum()), float((b**2).sum())
    variance = 2 * squares[0] * squares[1] / (n * (n - 1))
    if n > 2:
        rows = float((a.sum(1) ** 2).sum()) - squares[0], float((b.sum(1) ** 2).sum()) - squares[1]
        variance += 4 * rows[0] * rows[1] / (n * (n - 1) * (n - 2))
    return variance / 4


def _preferences(rankings: Iterable[Ranking], n: int) -> tuple[Float[np.ndarray, "n n"], float]:
    """Element (i, j): rankings that prefer i less those that prefer j; and the number of all preferences."""
    table, n_pairs = np.zeros((n, n)), 0
    for ranking in rankings:
        for better, worse in ranking.pairs():
            table[better, worse] += 1
            table[worse, better] -= 1
            n_pairs += 1
    return table, n_pairs


def _test(
    rows: Sequence[tuple[tuple[Float[np.ndarray, "n n"], float], Float[np.ndarray, " n"], str]], seed: int
) -> BiasTest:
    """Preferences, the feature of each answer, and the cluster, of each group that is permuted by itself."""
    clusters = {name: number for number, name in enumerate(dict.fromkeys(name for *_, name in rows))}
    hits, totals, names, lead, variance = [], [], [], 0.0, 0.0
    for (table, n_pairs), feature, name in rows:
        if not n_pairs:
            continue
        signs = np.sign(np.subtract.outer(feature, feature))
        ours = float((table * signs).sum()) / 2
        lead += ours
        variance += permutation_variance(table, signs)
        hits.append((n_pairs + ours) / 2)
        totals.append(float(n_pairs))
        names.append(clusters[name])
    # Preferences change sides in steps of two, hence the correction for continuity by one.
    z = max(0.0, abs(lead) - 1) / math.sqrt(variance) if variance > 0 else 0.0
    estimate = share(np.array(hits), np.array(totals), np.array(names, np.int64), seed=seed)
    return BiasTest(
        Estimate(estimate.value, estimate.low, estimate.high, int(sum(totals))), math.erfc(z / math.sqrt(2))
    )
