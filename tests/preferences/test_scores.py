"""Strengths against closed forms, published fits, Hunter's MM algorithm written slowly, simulation, and choix."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.errors import DataError
from prosa.preferences import scores
from prosa.preferences.judgments import Ranking
from prosa.preferences.scores import (
    answer_scores,
    fit_bradley_terry,
    fit_davidson,
    fit_plackett_luce,
    model_scores,
)
from prosa.preferences.simulated import SimulatedAnnotator
from tests.preferences.rankings import ANSWERS, make_item, make_ranked


def test_two_answers_have_the_closed_form() -> None:
    fit = fit_bradley_terry(np.array([[0.0, 7.0], [3.0, 0.0]]), prior=0)
    assert fit.values[0] - fit.values[1] == pytest.approx(math.log(7 / 3))
    assert fit.win_probability(0, 1) == pytest.approx(0.7)
    # The log-odds have variance 1/7 + 1/3; each value is half of them.
    assert fit.standard_errors == pytest.approx([math.sqrt(1 / 7 + 1 / 3) / 2] * 2)
    assert fit.log_likelihood == pytest.approx(7 * math.log(0.7) + 3 * math.log(0.3))


def test_two_answers_with_ties_have_the_closed_form() -> None:
    """Davidson's model is saturated: win : loss : tie = g_1 : g_2 : nu sqrt(g_1 g_2) = 6 : 2 : 4."""
    ties = np.array([[0.0, 4.0], [4.0, 0.0]])
    fit = fit_davidson(np.array([[0.0, 6.0], [2.0, 0.0]]), ties, prior=0)
    assert fit.values[0] - fit.values[1] == pytest.approx(math.log(3))
    assert fit.tie == pytest.approx(4 / math.sqrt(12))


# American League East, 1987: row beat column (Agresti, Categorical Data Analysis, 2002, table 10.10).
BASEBALL = np.array(
    [
        [0, 7, 9, 7, 7, 9, 11],
        [6, 0, 7, 5, 11, 9, 9],
        [4, 6, 0, 7, 7, 8, 12],
        [6, 8, 6, 0, 6, 7, 10],
        [6, 2, 6, 7, 0, 7, 12],
        [4, 4, 5, 6, 6, 0, 6],
        [2, 4, 1, 3, 1, 7, 0],
    ],
    float,
)
# Abilities relative to the last team and their standard errors, as R's BradleyTerry2 prints them.
ABILITIES = [1.5814, 1.4364, 1.2945, 1.2476, 1.1077, 0.6839]
ERRORS = [0.3433, 0.3396, 0.3367, 0.3359, 0.3339, 0.3319]


def test_baseball_equals_the_published_fit() -> None:
    fit = fit_bradley_terry(BASEBALL, prior=0)
    assert (fit.values[:6] - fit.values[6]).round(4).tolist() == ABILITIES
    variance = np.diag(fit.covariance) + fit.covariance[6, 6] - 2 * fit.covariance[6]
    assert np.sqrt(variance[:6]).round(4).tolist() == ERRORS
    assert fit.values.sum() == pytest.approx(0)


def hunter_davidson(wins: np.ndarray, ties: np.ndarray, prior: float, n_rounds: int = 20_000):
    """MM by hand (Hunter 2004, sections 2 and 4): each round maximises a minorising function with separate unknowns."""
    n = len(wins)
    g, nu = np.ones(n), 0.5 if ties.any() else 0.0
    for _ in range(n_rounds):
        new = np.empty(n)
        for i in range(n):
            above, below = prior, 2 * prior / (1 + g[i])
            for j in range(n):
                if i != j:
                    games = wins[i, j] + wins[j, i] + ties[i, j]
                    above += wins[i, j] + ties[i, j] / 2
                    room = g[i] + g[j] + nu * math.sqrt(g[i] * g[j])
                    below += games * (1 + nu / 2 * math.sqrt(g[j] / g[i])) / room
            new[i] = above / below
        if nu:
            below = prior / (2 + nu)
            for i, j in itertools.combinations(range(n), 2):
                games = wins[i, j] + wins[j, i] + ties[i, j]
                below += games * math.sqrt(new[i] * new[j]) / (new[i] + new[j] + nu * math.sqrt(new[i] * new[j]))
            new_nu = ties.sum() / 2 / below
        else:
            new_nu = 0.0
        change = max(np.abs(np.log(new / g)).max(), abs(new_nu - nu))
        g, nu = new, new_nu
        if change < 1e-11:
            break
    return np.log(g) - np.log(g).mean(), nu


