"""How far to trust each annotator: rankings of the same items by several annotators come in, loss weights go out.

Two models: a temperature for each annotator in Bradley-Terry, and Dawid and Skene's confusion of each annotator.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float, Int

from prosa.preferences.agreement import PairVotes, first_judgments, pair_votes
from prosa.preferences.judgments import RankedAnswers

ReliabilityModel = Literal["temperature", "dawid_skene"]

_MAX_ROUNDS = 100
_STRENGTH_STEPS = 8
# Who never contradicts the others has no finite precision; beyond this it makes no difference.
_MAX_PRECISION = 10.0
_MAX_EM_ROUNDS = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class DawidSkene:
    """Shares of the true classes, P(label | annotator, true class), and P(true class) of each item."""

    class_shares: Float[np.ndarray, " classes"]
    confusion: Float[np.ndarray, "annotators classes labels"]
    posteriors: Float[np.ndarray, "items classes"]


def annotator_weights(ranked: Sequence[RankedAnswers], *, model: ReliabilityModel = "temperature") -> dict[str, float]:
    """A weight for the loss of each annotator's rankings, 0 for one who ranks at random or worse, mean 1 over rankings.

    "temperature" takes `annotator_precisions`, which scale the log-odds as a weight scales the gradient of the loss at
    small differences; "dawid_skene" takes P(right) - P(wrong) on pairs. Both need items that several ranked.
    """
    rate = annotator_precisions if model == "temperature" else pair_informedness
    rates = {name: max(0.0, value) for name, value in rate(ranked).items()}
    counts = Counter(one.annotator for one in _informative(ranked))
    mean = sum(rates[name] * n for name, n in counts.items()) / max(counts.total(), 1)
    return {name: value / mean if mean > 0 else 1.0 for name, value in rates.items()}


def with_weights(ranked: Sequence[RankedAnswers], weights: Mapping[str, float]) -> list[RankedAnswers]:
    """The rankings with their annotators' weights; annotators not in `weights` keep what they have."""
    return [replace(one, weight=weights.get(one.annotator, one.weight)) for one in ranked]


def annotator_precisions(ranked: Sequence[RankedAnswers]) -> dict[str, float]:
    """Inverse temperature b of each annotator in P(i preferred to j) = sigmoid(b (s_i - s_j)), 0 = random.

    Alternates between the strengths s of the answers, with prior N(0, 1) that fixes their scale, and the precisions,
    with prior N(mean precision, 1). An annotator is judged by strengths from the *other* annotators' rankings: fitted
    to the own ones too, strengths would call everybody reliable. Pairs of a ranking of K answers weigh 2 / K each,
    a tie is half of each preference, a negative precision is an annotator who prefers the worse.
    """
    votes = pair_votes(_informative(ranked))
    precisions = np.ones(len(votes.annotators))
    if not len(votes.vote):
        return dict.fromkeys(votes.annotators, 1.0)
    target = (1.0 + votes.vote) / 2
    held_out = _hold_out(votes)
    judged = held_out.own_first, held_out.own_second
    strengths = np.zeros(held_out.n_strengths)
    for _ in range(_MAX_ROUNDS):
        before = precisions.copy()
        slope = precisions[votes.annotator[held_out.vote]]
        curvature = 1.0 + _scatter(held_out, votes.weight[held_out.vote] * slope**2 / 2, np.add)
        for _ in range(_STRENGTH_STEPS):
            lead = strengths[held_out.first] - strengths[held_out.second]
            surprise = votes.weight[held_out.vote] * slope * (target[held_out.vote] - _sigmoid(slope * lead))
            # The diagonal bounds the curvature, so that every step goes up (Boehning & Lindsay 1988).
            strengths += (_scatter(held_out, surprise, np.subtract) - strengths) / curvature
        lead = strengths[judged[0]] - strengths[judged[1]]
        predicted = _sigmoid(precisions[votes.annotator] * lead)
        n = len(precisions)
        gradient = np.bincount(votes.annotator, votes.weight * lead * (target - predicted), n)
        room = np.bincount(votes.annotator, votes.weight * lead**2 * predicted * (1 - predicted), n)
        step = (gradient - (precisions - precisions.mean())) / (room + 1.0)
        precisions = np.clip(precisions + np.clip(step, -1.0, 1.0), -_MAX_PRECISION, _MAX_PRECISION)
        if np.abs(precisions - before).max() < 1e-4:
            break
    return dict(zip(votes.annotators, precisions.tolist(), strict=True))


