"""How good is each answer or model: rankings, or wins and ties, come in; strengths with standard errors go out.

Bradley-Terry, Davidson and Plackett-Luce are all choices between alternatives whose log-odds are linear in the
log-strengths, so that one Newton's method finds the maximum of each and its curvature there.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, log

import numpy as np
from jaxtyping import Float, Int

from prosa.errors import DataError
from prosa.preferences.agreement import Estimate, first_judgments, pair_votes, resamples
from prosa.preferences.judgments import Item, RankedAnswers, Ranking

# Ties of up to this many answers are averaged over all their orders; 2^n subsets are visited.
_MAX_EXACT_TIE = 6
# Without a prior, log-strengths beyond this are on their way to infinity.
_MAX_LOG_STRENGTH = 20.0
_MAX_STEPS = 200

# Features, log-shares and counts of all alternatives, and where each choice begins.
_Data = tuple[
    Float[np.ndarray, "alternatives p"],
    Float[np.ndarray, " alternatives"],
    Float[np.ndarray, " alternatives"],
    Int[np.ndarray, " choices"],
]


@dataclass(frozen=True, slots=True, eq=False)
class Strengths:
    """Log-strengths with mean 0, their covariance from the observed information, log-likelihood with the prior's part.

    `tie` is Davidson's nu: two equal answers tie with probability nu / (2 + nu); 0 where no tie was seen or modelled.
    """

    values: Float[np.ndarray, " n"]
    covariance: Float[np.ndarray, "n n"]
    tie: float
    log_likelihood: float

    @property
    def standard_errors(self) -> Float[np.ndarray, " n"]:
        return np.sqrt(np.maximum(np.diag(self.covariance), 0.0))

    def win_probability(self, i: int, j: int) -> float:
        """That i is preferred to j when the two are not tied."""
        return float(1 / (1 + np.exp(self.values[j] - self.values[i])))


@dataclass(frozen=True, slots=True)
class ModelScore:
    """Log-strength of one model, with its bootstrap interval; `n` preferences and ties against other models."""

    model: str
    strength: Estimate
    win_share: float
    """Of its comparisons with other models; a tie counts one half."""


def fit_bradley_terry(wins: Float[np.ndarray, "n n"], *, prior: float = 0.1) -> Strengths:
    """P(i beats j) = g_i / (g_i + g_j), g = exp(value) (Bradley & Terry 1952; Hunter, Annals of Statistics 32, 2004).

    `wins[i, j]` is how often i beat j. Each strength has also won and lost `prior` times against a strength of 1,
    which keeps it finite and links groups never compared; with `prior=0` DataError says if no finite strengths exist.
    """
    return fit_davidson(wins, np.zeros_like(wins), prior=prior)


def fit_davidson(wins: Float[np.ndarray, "n n"], ties: Float[np.ndarray, "n n"], *, prior: float = 0.1) -> Strengths:
    """Bradley-Terry with ties (Davidson, JASA 65, 1970): win, loss and tie have the odds g_i : g_j : nu sqrt(g_i g_j).

    `ties` is symmetric. Nu has seen `prior` decisive comparisons of equals besides the data. Half of each tie counted
    as a win would be Bradley-Terry's way: use `fit_bradley_terry(wins + ties / 2)`.
    """
    n = len(wins)
    has_ties = bool(ties.any())
    choices = _Choices(n + has_ties)
    for i, j in combinations(range(n), 2):
        if wins[i, j] + wins[j, i] + ties[i, j] > 0:
            tie = [({i: 0.5, j: 0.5, n: 1.0}, 1.0, float(ties[i, j]))] if has_ties else []
            choices.add([({i: 1.0}, 1.0, float(wins[i, j])), ({j: 1.0}, 1.0, float(wins[j, i])), *tie])
    if has_ties and prior > 0:
        choices.add([({}, 2.0, prior), ({n: 1.0}, 1.0, 0.0)])
    return choices.fit(n, prior)


def fit_plackett_luce(
    rankings: Sequence[Ranking], n: int, *, weights: Sequence[float] | None = None, prior: float = 0.1
) -> Strengths:
    """P(ranking) = product of g_best / sum of g over what is left (Plackett 1975; Luce 1959; Hunter 2004, section 5).

    An answer that a ranking leaves out is not among what is left. A ranking with ties counts as the mean of the
    log-likelihoods of all its orders, so that a tie of two is half a win for each; ties of more than six answers use
    Efron's approximation (JASA 72, 1977). `prior` as in `fit_bradley_terry`.
    """
    choices = _Choices(n)
    for ranking, weight in zip(rankings, weights if weights is not None else [1.0] * len(rankings), strict=True):
        ranking.check(n)
        left = ranking.ranked
        for group in ranking.groups:
            left = [answer for answer in left if answer not in group]
            if weight > 0:
                _add_group(choices, group, left, weight)
    return choices.fit(n, prior)


def answer_scores(ranked: Sequence[RankedAnswers], *, prior: float = 0.1) -> dict[str, Strengths]:
    """Plackett-Luce strengths of the answers of each item, by item id, from all its rankings and their weights."""
    items: dict[str, list[RankedAnswers]] = {}
    for one in ranked:
        items.setdefault(one.item_id, []).append(one)
    return {
        name: fit_plackett_luce(
            [one.ranking for one in group], len(group[0].answers), weights=[one.weight for one in group], prior=prior
        )
        for name, group in items.items()
    }


def model_scores(
    items: Sequence[Item],
    ranked: Sequence[RankedAnswers],
    *,
    prior: float = 0.1,
    seed: int = 0,
    n_resamples: int = 200,
) -> list[ModelScore]:
    """Davidson strengths of the models that wrote the answers, best first, from every pair of different models.

    The interval is the wider of a bootstrap over prompts and of the standard errors, which alone have a width where all
    prompts say the same. Empty when fewer than two models can be compared.
    """
    wins, ties, models = _model_comparisons({item.id: item for item in items}, first_judgments(ranked))
    if len(models) < 2:
        return []
    fit = fit_davidson(wins.sum(0), ties.sum(0), prior=prior)
    fitted, room = fit.values, 1.96 * fit.standard_errors
    resampled = np.array(
        [
            fit_davidson(np.tensordot(drawn, wins, 1), np.tensordot(drawn, ties, 1), prior=prior).values
            for drawn in resamples(len(wins), seed, n_resamples)
        ]
    )
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    low, high = np.minimum(low, fitted - room), np.maximum(high, fitted + room)
    won, lost, tied = wins.sum((0, 2)), wins.sum((0, 1)), ties.sum((0, 2))
    scores = []
    for k in np.argsort(-fitted, kind="stable"):
        n = won[k] + lost[k] + tied[k]
        estimate = Estimate(float(fitted[k]), float(low[k]), float(high[k]), int(n))
        scores.append(ModelScore(models[k], estimate, float((won[k] + tied[k] / 2) / n)))
    return scores


def _model_comparisons(
    items: Mapping[str, Item], ranked: Sequence[RankedAnswers]
) -> tuple[Float[np.ndarray, "prompts m m"], Float[np.ndarray, "prompts m m"], list[str]]:
    """Wins and (symmetric) ties between different models by prompt, and the names of the models compared."""
    ranked = [one for one in ranked if one.item_id in items]
    votes = pair_votes(ranked)
    order = list(dict.fromkeys(one.item_id for one in ranked))
    names = sorted({answer.model for item in order for answer in items[item].answers})
    number = {name: k for k, name in enumerate(names)}
    widest = max((len(items[item].answers) for item in order), default=0)
    model_of = np.zeros((len(order), widest), np.int64)
    for row, item in enumerate(order):
        written_by = [number[answer.model] for answer in items[item].answers]
        model_of[row, : len(written_by)] = written_by
    first, second = model_of[votes.item, votes.first], model_of[votes.item, votes.second]
    wins = np.zeros((int(votes.prompt.max(initial=-1)) + 1, len(names), len(names)))
    ties = np.zeros_like(wins)
    differ = first != second
    for table, chosen, i, j in (
        (wins, differ & (votes.vote > 0), first, second),
        (wins, differ & (votes.vote < 0), second, first),
        (ties, differ & (votes.vote == 0), first, second),
        (ties, differ & (votes.vote == 0), second, first),
    ):
        np.add.at(table, (votes.prompt[chosen], i[chosen], j[chosen]), 1)
    compared = np.flatnonzero((wins + wins.swapaxes(1, 2) + ties).sum((0, 1)))
    return wins[:, compared][:, :, compared], ties[:, compared][:, :, compared], [names[k] for k in compared]


def _add_group(choices: "_Choices", group: tuple[int, ...], left: list[int], weight: float) -> None:
    """The choices of a group, tied above `left`: one after another in all orders, each order with equal weight."""
    size = len(group)
    for n_open in range(size, 0, -1):
        if n_open + len(left) == 1:
            continue
        others = [({answer: 1.0}, 1.0, 0.0) for answer in left]
        if size > _MAX_EXACT_TIE:
            part = n_open / size
            choices.add([*(({answer: 1.0}, part, weight / size) for answer in group), *others])
            continue
        part = weight / comb(size, n_open) / n_open
        for still in combinations(group, n_open):
            choices.add([*(({answer: 1.0}, 1.0, part) for answer in still), *others])


class _Choices:
    """Choices between alternatives of strength share * exp(features @ theta): a conditional logit.

    log-likelihood = sum over alternatives of count * log(probability among the alternatives of its choice)
    """

    def __init__(self, n_parameters: int) -> None:
        self.n_parameters = n_parameters
        self.features: list[Mapping[int, float]] = []
        self.log_shares: list[float] = []
        self.counts: list[float] = []
        self.starts: list[int] = []

    def add(self, alternatives: Sequence[tuple[Mapping[int, float], float, float]]) -> None:
        """One choice: (features, share, how often it was taken) of each alternative."""
        self.starts.append(len(self.features))
        for features, part, count in alternatives:
            self.features.append(features)
            self.log_shares.append(log(part))
            self.counts.append(count)

    def fit(self, n: int, prior: float) -> Strengths:
        """The maximum; the first `n` parameters are the strengths. Raises DataError if there is none."""
        if prior > 0:
            for answer in range(n):
                self.add([({answer: 1.0}, 1.0, prior), ({}, 1.0, prior)])
        if not self.starts:
            return Strengths(np.zeros(n), np.full((n, n), np.inf), 0.0, 0.0)
        x = np.zeros((len(self.features), self.n_parameters))
        for row, features in enumerate(self.features):
            x[row, list(features)] = list(features.values())
        data = x, np.array(self.log_shares), np.array(self.counts), np.array(self.starts)
        theta, likelihood, information = _climb(data, prior)
        spread = np.linalg.eigvalsh(information)
        n_known = np.count_nonzero(spread > 1e-10 * spread.max())
        if prior == 0 and (np.abs(theta).max() > _MAX_LOG_STRENGTH or n_known < len(theta) - 1):
            raise DataError(
                "some won or lost everything, or were never compared: there are no strengths to find",
                hint="use a prior above 0",
            )
        centre = np.eye(n) - 1 / n
        covariance = _solve(information, np.eye(len(theta)), prior)[:n, :n]
        tie = float(np.exp(theta[n])) if len(theta) > n else 0.0
        return Strengths(theta[:n] - theta[:n].mean(), centre @ covariance @ centre, tie, likelihood)


def _climb(data: _Data, prior: float) -> tuple[Float[np.ndarray, " p"], float, Float[np.ndarray, "p p"]]:
    """The maximum, its height and curvature, by Newton's method with halved steps: the log-likelihood is concave."""
    theta = np.zeros(data[0].shape[1])
    likelihood, gradient, information = _evaluate(theta, *data)
    for _ in range(_MAX_STEPS):
        step = _solve(information, gradient, prior)
        if float(gradient @ step) < 1e-20 * (1 + abs(likelihood)) or np.abs(theta).max() > 10 * _MAX_LOG_STRENGTH:
            break
        trial = _evaluate(theta + step, *data)
        while trial[0] < likelihood - 1e-12 * (1 + abs(likelihood)):
            step = step / 2
            trial = _evaluate(theta + step, *data)
        theta = theta + step
        likelihood, gradient, information = trial
    return theta, likelihood, information


