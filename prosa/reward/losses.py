"""What a ranking says about scores: scores and groups of rank come in, one loss in nats for each ranking goes out.

Scores are P K: P rankings of up to K answers. Groups are P K as well: 0 for the best group, equal numbers for ties, -1
for an answer that is absent or not ranked. With s the score and d = s_i - s_j:

    Bradley-Terry   P(i before j) = sigmoid(d)                                       Biometrika 39 (1952)
    Davidson        P(i before j) = e^(d/2) / Z, P(tie) = nu / Z,                    JASA 65 (1970)
                    Z = e^(d/2) + e^(-d/2) + nu
    Rao-Kupper      P(i before j) = sigmoid(d - ln theta),                           JASA 62 (1967)
                    P(tie) = (theta^2 - 1) sigmoid(d - ln theta) sigmoid(-d - ln theta)
    Plackett-Luce   P(order) = product over places of e^s / sum of e^s over          Plackett, Appl. Stat. 24 (1975)
                    those not yet placed
"""

import math
from typing import Literal, Self

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from pydantic import Field, model_validator
from torch import Tensor

from prosa.config import Settings

Ties = Literal["drop", "davidson", "rao_kupper"]


class LossSettings(Settings):
    """Which loss, and what is added to it."""

    kind: Literal["pairwise", "plackett_luce"] = "pairwise"
    # Of the pairwise loss; Plackett-Luce has its own way with ties.
    ties: Ties = "davidson"
    # nu of Davidson, theta of Rao-Kupper; 0: learned, from where equal scores tie one time in three.
    tie_parameter: float = Field(default=0.0, ge=0, le=1e6)
    margin: float = Field(default=0.0, ge=0, le=100)
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    centering: float = Field(default=0.01, ge=0, le=100)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "pairwise" and self.ties == "rao_kupper" and 0 < self.tie_parameter <= 1:
            raise ValueError("theta of rao_kupper must be greater than 1, or 0 to learn it")
        if self.kind == "plackett_luce" and (self.margin or self.label_smoothing):
            raise ValueError("margin and label_smoothing belong to the pairwise loss")
        return self

    @property
    def uses_ties(self) -> bool:
        """Whether a ranking in which all are equal teaches anything."""
        return self.kind == "plackett_luce" or self.ties != "drop"

    @property
    def learns_tie(self) -> bool:
        return self.kind == "pairwise" and self.ties != "drop" and self.tie_parameter == 0

    @property
    def tie_start(self) -> float:
        """The number kept in `RewardModel.tie`: ln nu, or ln(theta - 1)."""
        if self.tie_parameter == 0:
            return 0.0
        return math.log(self.tie_parameter - (self.ties == "rao_kupper"))


def ranking_loss(
    scores: Float[Tensor, "P K"], groups: Int[Tensor, "P K"], settings: LossSettings, tie: Float[Tensor, ""]
) -> Float[Tensor, " P"]:
    """The loss of each ranking, penalty included."""
    scores = scores.float()
    if settings.kind == "plackett_luce":
        losses = plackett_luce(scores, groups)
    else:
        losses = pairwise(
            scores,
            groups,
            ties=settings.ties,
            tie=tie,
            margin=settings.margin,
            label_smoothing=settings.label_smoothing,
        )
    return losses + settings.centering * centering(scores, groups) if settings.centering else losses


def pairwise(
    scores: Float[Tensor, "P K"],
    groups: Int[Tensor, "P K"],
    *,
    ties: Ties = "drop",
    tie: Float[Tensor, ""] | float = 0.0,
    margin: float = 0.0,
    label_smoothing: float = 0.0,
) -> Float[Tensor, " P"]:
    """Mean of -ln P over all pairs of a ranking: one element of the batch, whatever K (arXiv:2203.02155, eq. 1).

    margin: a pair whose groups lie g apart must differ by margin x g more (Llama 2, arXiv:2307.09288, eq. 2).
    label_smoothing: the share of pairs taken to be said the wrong way round. Pairs with ties="drop" are strict ones.
    A ranking without a pair that counts has loss 0.
    """
    difference = scores[:, :, None] - scores[:, None, :]  # P K K, score of i minus score of j
    gap, is_win, is_tie = compare_groups(groups)
    z = difference - margin * gap if margin else difference
    losses = -log_win(z, ties, tie)
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * log_win(-z, ties, tie)
    total = (losses * is_win).sum((1, 2))
    n_pairs = is_win.sum((1, 2))
    if ties != "drop":
        total = total - (log_tie(difference, ties, tie) * is_tie).sum((1, 2))
        n_pairs = n_pairs + is_tie.sum((1, 2))
    return total / n_pairs.clamp(min=1)


