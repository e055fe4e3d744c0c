"""How much better was each token than expected: scores of whole answers come in, advantages of their tokens go out.

B answers   T positions   P prompts   K answers to each
mask          1 where the token after a position was written by the policy
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

KlEstimator = Literal["k1", "k2", "k3"]
GroupAdvantage = Literal["grpo", "dr_grpo", "rloo"]

# Of a standard deviation of rewards; the same in GRPO's public implementations.
_EPSILON = 1e-4


def estimate_kl(
    logprobs: Float[Tensor, "*n"], reference_logprobs: Float[Tensor, "*n"], how: KlEstimator = "k1"
) -> Float[Tensor, "*n"]:
    """An estimate, in nats, of KL(policy || reference) from each token that the policy drew.

    With d = logprob - reference_logprob: k1 is d (unbiased, of either sign), k2 is d^2 / 2 (small variance, biased),
    k3 is exp(-d) - 1 + d (unbiased, never negative). Schulman 2020, Approximating KL Divergence. As a loss, k2 has the
    gradient that k1 in the reward has, k3 has not (Tang & Munos 2025, arXiv:2506.09477).
    """
    d = logprobs - reference_logprobs
    if how == "k1":
        return d
    if how == "k2":
        return d.square() / 2
    return torch.expm1(-d) + d


def reward_tokens(
    scores: Float[Tensor, " B"], kl: Float[Tensor, "B T"], mask: Float[Tensor, "B T"], kl_coefficient: float
) -> Float[Tensor, "B T"]:
    """Each token's reward: minus its KL times the coefficient, and the answer's score at its last token.

    Ziegler et al. 2019 (arXiv:1909.08593), section 2.2.
    """
    rewards = -kl_coefficient * kl * mask
    rewards[torch.arange(len(scores)), last_positions(mask)] += scores
    return rewards


def last_positions(mask: Float[Tensor, "B T"]) -> Tensor:
    """The position before each answer's last token."""
    positions = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (positions * mask).argmax(1)


def estimate_advantages(
    rewards: Float[Tensor, "B T"],
    values: Float[Tensor, "B T"],
    mask: Float[Tensor, "B T"],
    *,
    discount: float = 1.0,
    smoothing: float = 0.95,
) -> Float[Tensor, "B T"]:
    """Generalised advantage estimation: A_t = delta_t + discount smoothing A_t+1, delta_t = r_t + discount V_t+1 - V_t.

    After the last token of an answer the value is 0; positions outside of it get 0. Schulman et al. 2015
    (arXiv:1506.02438), equation 16; discount is its gamma, smoothing its lambda.
    """
    advantages = torch.zeros_like(rewards)
    following_value = following_advantage = torch.zeros_like(rewards[:, 0])
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + discount * following_value - values[:, t]
        # What lies outside of the answer leaves no trace in the recursion.
        following_advantage = (delta + discount * smoothing * following_advantage) * mask[:, t]
        following_value = values[:, t] * mask[:, t]
        advantages[:, t] = following_advantage
    return advantages


def compare_in_groups(scores: Float[Tensor, "P K"], how: GroupAdvantage) -> Float[Tensor, "P K"]:
    """Each answer's score beside those of the other answers to its prompt.

    grpo: minus the group's mean, over its standard deviation (Shao et al. 2024, arXiv:2402.03300, section 4.1.2).
    dr_grpo: minus the mean only, so that easy and hard prompts count alike (Liu et al. 2025, arXiv:2503.20783).
    rloo: minus the mean of the others (Ahmadian et al. 2024, arXiv:2402.14740, equation 7).
    """
    K = scores.shape[1]
    centred = scores - scores.mean(1, keepdim=True)
    if how == "grpo":
        return centred / (scores.std(1, keepdim=True) + _EPSILON)
    return centred * K / (K - 1) if how == "rloo" else centred


def whiten(values: Float[Tensor, "B T"], mask: Float[Tensor, "B T"]) -> Float[Tensor, "B T"]:
    """Mean 0 and standard deviation 1 over the positions of the mask; 0 elsewhere."""
    n = mask.sum().clamp(min=1)
    centred = (values - (values * mask).sum() / n) * mask
    std = (centred.square().sum() / n).sqrt()
    return centred / (std + 1e-8)
