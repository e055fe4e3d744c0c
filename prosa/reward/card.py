"""How good is a reward model: rankings and the scores of their answers come in, a report card goes out. No torch.

Every accuracy stands beside what the longer answer alone would reach, and, where several people ranked one item,
beside what one of them reaches against the others.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from prosa.errors import DataError
from prosa.evaluate import Interval, bootstrap_ratio, wilson_interval
from prosa.preferences import RankedAnswers, prompt_hash
from prosa.reward.best_of_n import BestOf, BestOfFit, best_of_n, fit_best_of_n
from prosa.reward.calibration import Bin, expected_calibration_error, fit_temperature, mean_log_loss, reliability
from prosa.streams import derive_seed

# Answers whose lengths differ by no more than this share of the longer one count as equally long.
_NEAR_LENGTH = 0.1


@dataclass(frozen=True, slots=True)
class PairAccuracy:
    """Share of the strict pairs put in the order people gave; equal scores count half.

    wilson: as if pairs were independent; clustered: a bootstrap over prompts, which they are.
    """

    share: float
    n: int
    wilson: Interval
    clustered: Interval


@dataclass(frozen=True, slots=True)
class Balanced:
    """Accuracy where the answer people prefer is the longer (or was shown first), and where it is not.

    mean: of the two, which is one half for anything that looks at nothing else.
    """

    when_so: PairAccuracy
    when_not: PairAccuracy
    mean: float


@dataclass(frozen=True, slots=True)
class HumanCeiling:
    """One annotator against what most of the others say, and the model against the same, pair by pair."""

    human: PairAccuracy
    model: PairAccuracy
    n_items: int
    n_annotators: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """Before: as trained. After: at a temperature fitted to the other half of the prompts; `temperature` is of all.

    P(better) = sigmoid(difference of the given scores / temperature).
    """

    ece_before: float
    ece_after: float
    log_loss_before: float
    log_loss_after: float
    temperature: float
    curve_before: tuple[Bin, ...]
    curve_after: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class RewardCard:
    """Everything measured on rankings that were not trained on; what could not be measured is None."""

    n_rankings: int
    n_prompts: int
    n_ties: int
    accuracy: PairAccuracy
    length_only: PairAccuracy
    equal_length: PairAccuracy | None
    by_length: Balanced | None
    by_position: Balanced | None
    ceiling: HumanCeiling | None
    calibration: Calibration
    best_of_n: tuple[BestOf, ...] = ()
    best_of_n_fit: BestOfFit | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Pairs:
    """One entry for each strict pair of each ranking; a difference is the preferred answer minus the other."""

    ranking: Int[np.ndarray, " n"]
    cluster: Int[np.ndarray, " n"]
    better: Int[np.ndarray, " n"]
    worse: Int[np.ndarray, " n"]
    score: Float[np.ndarray, " n"]
    length: Float[np.ndarray, " n"]
    longer: Float[np.ndarray, " n"]
    position: Float[np.ndarray, " n"]


def report_card(
    ranked: Sequence[RankedAnswers],
    scores: Sequence[Sequence[float]],
    *,
    shown: Sequence[Sequence[int]] | None = None,
    trained_scale: float = 1.0,
    samples: Sequence[Sequence[float]] = (),
    samples_gold: Sequence[Sequence[float]] | None = None,
    seed: int = 0,
) -> RewardCard:
    """The card of a model that gave the answers of each ranking these `scores`, in the order of `answers`.

    shown: for each ranking the index of the answer at each place of the screen; without it, the order of `answers`.
    trained_scale: what a difference of scores is multiplied by to be as trained, the standard deviation that
    normalising divided by. samples: scores of many answers to each of some prompts, for best of n, and their true
    scores where known. Raises DataError where there is no strict pair, or scores are missing or not finite.
    """
    pairs = _list_pairs(ranked, scores, shown)
    if not len(pairs.score):
        raise DataError("no ranking says that one answer is better than another", hint="nothing can be measured")
    hits = (np.sign(pairs.score) + 1) / 2
    longer = (np.sign(pairs.length) + 1) / 2
    is_near = np.abs(pairs.length) <= _NEAR_LENGTH * pairs.longer
    curve = best_of_n(samples, samples_gold)
    return RewardCard(
        n_rankings=len(ranked),
        n_prompts=len({prompt_hash(one.messages) for one in ranked}),
        n_ties=sum(len(one.ranking.ties()) for one in ranked),
        accuracy=_accuracy(hits, pairs.cluster, seed),
        length_only=_accuracy(longer, pairs.cluster, seed),
        equal_length=_accuracy(hits[is_near], pairs.cluster[is_near], seed) if is_near.any() else None,
        by_length=_balance(hits, pairs.length, pairs.cluster, seed),
        by_position=_balance(hits, -pairs.position, pairs.cluster, seed),
        ceiling=_ceiling(ranked, pairs, hits, seed),
        calibration=_calibrate(pairs, trained_scale),
        best_of_n=curve,
        best_of_n_fit=fit_best_of_n(curve),
    )


def _list_pairs(
    ranked: Sequence[RankedAnswers], scores: Sequence[Sequence[float]], shown: Sequence[Sequence[int]] | None
) -> _Pairs:
    if len(ranked) != len(scores) or (shown is not None and len(shown) != len(ranked)):
        raise DataError(f"{len(ranked)} rankings, but scores of {len(scores)}")
    clusters: dict[str, int] = {}
    rows: list[tuple[float, ...]] = []
    for number, (one, given) in enumerate(zip(ranked, scores, strict=True)):
        if len(given) != len(one.answers) or not np.isfinite(given).all():
            raise DataError(f"item {one.item_id}: every answer needs one finite score")
        cluster = clusters.setdefault(prompt_hash(one.messages), len(clusters))
        lengths = [len(answer) for answer in one.answers]
        places = list(range(len(lengths)))
        for place, index in enumerate(shown[number] if shown is not None else ()):
            places[index] = place
        for i, j in one.ranking.pairs():
            length = lengths[i] - lengths[j], max(lengths[i], lengths[j])
            rows.append((number, cluster, i, j, given[i] - given[j], *length, places[i] - places[j]))
    columns = np.array(rows, np.float64).reshape(-1, 8).T
    return _Pairs(*columns[:4].astype(np.int64), *columns[4:])


def _accuracy(hits: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], seed: int) -> PairAccuracy:
    n, n_hits = len(hits), float(hits.sum())
    _, places = np.unique(clusters, return_inverse=True)
    right, count = np.bincount(places, hits), np.bincount(places).astype(np.float64)
    clustered = bootstrap_ratio(right, count, seed=derive_seed(seed, "report card"))
    return PairAccuracy(n_hits / n, n, wilson_interval(round(n_hits), n), clustered)


def _balance(
    hits: Float[np.ndarray, " n"], sides: Float[np.ndarray, " n"], clusters: Int[np.ndarray, " n"], seed: int
) -> Balanced | None:
    is_so, is_not = sides > 0, sides < 0
    if not (is_so.any() and is_not.any()):
        return None
    so = _accuracy(hits[is_so], clusters[is_so], seed)
    other = _accuracy(hits[is_not], clusters[is_not], seed)
    return Balanced(so, other, (so.share + other.share) / 2)


def _ceiling(
    ranked: Sequence[RankedAnswers], pairs: _Pairs, hits: Float[np.ndarray, " n"], seed: int
) -> HumanCeiling | None:
    """Each annotator's strict pairs on which better, worse or equal is the commonest word of the others."""
    first = _first_rankings(ranked)
    before, equal = Counter[tuple[str, int, int]](), Counter[tuple[str, int, int]]()
    for number in first:
        one = ranked[number]
        before.update((one.item_id, i, j) for i, j in one.ranking.pairs())
        equal.update((one.item_id, *pair) for i, j in one.ranking.ties() for pair in ((i, j), (j, i)))
    human, rows = [], []
    for row in range(len(hits)):
        number, i, j = int(pairs.ranking[row]), int(pairs.better[row]), int(pairs.worse[row])
        item = ranked[number].item_id
        # Without this annotator's own word.
        same, opposite, neither = before[item, i, j] - 1, before[item, j, i], equal[item, i, j]
        is_with, is_against = same > max(opposite, neither), opposite > max(same, neither)
        if number in first and (is_with or is_against):
            human.append(float(is_with))
            rows.append(row)
    if not rows:
        return None
    with_others = np.array(human)
    # Where the others say the opposite, a score that agrees with this annotator disagrees with them.
    model = np.where(with_others > 0, hits[rows], 1 - hits[rows])
    cluster, used = pairs.cluster[rows], [ranked[number] for number in set(pairs.ranking[rows].tolist())]
    return HumanCeiling(
        human=_accuracy(with_others, cluster, seed),
        model=_accuracy(model, cluster, seed),
        n_items=len({one.item_id for one in used}),
        n_annotators=len({one.annotator for one in used}),
    )


def _first_rankings(ranked: Sequence[RankedAnswers]) -> set[int]:
    """Numbers of the first ranking of each item by each annotator, so that nobody is counted among the others."""
    first: dict[tuple[str, str], int] = {}
    for number, one in enumerate(ranked):
        first.setdefault((one.item_id, one.annotator), number)
    return set(first.values())


def _calibrate(pairs: _Pairs, trained_scale: float) -> Calibration:
    differences = pairs.score
    fold = pairs.cluster % 2
    scaled = np.empty_like(differences)
    for half in (0, 1):
        is_here = fold == half
        # A fold alone in the world (one prompt) has nothing else to be fitted to.
        source = differences[~is_here] if (~is_here).any() else differences
        scaled[is_here] = differences[is_here] / fit_temperature(source)
    trained = differences * trained_scale
    before, after = reliability(trained), reliability(scaled)
    return Calibration(
        ece_before=expected_calibration_error(before),
        ece_after=expected_calibration_error(after),
        log_loss_before=mean_log_loss(trained),
        log_loss_after=mean_log_loss(scaled),
        temperature=fit_temperature(differences),
        curve_before=before,
        curve_after=after,
    )