def plackett_luce(scores: Float[Tensor, "P K"], groups: Int[Tensor, "P K"]) -> Float[Tensor, " P"]:
    """Mean of -ln P over the choices of a ranking, which are one fewer than its answers; of two answers: Bradley-Terry.

    Of m tied answers the k-th is chosen (k = 0 ... m - 1) while k/m of each of them is thought gone, which is
    Efron's way with ties in the equal likelihood of survival times (JASA 72, 1977): ties draw scores together.
    Answers that are not ranked are never among those to choose from.
    """
    is_ranked = groups >= 0
    both = is_ranked[:, :, None] & is_ranked[:, None, :]
    is_left = both & (groups[:, None, :] >= groups[:, :, None])  # P K K: j is still there when i is chosen
    is_equal = both & (groups[:, None, :] == groups[:, :, None])
    left, equal = _logsumexp(scores, is_left), _logsumexp(scores, is_equal)
    before = is_equal.tril(-1).sum(2).to(scores.dtype) / is_equal.sum(2).clamp(min=1)
    choices = left + torch.log1p(-before * torch.exp(equal - left)) - scores
    return (choices * is_ranked).sum(1) / (is_ranked.sum(1) - 1).clamp(min=1)


def centering(scores: Float[Tensor, "P K"], groups: Int[Tensor, "P K"]) -> Float[Tensor, " P"]:
    """The square of a ranking's mean score: keeps scores near zero, which no order does (arXiv:2312.09244, eq. 2)."""
    is_ranked = groups >= 0
    mean = (scores * is_ranked).sum(1) / is_ranked.sum(1).clamp(min=1)
    return mean.square()


def agreement(scores: Float[Tensor, "P K"], groups: Int[Tensor, "P K"]) -> Float[Tensor, " P"]:
    """Share of the strict pairs of each ranking that the scores put in the same order; equal scores count half.

    A ranking without a strict pair counts half.
    """
    difference = scores[:, :, None] - scores[:, None, :]
    _, is_win, _ = compare_groups(groups)
    hits = ((difference.sign() + 1) / 2 * is_win).sum((1, 2))
    n_pairs = is_win.sum((1, 2))
    return torch.where(n_pairs > 0, hits / n_pairs.clamp(min=1), 0.5)


def compare_groups(
    groups: Int[Tensor, "P K"],
) -> tuple[Int[Tensor, "P K K"], Bool[Tensor, "P K K"], Bool[Tensor, "P K K"]]:
    """For all i, j: how many groups j lies behind i; whether i is better; whether i < j and they are tied."""
    is_ranked = groups >= 0
    both = is_ranked[:, :, None] & is_ranked[:, None, :]
    gap = groups[:, None, :] - groups[:, :, None]
    return gap, both & (gap > 0), (both & (gap == 0)).triu(1)


def log_win(difference: Float[Tensor, "*n"], ties: Ties, tie: Float[Tensor, ""] | float) -> Float[Tensor, "*n"]:
    """ln P(i before j), see the top of this file; `tie` is ln nu or ln(theta - 1)."""
    if ties == "davidson":
        return difference / 2 - _davidson_total(difference, tie)
    if ties == "rao_kupper":
        return F.logsigmoid(difference - _log_theta(difference, tie))
    return F.logsigmoid(difference)


def log_tie(difference: Float[Tensor, "*n"], ties: Ties, tie: Float[Tensor, ""] | float) -> Float[Tensor, "*n"]:
    """ln P(i and j are tied) for Davidson or Rao-Kupper."""
    if ties == "davidson":
        return tie - _davidson_total(difference, tie)
    assert ties == "rao_kupper", "only these two give a tie a probability"
    log_theta, t = _log_theta(difference, tie), _like(difference, tie)
    # theta^2 - 1 = (theta - 1) (theta + 1), and theta = 1 + e^t.
    scale = t + torch.logaddexp(t, torch.full_like(t, math.log(2)))
    return scale + F.logsigmoid(difference - log_theta) + F.logsigmoid(-difference - log_theta)


def _davidson_total(difference: Tensor, tie: Tensor | float) -> Tensor:
    return torch.logaddexp(torch.logaddexp(difference / 2, -difference / 2), _like(difference, tie))


def _log_theta(difference: Tensor, tie: Tensor | float) -> Tensor:
    return F.softplus(_like(difference, tie))


def _like(difference: Tensor, tie: Tensor | float) -> Tensor:
    return torch.as_tensor(tie, dtype=difference.dtype, device=difference.device)


def _logsumexp(scores: Float[Tensor, "P K"], is_in: Bool[Tensor, "P K K"]) -> Float[Tensor, "P K"]:
    """For each i the ln of the sum of e^s over its set; the score itself where the set is empty."""
    K = scores.shape[1]
    inside = is_in | (torch.eye(K, dtype=torch.bool, device=scores.device) & ~is_in.any(2, keepdim=True))
    return scores[:, None, :].expand(-1, K, -1).masked_fill(~inside, -torch.inf).logsumexp(2)