def _solve(
    information: Float[np.ndarray, "p p"], right: Float[np.ndarray, "p ..."], prior: float
) -> Float[np.ndarray, "p ..."]:
    """Without a prior only differences of strengths matter, and the pseudo-inverse leaves their mean alone."""
    if prior > 0:
        return np.linalg.solve(information, right)
    solved: Float[np.ndarray, "p ..."] = np.linalg.pinv(information, rcond=1e-12, hermitian=True) @ right
    return solved


def _evaluate(
    theta: Float[np.ndarray, " p"],
    x: Float[np.ndarray, "alternatives p"],
    log_shares: Float[np.ndarray, " alternatives"],
    counts: Float[np.ndarray, " alternatives"],
    starts: Int[np.ndarray, " choices"],
) -> tuple[float, Float[np.ndarray, " p"], Float[np.ndarray, "p p"]]:
    """Log-likelihood, its gradient, and the observed information (minus its Hessian)."""
    choice = np.repeat(np.arange(len(starts)), np.diff([*starts, len(counts)]))
    scores = x @ theta + log_shares
    scores -= np.maximum.reduceat(scores, starts)[choice]
    logprobs = scores - np.log(np.add.reduceat(np.exp(scores), starts))[choice]
    probabilities = np.exp(logprobs)
    totals = np.add.reduceat(counts, starts)
    expected = probabilities * totals[choice]
    means = np.add.reduceat(probabilities[:, None] * x, starts)
    information = x.T @ (expected[:, None] * x) - means.T @ (totals[:, None] * means)
    return float(counts @ logprobs), x.T @ (counts - expected), information
