"""Do annotators agree: rankings of the same items by several annotators come in, coefficients with intervals go out.

Whoever ranked an item twice counts with the first ranking; the others tell how steady the annotator is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from prosa.errors import DataError
from prosa.preferences.judgments import RankedAnswers
from prosa.streams import numpy_stream

_Z_95 = 1.959963984540054

Metric = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval; `n` says how many things it was measured on. All nan where n is 0."""

    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True, eq=False)
class PairVotes:
    """Rankings taken apart: element k says that `annotator[k]` found `first[k]` better (1), worse (-1) or equal (0).

    `pair` numbers the pairs of answers, `item` the items, `prompt` the prompts; `weight` is 2 / (answers ranked), so
    that a ranking of K answers weighs as K - 1 independent choices.
    """

    vote: Int[np.ndarray, " n"]
    pair: Int[np.ndarray, " n"]
    first: Int[np.ndarray, " n"]
    second: Int[np.ndarray, " n"]
    item: Int[np.ndarray, " n"]
    prompt: Int[np.ndarray, " n"]
    annotator: Int[np.ndarray, " n"]
    weight: Float[np.ndarray, " n"]
    annotators: tuple[str, ...]
    n_answers: Int[np.ndarray, " items"]


def pair_votes(ranked: Sequence[RankedAnswers]) -> PairVotes:
    """Every pair of answers that a ranking orders or ties, in the order of the rankings.

    Raises DataError when an item has now more answers, now fewer.
    """
    annotators = {name: number for number, name in enumerate(dict.fromkeys(one.annotator for one in ranked))}
    items: dict[str, tuple[int, int, int]] = {}
    prompts: dict[tuple[tuple[str, str], ...], int] = {}
    n_pairs, columns = 0, [np.zeros((7, 0), np.int64)]
    for one in ranked:
        n = len(one.answers)
        item, before, n_known = items.setdefault(one.item_id, (len(items), n_pairs, n))
        if n_known != n:
            raise DataError(f"item {one.item_id} has {n_known} answers in one ranking and {n} in another")
        if before == n_pairs:
            n_pairs += n * (n - 1) // 2
        prompt = prompts.setdefault(prompt_key(one), len(prompts))
        ranks = np.array([np.nan if rank is None else rank for rank in one.ranking.ranks(n)], np.float64)
        first, second = np.triu_indices(n, 1)
        lead = ranks[second] - ranks[first]
        known = np.flatnonzero(~np.isnan(lead))
        block = np.empty((7, len(known)), np.int64)
        block[0], block[1], block[2], block[3] = np.sign(lead[known]), before + known, first[known], second[known]
        block[4:] = np.array([item, prompt, annotators[one.annotator]])[:, None]
        columns.append(block)
    sizes = np.array([len(one.ranking.ranked) for one in ranked] or [1])
    lengths = [block.shape[1] for block in columns[1:]] or [0]
    vote, pair, firsts, seconds, item_of, prompt_of, annotator = np.concatenate(columns, 1)
    return PairVotes(
        vote,
        pair,
        firsts,
        seconds,
        item_of,
        prompt_of,
        annotator,
        np.repeat(2.0 / np.maximum(sizes, 1), lengths),
        tuple(annotators),
        np.array([n for _, _, n in items.values()], np.int64),
    )


def krippendorff_alpha(values: Float[np.ndarray, "raters units"], metric: Metric = "ordinal") -> float:
    """Krippendorff's alpha = 1 - observed / expected disagreement; nan marks what a rater did not judge.

    Coincidences and distances as in Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), section C; nan
    when no unit has two values or all values are equal.
    """
    rated = ~np.isnan(values)
    levels, codes = np.unique(values[rated], return_inverse=True)
    counts = np.zeros((values.shape[1], len(levels)))
    np.add.at(counts, (np.nonzero(rated)[1], codes), 1)
    return _alpha(counts, levels, metric, np.ones(len(counts)))


def ranking_alpha(
    ranked: Sequence[RankedAnswers], *, metric: Metric = "ordinal", seed: int = 0, n_resamples: int = 500
) -> Estimate:
    """Alpha of whole rankings: each answer of each item is a unit, its value the place among the answers ranked.

    A place is (rank - 1/2) / (answers ranked), so that items with many and with few answers share one scale; ties
    share their mean rank. `n` counts the answers that several annotators ranked; the interval is a bootstrap over
    prompts.
    """
    units: dict[tuple[str, int], int] = {}
    prompts: dict[tuple[tuple[str, str], ...], int] = {}
    rows: list[tuple[int, float, int]] = []
    for one in first_judgments(ranked):
        prompt = prompts.setdefault(prompt_key(one), len(prompts))
        n = len(one.ranking.ranked)
        for answer, rank in enumerate(one.ranking.ranks(len(one.answers))):
            if rank is not None:
                unit = units.setdefault((one.item_id, answer), len(units))
                rows.append((unit, (rank - 0.5) / n, prompt))
    if not rows:
        return _nothing()
    unit_of, places, prompt_of = map(np.array, zip(*rows, strict=True))
    levels, codes = np.unique(places, return_inverse=True)
    counts = np.zeros((len(units), len(levels)))
    np.add.at(counts, (unit_of, codes), 1)
    cluster = np.zeros(len(units), np.int64)
    cluster[unit_of] = prompt_of
    shared = counts.sum(1) > 1
    counts, (names, cluster) = counts[shared], np.unique(cluster[shared], return_inverse=True)
    resampled = [
        _alpha(counts, levels, metric, weights[cluster]) for weights in resamples(len(names), seed, n_resamples)
    ]
    return _estimate(_alpha(counts, levels, metric, np.ones(len(counts))), resampled, len(counts))