def pair_informedness(ranked: Sequence[RankedAnswers]) -> dict[str, float]:
    """P(right preference) - P(wrong preference) of each annotator on pairs, by `dawid_skene`; 0 = random, 1 = perfect.

    True classes are "first better" and "second better", labels these and "equal". Every pair counts in both orders,
    so that nothing depends on which answer is called the first.
    """
    votes = pair_votes(_informative(ranked))
    if not len(votes.vote):
        return dict.fromkeys(votes.annotators, 1.0)
    _, pair = np.unique(votes.pair, return_inverse=True)
    label = np.select([votes.vote > 0, votes.vote < 0], [0, 1], 2)
    mirrored = np.select([votes.vote > 0, votes.vote < 0], [1, 0], 2)
    rows = np.concatenate(
        [
            np.stack([pair, votes.annotator, label], 1),
            np.stack([pair + pair.max() + 1, votes.annotator, mirrored], 1),
        ]
    )
    confusion = dawid_skene(rows, n_classes=2, n_labels=3, smoothing=0.5).confusion
    informed = (confusion[:, 0, 0] - confusion[:, 0, 1] + confusion[:, 1, 1] - confusion[:, 1, 0]) / 2
    return dict(zip(votes.annotators, informed.tolist(), strict=True))


def dawid_skene(
    labels: Int[np.ndarray, "rows 3"], *, n_classes: int, n_labels: int = 0, smoothing: float = 0.0
) -> DawidSkene:
    """True classes and annotators' errors by EM (Dawid & Skene, Applied Statistics 28, 1979).

    A row is (item, annotator, label), all counted from 0; a label below `n_classes` names that class. Starts from the
    share of each class among an item's labels (their equation 3.1). `smoothing` is added to every count of errors.
    """
    item, annotator, label = labels.T
    n_items, n_annotators, n_labels = int(item.max()) + 1, int(annotator.max()) + 1, max(n_labels, n_classes)
    posteriors = np.zeros((n_items, n_classes))
    names_class = label < n_classes
    np.add.at(posteriors, (item[names_class], label[names_class]), 1)
    posteriors = _normalised(posteriors)
    before = np.inf
    for _ in range(_MAX_EM_ROUNDS):
        shares = posteriors.mean(0)
        confusion = np.full((n_annotators, n_labels, n_classes), smoothing)
        np.add.at(confusion, (annotator, label), posteriors[item])
        confusion = _normalised(confusion.swapaxes(1, 2))
        with np.errstate(divide="ignore"):
            evidence = np.log(confusion).swapaxes(1, 2)[annotator, label]
            logs = np.tile(np.log(shares), (n_items, 1))
        np.add.at(logs, item, evidence)
        highest = logs.max(1, keepdims=True)
        posteriors = np.exp(logs - highest)
        likelihood = float((np.log(posteriors.sum(1)) + highest[:, 0]).sum())
        posteriors = _normalised(posteriors)
        if abs(likelihood - before) < 1e-9 * (1 + abs(likelihood)):
            break
        before = likelihood
    return DawidSkene(shares, confusion, posteriors)


def _informative(ranked: Sequence[RankedAnswers]) -> list[RankedAnswers]:
    """First rankings that say something about a pair."""
    return [one for one in first_judgments(ranked) if len(one.ranking.ranked) > 1]


@dataclass(frozen=True, slots=True, eq=False)
class _HeldOut:
    """For each (item, annotator) a copy of the item's strengths, to be fitted to the votes of the others.

    `vote` numbers the votes used, `first` and `second` the strengths they compare; `own_first` and `own_second` the
    strengths by which each vote is judged.
    """

    vote: Int[np.ndarray, " uses"]
    first: Int[np.ndarray, " uses"]
    second: Int[np.ndarray, " uses"]
    own_first: Int[np.ndarray, " votes"]
    own_second: Int[np.ndarray, " votes"]
    n_strengths: int


def _hold_out(votes: PairVotes) -> _HeldOut:
    by_item = np.argsort(votes.item, kind="stable")
    ends = np.flatnonzero(np.diff(votes.item[by_item])) + 1
    offset = 0
    copy_of_vote = np.zeros(len(votes.vote), np.int64)
    uses, starts = [], []
    for rows in np.split(by_item, ends):
        for name in np.unique(votes.annotator[rows]):
            is_own = votes.annotator[rows] == name
            copy_of_vote[rows[is_own]] = offset
            uses.append(rows[~is_own])
            starts.append(np.full(len(uses[-1]), offset))
            offset += int(votes.n_answers[votes.item[rows[0]]])
    vote, start = np.concatenate(uses), np.concatenate(starts)
    return _HeldOut(
        vote,
        start + votes.first[vote],
        start + votes.second[vote],
        copy_of_vote + votes.first,
        copy_of_vote + votes.second,
        offset,
    )


def _scatter(held_out: _HeldOut, values: Float[np.ndarray, " uses"], join: np.ufunc) -> Float[np.ndarray, " strengths"]:
    """Each value given to the first strength of its vote, and added to or subtracted from the second."""
    first = np.bincount(held_out.first, values, held_out.n_strengths)
    second = np.bincount(held_out.second, values, held_out.n_strengths)
    return np.asarray(join(first, second), np.float64)


def _sigmoid(x: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    return np.asarray((1 + np.tanh(x / 2)) / 2, np.float64)


def _normalised(counts: Float[np.ndarray, "*any"]) -> Float[np.ndarray, "*any"]:
    """Shares over the last axis; equal ones where nothing was counted."""
    totals = counts.sum(-1, keepdims=True)
    return np.where(totals > 0, counts / np.where(totals > 0, totals, 1), 1 / counts.shape[-1])