@pytest.mark.parametrize("has_ties", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_newton_finds_what_hunters_mm_finds(seed, has_ties) -> None:
    random = np.random.default_rng(seed)
    wins = random.integers(0, 6, (4, 4)).astype(float)
    np.fill_diagonal(wins, 0)
    ties = np.zeros((4, 4))
    if has_ties:
        ties = np.triu(random.integers(0, 4, (4, 4)), 1).astype(float)
        ties += ties.T
    fit = fit_davidson(wins, ties, prior=0.3)
    values, nu = hunter_davidson(wins, ties, 0.3)
    assert fit.values == pytest.approx(values, abs=1e-6)
    assert fit.tie == pytest.approx(nu, abs=1e-6)


def expand(ranking: Ranking) -> list[list[int]]:
    """All orders of a ranking with ties."""
    return [
        list(itertools.chain.from_iterable(groups))
        for groups in itertools.product(*(itertools.permutations(group) for group in ranking.groups))
    ]


def hunter_plackett_luce(rankings, n: int, weights, prior: float, n_rounds: int = 20_000) -> np.ndarray:
    """MM by hand (Hunter 2004, section 5), ties replaced by all their orders with equal weight."""
    orders = [
        (order, weight / len(expand(ranking)))
        for ranking, weight in zip(rankings, weights, strict=True)
        for order in expand(ranking)
    ]
    g = np.ones(n)
    for _ in range(n_rounds):
        above, below = np.full(n, prior), 2 * prior / (1 + g)
        for order, weight in orders:
            for place in range(len(order) - 1):
                left = order[place:]
                above[left[0]] += weight
                below[left] += weight / g[left].sum()
        change = np.abs(np.log(above / below / g)).max()
        g = above / below
        if change < 1e-11:
            break
    return np.log(g) - np.log(g).mean()


weak_orders = st.lists(st.sampled_from([None, 1.0, 2.0, 3.0]), min_size=4, max_size=4)


@given(st.lists(st.tuples(weak_orders, st.sampled_from([0.0, 0.5, 1.0, 3.0])), min_size=1, max_size=4))
@settings(max_examples=15, derandomize=True, deadline=None)
def test_plackett_luce_with_ties_and_gaps_equals_hunters_mm_over_all_orders(rows) -> None:
    rankings = [Ranking.from_ranks(ranks) for ranks, _ in rows]
    weights = [weight for _, weight in rows]
    fit = fit_plackett_luce(rankings, 4, weights=weights, prior=0.3)
    assert fit.values == pytest.approx(hunter_plackett_luce(rankings, 4, weights, 0.3), abs=1e-6)


def test_rankings_of_two_are_bradley_terry_with_half_wins_for_ties() -> None:
    rankings = [Ranking(((0,), (1,)))] * 5 + [Ranking(((1,), (0,)))] * 2 + [Ranking(((0, 1),))] * 3
    expected = fit_bradley_terry(np.array([[0, 6.5], [3.5, 0]]), prior=0)
    fit = fit_plackett_luce(rankings, 2, prior=0)
    assert fit.values == pytest.approx(expected.values)
    assert fit.log_likelihood == pytest.approx(expected.log_likelihood)


def test_likelihood_of_a_ranking_by_hand() -> None:
    """All strengths equal: 1/3 for the first of three, 1/2 for the second, and each prior comparison one half."""
    symmetric = [Ranking(tuple((k,) for k in order)) for order in itertools.permutations(range(3))]
    fit = fit_plackett_luce(symmetric, 3, prior=0.5)
    assert fit.values == pytest.approx([0, 0, 0], abs=1e-9)
    assert fit.log_likelihood == pytest.approx(6 * math.log(1 / 6) + 3 * math.log(0.5))


def slow_efron(rankings: list[Ranking], n: int, prior: float) -> np.ndarray:
    """Gradient ascent on Efron's likelihood: of d tied answers, 1 - l / d of each is left when place l is filled."""
    values = np.zeros(n)
    for _ in range(1000):
        gradient = prior * (1 - 2 / (1 + np.exp(-values)))
        for ranking in rankings:
            for place, group in enumerate(ranking.groups):
                gradient[list(group)] += 1
                for taken in range(len(group)):
                    there = np.zeros(n)
                    there[[answer for below in ranking.groups[place:] for answer in below]] = 1
                    there[list(group)] = 1 - taken / len(group)
                    gradient -= there * np.exp(values) / (there @ np.exp(values))
        values += 0.5 * gradient
    return values - values.mean()


def test_large_ties_are_efron_s_and_nearly_those_of_all_orders(monkeypatch) -> None:
    rankings = [Ranking(((0, 1, 2, 3), (4, 5))), Ranking(((2, 4, 5), (0, 1, 3)))]
    exact = fit_plackett_luce(rankings, 6)
    monkeypatch.setattr(scores, "_MAX_EXACT_TIE", 1)
    fit = fit_plackett_luce(rankings, 6)
    assert fit.values == pytest.approx(slow_efron(rankings, 6, 0.1), abs=1e-6)
    assert fit.values == pytest.approx(exact.values, abs=0.15)
    equal = fit_plackett_luce([Ranking((tuple(range(40)),))], 40)
    assert equal.values == pytest.approx(np.zeros(40), abs=1e-9)


def test_without_a_prior_impossible_data_are_refused() -> None:
    undefeated = np.array([[0.0, 3, 3], [0, 0, 2], [0, 2, 0]])
    apart = np.array([[0.0, 2, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 3, 0]])
    for wins in (undefeated, apart):
        with pytest.raises(DataError, match="never compared"):
            fit_bradley_terry(wins, prior=0)
        fit = fit_bradley_terry(wins, prior=0.1)
        assert np.isfinite(fit.values).all()
        assert np.isfinite(fit.standard_errors).all()
    assert np.argmax(fit_bradley_terry(undefeated).values) == 0
    nothing = fit_bradley_terry(np.zeros((3, 3)))
    assert nothing.values.tolist() == [0, 0, 0]
    only_ties = fit_davidson(np.zeros((2, 2)), np.array([[0.0, 5], [5, 0]]))
    assert only_ties.values == pytest.approx([0, 0])
    assert only_ties.tie == pytest.approx(2 * 5 / 0.1, rel=1e-6)


def test_true_strengths_are_recovered_within_their_errors() -> None:
    truth = np.array([1.2, 0.4, -0.1, -0.5, -1.0])
    annotator = SimulatedAnnotator("pl", seed=3)
    z = []
    for trial in range(40):
        rankings = [annotator.rank(truth, ANSWERS[:5], item_id=f"{trial} {k}") for k in range(60)]
        fit = fit_plackett_luce(rankings, 5, prior=0)
        z.extend((fit.values - truth) / fit.standard_errors)
    assert abs(np.mean(z)) < 0.15
    assert np.std(z) == pytest.approx(1, abs=0.15)


def test_ties_of_davidsons_model_are_recovered() -> None:
    random = np.random.default_rng(0)
    truth, nu = np.array([0.8, 0.0, -0.8]), 0.7
    wins, ties = np.zeros((3, 3)), np.zeros((3, 3))
    for i, j in itertools.combinations(range(3), 2):
        odds = np.exp([truth[i], truth[j], (truth[i] + truth[j]) / 2])
        odds[2] *= nu
        wins[i, j], wins[j, i], ties[i, j] = random.multinomial(2000, odds / odds.sum())
        ties[j, i] = ties[i, j]
    fit = fit_davidson(wins, ties)
    assert fit.values == pytest.approx(truth, abs=0.1)
    assert fit.tie == pytest.approx(nu, abs=0.06)


def test_choix_finds_the_same() -> None:
    choix = pytest.importorskip("choix")
    random = np.random.default_rng(4)
    orders = [random.permutation(5).tolist() for _ in range(12)]
    ours = fit_plackett_luce([Ranking(tuple((k,) for k in order)) for order in orders], 5, prior=0)
    assert ours.values == pytest.approx(choix.ilsr_rankings(5, orders), abs=1e-5)
    pairs = [(i, j) for i in range(7) for j in range(7) for _ in range(int(BASEBALL[i, j]))]
    assert fit_bradley_terry(BASEBALL, prior=0).values == pytest.approx(choix.ilsr_pairwise(7, pairs), abs=1e-5)


def test_answers_are_scored_item_by_item_with_weights() -> None:
    ranked = [
        make_ranked([1, 2, 3], item="1", annotator="ana"),
        make_ranked([3, 2, 1], item="1", annotator="bia", weight=0.0),
        make_ranked([2, 1], item="2"),
    ]
    strengths = answer_scores(ranked)
    assert list(strengths) == ["1", "2"]
    assert strengths["1"].values[0] > strengths["1"].values[1] > strengths["1"].values[2]
    assert strengths["2"].values[1] > 0 > strengths["2"].values[0]


def test_models_are_scored_by_their_answers() -> None:
    items = [make_item(f"p{k}", models=("strong", "weak", "weak")) for k in range(40)]
    random = np.random.default_rng(0)
    ranked = []
    for item in items:
        ranks = [1, 2, 3] if random.random() < 0.75 else [3, 1, 2]
        one = make_ranked(ranks)
        ranked.append(type(one)(item.id, item.messages, tuple(a.text for a in item.answers), one.ranking, "ana"))
    best, worst = model_scores(items, ranked)
    assert (best.model, worst.model) == ("strong", "weak")
    assert best.strength.n == worst.strength.n == 80
    assert best.win_share + worst.win_share == pytest.approx(1)
    wins = np.array([[0, 80 * best.win_share], [80 * worst.win_share, 0]])
    assert best.strength.value == pytest.approx(fit_bradley_terry(wins).values[0])
    # Both pairs of a prompt go together: 40 prompts, not 80 pairs, make the interval.
    half_width = (best.strength.high - best.strength.low) / 2
    p = best.win_share
    assert half_width == pytest.approx(1.96 / math.sqrt(40 * p * (1 - p)) / 2, rel=0.35)
    assert model_scores(items, []) == []
    assert model_scores([make_item("same")], []) == []
