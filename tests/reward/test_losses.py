"""Every formula against numbers worked out by hand, against a slow reading of its definition, and at its limits."""

import math
from itertools import combinations, permutations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from prosa.config import resolve_settings
from prosa.errors import ConfigError
from prosa.preferences import Ranking, fit_davidson, fit_plackett_luce
from prosa.reward import LossSettings, agreement, centering, pairwise, plackett_luce, ranking_loss
from prosa.reward.losses import log_tie, log_win

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)


def row(*values: float) -> torch.Tensor:
    return torch.tensor([values], dtype=torch.float64)


def exact(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def groups(*values: int) -> torch.Tensor:
    return torch.tensor([values])


def test_bradley_terry_of_two() -> None:
    """Strengths 3 and 1: the first wins three times in four."""
    assert float(pairwise(row(LN3, 0), groups(0, 1))) == pytest.approx(-math.log(3 / 4))
    assert float(pairwise(row(LN3, 0), groups(1, 0))) == pytest.approx(-math.log(1 / 4))


def test_all_pairs_of_a_ranking_are_one_element() -> None:
    """Strengths 4, 2, 1 in this order: pairs win with 2/3, 4/5 and 2/3."""
    expected = -(math.log(2 / 3) + math.log(4 / 5) + math.log(2 / 3)) / 3
    assert float(pairwise(row(LN4, LN2, 0), groups(0, 1, 2))) == pytest.approx(expected)


def test_davidson_by_hand() -> None:
    """Strengths 4 and 1, nu 1: 4, 1 and sqrt(4) ties out of 7; nu 1/2: 4, 1 and 1 out of 6."""
    assert float(pairwise(row(LN4, 0), groups(0, 1), ties="davidson")) == pytest.approx(-math.log(4 / 7))
    assert float(pairwise(row(LN4, 0), groups(0, 0), ties="davidson")) == pytest.approx(-math.log(2 / 7))
    half = {"ties": "davidson", "tie": math.log(0.5)}
    assert float(pairwise(row(LN4, 0), groups(1, 0), **half)) == pytest.approx(-math.log(1 / 6))


def test_rao_kupper_by_hand() -> None:
    """Strengths 4 and 1, theta 2: 4/6 wins, 1/9 losses, 3 x 4 / (6 x 9) = 2/9 ties."""
    for order, probability in ((groups(0, 1), 2 / 3), (groups(1, 0), 1 / 9), (groups(0, 0), 2 / 9)):
        assert float(pairwise(row(LN4, 0), order, ties="rao_kupper")) == pytest.approx(-math.log(probability))


def test_ties_and_wins_of_one_ranking_are_averaged_together() -> None:
    """Strengths 4, 1, 1 as 0 | 1 = 2, Davidson with nu 1: two wins of 4/7, one tie of 1/3."""
    expected = -(2 * math.log(4 / 7) + math.log(1 / 3)) / 3
    assert float(pairwise(row(LN4, 0, 0), groups(0, 1, 1), ties="davidson")) == pytest.approx(expected)
    dropped = -math.log(4 / 5)
    assert float(pairwise(row(LN4, 0, 0), groups(0, 1, 1), ties="drop")) == pytest.approx(dropped)


@pytest.mark.parametrize("ties", ["davidson", "rao_kupper"])
@hypothesis_settings(max_examples=50, derandomize=True, deadline=None)
@given(difference=st.floats(-30, 30), tie=st.floats(-4, 4))
def test_win_loss_and_tie_are_all_there_is(ties: str, difference: float, tie: float) -> None:
    d, t = torch.tensor(difference, dtype=torch.float64), torch.tensor(tie, dtype=torch.float64)
    total = log_win(d, ties, t).exp() + log_win(-d, ties, t).exp() + log_tie(d, ties, t).exp()  # type: ignore[arg-type]
    assert float(total) == pytest.approx(1)


def test_plackett_luce_by_hand() -> None:
    """Strengths 3, 2, 1: in this order 3/6 x 2/3 = 1/3, in the opposite 1/6 x 2/5 = 1/15; two choices each."""
    scores = row(LN3, LN2, 0)
    assert float(plackett_luce(scores, groups(0, 1, 2))) == pytest.approx(math.log(3) / 2)
    assert float(plackett_luce(scores, groups(2, 1, 0))) == pytest.approx(math.log(15) / 2)


def test_plackett_luce_with_a_tie_is_efrons() -> None:
    """Strengths 3 and 2 tied before 1: 3 x 2 / (6 x (6 - 5/2)) = 2/7. Tied after 1: 1/6 x 3 x 2 / (5 x 5/2) = 2/25."""
    assert float(plackett_luce(row(LN3, LN2, 0), groups(0, 0, 1))) == pytest.approx(math.log(7 / 2) / 2)
    assert float(plackett_luce(row(LN3, LN2, 0), groups(1, 1, 0))) == pytest.approx(math.log(25 / 2) / 2)


def test_plackett_luce_of_two_is_bradley_terry() -> None:
    scores = torch.randn(5, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    order = torch.tensor([[0, 1], [1, 0], [0, 1], [1, 0], [0, 1]])
    assert torch.allclose(plackett_luce(scores, order), pairwise(scores, order))


def test_plackett_luce_gives_all_orders_together_one() -> None:
    scores = row(0.3, -1.2, 2.0, 0.1)
    total = sum(math.exp(-3 * float(plackett_luce(scores, groups(*order)))) for order in permutations(range(4)))
    assert total == pytest.approx(1)


def slow_losses(scores: list[float], order: list[int], ties: str, tie: float) -> tuple[float, float]:
    """Pairwise and Plackett-Luce by their definitions, one pair and one choice at a time."""
    there = [i for i, group in enumerate(order) if group >= 0]
    terms = []
    for i in there:
        for j in there:
            if order[i] < order[j]:
                terms.append(-float(log_win(exact(scores[i] - scores[j]), ties, exact(tie))))  # type: ignore[arg-type]
            elif order[i] == order[j] and i < j and ties != "drop":
                terms.append(-float(log_tie(exact(scores[i] - scores[j]), ties, exact(tie))))  # type: ignore[arg-type]
    choices = 0.0
    for group in sorted({order[i] for i in there}):
        tied = [math.exp(scores[i]) for i in there if order[i] == group]
        left = sum(math.exp(scores[i]) for i in there if order[i] >= group)
        for k, strength in enumerate(tied):
            choices -= math.log(strength / (left - k / len(tied) * sum(tied)))
    return sum(terms) / max(1, len(terms)), choices / max(1, len(there) - 1)


@pytest.mark.parametrize("ties", ["drop", "davidson", "rao_kupper"])
@hypothesis_settings(max_examples=60, derandomize=True, deadline=None)
@given(answers=st.lists(st.tuples(st.floats(-3, 3), st.integers(-1, 3)), min_size=1, max_size=6), tie=st.floats(-2, 2))
def test_any_partial_ranking_with_ties_is_the_slow_one(ties: str, answers: list[tuple[float, int]], tie: float) -> None:
    scores, order = map(list, zip(*answers, strict=True))
    expected = slow_losses(scores, order, ties, tie)
    found = pairwise(row(*scores), groups(*order), ties=ties, tie=tie)  # type: ignore[arg-type]
    assert float(found) == pytest.approx(expected[0], abs=1e-9)
    assert float(plackett_luce(row(*scores), groups(*order))) == pytest.approx(expected[1], abs=1e-9)


def test_margin_grows_with_the_distance_in_the_ranking() -> None:
    """Margin 1: neighbours must differ by 1, the first and the third by 2."""
    scores = row(3, 2, 0)
    z = [3 - 2 - 1, 3 - 0 - 2, 2 - 0 - 1]
    expected = sum(math.log1p(math.exp(-value)) for value in z) / 3
    assert float(pairwise(scores, groups(0, 1, 2), margin=1.0)) == pytest.approx(expected)


def test_label_smoothing_mixes_in_the_opposite() -> None:
    expected = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4))
    assert float(pairwise(row(LN3, 0), groups(0, 1), label_smoothing=0.1)) == pytest.approx(expected)