def kendall_w(ranks: Float[np.ndarray, "raters answers"]) -> float:
    """Kendall's coefficient of concordance with the correction for ties (Kendall & Babington Smith 1939; Kendall 1975).

    Ties carry mean ranks. 1 is full agreement, 1 / raters is expected by chance; nan if every rater ties everything.
    """
    m, n = ranks.shape
    deviations = ranks.sum(0) - m * (n + 1) / 2
    ties = np.concatenate([np.unique(row, return_counts=True)[1] for row in ranks])
    correction = float((ties**3 - ties).sum())
    room = m**2 * (n**3 - n) - m * correction
    return float(12 * (deviations**2).sum() / room) if room > 0 else float("nan")


def ranking_w(ranked: Sequence[RankedAnswers], *, seed: int = 0) -> tuple[Estimate, float]:
    """The mean of Kendall's W over items that at least two annotators ranked completely, and its value by chance."""
    groups: dict[str, list[RankedAnswers]] = {}
    for one in first_judgments(ranked):
        if len(one.ranking.ranked) == len(one.answers) > 1:
            groups.setdefault(one.item_id, []).append(one)
    prompts: dict[tuple[tuple[str, str], ...], int] = {}
    rows: list[tuple[float, int, float]] = []
    for group in groups.values():
        w = kendall_w(np.array([one.ranking.ranks(len(one.answers)) for one in group], np.float64))
        if len(group) > 1 and not np.isnan(w):
            rows.append((w, prompts.setdefault(prompt_key(group[0]), len(prompts)), 1 / len(group)))
    if not rows:
        return _nothing(), float("nan")
    values, clusters, by_chance = map(np.array, zip(*rows, strict=True))
    return share(values, np.ones(len(rows)), clusters, seed=seed), float(by_chance.mean())


def kendall_tau_b(a: Float[np.ndarray, " n"], b: Float[np.ndarray, " n"]) -> float:
    """Kendall's tau-b (Biometrika 33, 1945): concordant minus discordant pairs, corrected for ties in either.

    nan when one of the two ties everything.
    """
    pairs = np.triu_indices(len(a), 1)
    first, second = (np.sign(np.subtract.outer(x, x))[pairs] for x in (a, b))
    room = np.count_nonzero(first) * np.count_nonzero(second)
    return float((first * second).sum() / room**0.5) if room else float("nan")


def pairwise_agreement(ranked: Sequence[RankedAnswers], *, seed: int = 0) -> Estimate:
    """Of two annotators who both prefer one of two answers, the share that prefer the same.

    Every preference counts once, with the share of the other annotators of that pair who agree, so that items with
    many annotators do not outweigh the rest. Ties are left out. The interval is a bootstrap over prompts.
    """
    votes = pair_votes(first_judgments(ranked))
    everybody = np.ones(len(votes.vote), bool)
    return _agreement(votes, everybody, everybody, seed)


def agreement_with(own: Sequence[RankedAnswers], others: Sequence[RankedAnswers], *, seed: int = 0) -> Estimate:
    """Of the preferences in `own`, the share of the preferences in `others` about the same pair that agree."""
    marked = [replace(one, annotator=f"own {one.annotator}") for one in first_judgments(own)]
    others = [replace(one, annotator=f"other {one.annotator}") for one in first_judgments(others)]
    votes = pair_votes([*marked, *others])
    is_own = np.array([name.startswith("own ") for name in votes.annotators], bool)[votes.annotator]
    return _agreement(votes, is_own, ~is_own, seed)


def self_agreement(ranked: Sequence[RankedAnswers], *, seed: int = 0) -> Estimate:
    """Pairwise agreement of annotators with themselves, over the items that they ranked more than once."""
    times: dict[tuple[str, str], int] = {}
    repeats = []
    for one in ranked:
        key = (one.annotator, one.item_id)
        times[key] = times.get(key, 0) + 1
        repeats.append(replace(one, item_id=f"{one.item_id} {one.annotator}", annotator=str(times[key])))
    return pairwise_agreement(repeats, seed=seed)