def test_centering_is_the_square_of_the_mean_of_what_is_ranked() -> None:
    assert float(centering(row(1, 2, 99), groups(0, 1, -1))) == pytest.approx(1.5**2)
    one = LossSettings(ties="drop", centering=0.5)
    expected = -math.log(3 / 4) + 0.5 * (LN3 / 2) ** 2
    assert float(ranking_loss(row(LN3, 0), groups(0, 1), one, torch.zeros(()))) == pytest.approx(expected)


@pytest.mark.parametrize("kind", ["pairwise", "plackett_luce"])
def test_what_is_not_ranked_gets_no_gradient(kind: str) -> None:
    scores = row(0.2, 5.0, -1.0, 7.0).requires_grad_()
    order = groups(0, -1, 1, -1)
    loss = pairwise(scores, order, ties="davidson") if kind == "pairwise" else plackett_luce(scores, order)
    loss.sum().backward()
    assert scores.grad is not None and (scores.grad[0, [1, 3]] == 0).all() and (scores.grad[0, [0, 2]] != 0).all()


@pytest.mark.parametrize("order", [groups(0, 0, 0), groups(-1, 0, -1), groups(-1, -1, -1)])
def test_a_ranking_without_order_teaches_nothing_where_ties_are_dropped(order: torch.Tensor) -> None:
    scores = row(1, 2, 3).requires_grad_()
    loss = pairwise(scores, order)
    loss.sum().backward()
    assert float(loss.detach()) == 0 and scores.grad is not None and not scores.grad.any()
    assert float(agreement(scores.detach(), order)) == 0.5


@pytest.mark.parametrize("kind", ["davidson", "rao_kupper", "plackett_luce"])
def test_a_tie_draws_scores_together(kind: str) -> None:
    scores = row(1.0, -1.0).requires_grad_()
    order = groups(0, 0)
    loss = plackett_luce(scores, order) if kind == "plackett_luce" else pairwise(scores, order, ties=kind)  # type: ignore[arg-type]
    loss.sum().backward()
    assert scores.grad is not None and scores.grad[0, 0] > 0 > scores.grad[0, 1]


@pytest.mark.parametrize("ties", ["drop", "davidson", "rao_kupper"])
def test_huge_differences_stay_finite(ties: str) -> None:
    scores = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    for order in (groups(0, 1, 2), groups(2, 1, 0), groups(0, 0, 1)):
        both = pairwise(scores, order, ties=ties) + plackett_luce(scores, order)  # type: ignore[arg-type]
        (gradient,) = torch.autograd.grad(both.sum(), scores)
        assert torch.isfinite(both).all() and torch.isfinite(gradient).all()


def test_agreement_counts_equal_scores_half() -> None:
    assert float(agreement(row(3, 2, 2), groups(0, 1, 2))) == pytest.approx(2.5 / 3)
    assert float(agreement(row(3, 2, 9), groups(0, 1, -1))) == 1


def test_given_tie_parameters_are_davidsons_nu_and_rao_and_kuppers_theta() -> None:
    nu, theta = LossSettings(tie_parameter=0.5), LossSettings(ties="rao_kupper", tie_parameter=3.0)
    assert math.exp(nu.tie_start) == pytest.approx(0.5) and not nu.learns_tie
    # Equal strengths: ties (theta - 1) / (theta + 1) of the time.
    expected = -math.log((3 - 1) / (3 + 1))
    tie = torch.tensor(theta.tie_start, dtype=torch.float64)
    assert float(pairwise(row(0, 0), groups(0, 0), ties="rao_kupper", tie=tie)) == pytest.approx(expected)
    assert LossSettings().learns_tie and not LossSettings(ties="drop").learns_tie


@pytest.mark.parametrize(
    "values",
    [{"ties": "rao_kupper", "tie_parameter": 1.0}, {"kind": "plackett_luce", "margin": 1.0}, {"label_smoothing": 0.5}],
)
def test_impossible_settings_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        resolve_settings(LossSettings, values, origin="test")


def test_the_strengths_that_statistics_finds_are_where_these_losses_are_least() -> None:
    """Independent code: Newton's method on counts in `prosa.preferences` against the gradient of these losses."""
    wins = np.array([[0.0, 5, 7], [3, 0, 4], [1, 2, 0]])
    ties = np.array([[0.0, 2, 1], [2, 0, 3], [1, 3, 0]])
    fit = fit_davidson(wins, ties, prior=0.0)
    scores = torch.tensor(fit.values, requires_grad=True)
    tie = torch.tensor(math.log(fit.tie), dtype=torch.float64, requires_grad=True)
    total = torch.zeros((), dtype=torch.float64)
    for i, j in combinations(range(3), 2):
        for n, order in ((wins[i, j], (0, 1)), (wins[j, i], (1, 0)), (ties[i, j], (0, 0))):
            given = torch.full((1, 3), -1)
            given[0, [i, j]] = torch.tensor(order)
            total = total + n * pairwise(scores[None], given, ties="davidson", tie=tie).sum()
    assert all(gradient.abs().max() < 1e-6 for gradient in torch.autograd.grad(total, [scores, tie]))


def test_plackett_luce_is_least_where_statistics_finds_it() -> None:
    orders = [(0, 1, 2, 3), (1, 0, 3, 2), (2, 0, 1), (3, 2, 0, 1), (0, 3), (1, 2, 3, 0)]
    rankings = [Ranking(tuple((index,) for index in order)) for order in orders]
    scores = torch.tensor(fit_plackett_luce(rankings, 4, prior=0.0).values, requires_grad=True)
    total = torch.zeros((), dtype=torch.float64)
    for order in orders:
        given = torch.full((1, 4), -1)
        given[0, list(order)] = torch.arange(len(order))
        # The loss is the mean over the choices, the likelihood their sum.
        total = total + (len(order) - 1) * plackett_luce(scores[None], given).sum()
    (gradient,) = torch.autograd.grad(total, scores)
    assert gradient.abs().max() < 1e-6