def majority_agreement(ranked: Sequence[RankedAnswers], *, seed: int = 0) -> Estimate:
    """Of the preferences of single annotators, the share that agrees with the majority of the others.

    The majority is the commonest of better, worse and equal among the others; where it is equal, or shared by two,
    there is nothing to compare with.
    """
    votes = pair_votes(first_judgments(ranked))
    n_pairs = int(votes.pair.max(initial=-1)) + 1
    better, worse, equal = (np.bincount(votes.pair[votes.vote == value], minlength=n_pairs) for value in (1, -1, 0))
    strict = votes.vote != 0
    pair, vote = votes.pair[strict], votes.vote[strict]
    same = np.where(vote > 0, better[pair], worse[pair]) - 1
    opposite = np.where(vote > 0, worse[pair], better[pair])
    agrees = same > np.maximum(opposite, equal[pair])
    differs = opposite > np.maximum(same, equal[pair])
    return share(agrees.astype(np.float64), (agrees | differs).astype(np.float64), votes.prompt[strict], seed=seed)


def first_judgments(ranked: Sequence[RankedAnswers]) -> list[RankedAnswers]:
    """The first ranking of each item by each annotator."""
    first: dict[tuple[str, str], RankedAnswers] = {}
    for one in ranked:
        first.setdefault((one.item_id, one.annotator), one)
    return list(first.values())


def prompt_key(one: RankedAnswers) -> tuple[tuple[str, str], ...]:
    """What makes two items the same prompt."""
    return tuple((message["role"], message["content"]) for message in one.messages)


def share(
    hits: Float[np.ndarray, " n"],
    totals: Float[np.ndarray, " n"],
    clusters: Int[np.ndarray, " n"],
    *,
    seed: int,
    n_resamples: int = 500,
) -> Estimate:
    """sum(hits) / sum(totals) with a percentile bootstrap over whole clusters (Efron 1979; Davison & Hinkley 1997).

    Where all clusters say the same there is nothing to resample: then Wilson's interval (JASA 22, 1927), a cluster as
    one trial.
    """
    counted = totals > 0
    names, cluster = np.unique(clusters[counted], return_inverse=True)
    n = len(names)
    if not n:
        return _nothing()
    above = np.bincount(cluster, hits[counted], n)
    below = np.bincount(cluster, totals[counted], n)
    resampled = [float(w @ above / (w @ below)) for w in resamples(n, seed, n_resamples)]
    estimate = _estimate(float(above.sum() / below.sum()), resampled, int(counted.sum()))
    if estimate.high - estimate.low > 1e-9:
        return estimate
    centre, width = estimate.value + _Z_95**2 / n / 2, _Z_95**2 / n
    half = (width * (estimate.value * (1 - estimate.value) + width / 4)) ** 0.5
    return replace(estimate, low=max(0.0, (centre - half) / (1 + width)), high=min(1.0, (centre + half) / (1 + width)))


def resamples(n_clusters: int, seed: int, n_resamples: int) -> Iterator[Float[np.ndarray, " clusters"]]:
    """How often each cluster is drawn, for every resample with replacement."""
    random = numpy_stream(seed, "bootstrap of clusters", n_clusters)
    for _ in range(n_resamples):
        drawn = random.integers(0, n_clusters, n_clusters)
        yield np.bincount(drawn, minlength=n_clusters).astype(np.float64)


def _alpha(
    counts: Float[np.ndarray, "units levels"],
    levels: Float[np.ndarray, " levels"],
    metric: Metric,
    weights: Float[np.ndarray, " units"],
) -> float:
    sizes = counts.sum(1)
    scale = np.where(sizes > 1, weights / np.maximum(sizes - 1, 1), 0.0)
    coincidences = counts.T @ (counts * scale[:, None]) - np.diag(scale @ counts)
    marginals = coincidences.sum(1)
    if metric == "nominal":
        distances = 1.0 - np.eye(len(levels))
    else:
        # Ordinal: how many values lie between two levels, half of each end included.
        positions = levels if metric == "interval" else np.cumsum(marginals) - marginals / 2
        distances = np.subtract.outer(positions, positions) ** 2
    observed = float((coincidences * distances).sum())
    expected = float(marginals @ distances @ marginals) / max(float(marginals.sum()) - 1, 1.0)
    return 1 - observed / expected if expected > 0 else float("nan")


def _agreement(
    votes: PairVotes, is_own: Bool[np.ndarray, " n"], is_other: Bool[np.ndarray, " n"], seed: int
) -> Estimate:
    n_pairs = int(votes.pair.max(initial=-1)) + 1
    better, worse = (np.bincount(votes.pair[is_other & (votes.vote == sign)], minlength=n_pairs) for sign in (1, -1))
    own = is_own & (votes.vote != 0)
    pair, itself = votes.pair[own], is_other[own].astype(np.int64)
    same = np.where(votes.vote[own] > 0, better[pair], worse[pair]) - itself
    n_others = better[pair] + worse[pair] - itself
    hits = same / np.maximum(n_others, 1)
    return share(hits, (n_others > 0).astype(np.float64), votes.prompt[own], seed=seed)


def _estimate(value: float, resampled: list[float], n: int) -> Estimate:
    if np.isnan(value):
        return _nothing()
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Estimate(value, float(low), float(high), n)


def _nothing() -> Estimate:
    return Estimate(float("nan"), float("nan"), float("nan"), 0)
