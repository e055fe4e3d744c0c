"""Scores get a fixed meaning: mean 0 and standard deviation 1 on samples of the reference policy.

Features of those samples come in; the head's own weights are changed, so every program that opens the folder sees the
same scores. Ziegler et al. 2019 (arXiv:1909.08593), section 2.1.
"""

from dataclasses import asdict, dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from prosa.errors import DataError
from prosa.reward.model import RewardModel

# Of the mean square of a feature: enough that a few hundred samples determine the direction below.
_RIDGE = 1e-3


@dataclass(frozen=True, slots=True)
class Normalisation:
    """What the scores of `n` reference samples were before, and the `scale` they were divided by without their mean.

    offset_error: what removing the mean did besides, the root mean square change of a normalised score on samples that
    the direction was not fitted to.
    """

    n: int
    mean: float
    std: float
    scale: float
    offset_error: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def normalise(model: RewardModel, features: Float[Tensor, "N C"]) -> Normalisation:
    """Changes the heads so that the mean score over `features` is 0 and its standard deviation 1.

    Sequence classifiers have no bias. The mean is therefore taken off along the direction u in which all features are
    most nearly equal: mean(u f) = 1 exactly, with the least mean square of u f - 1 (ridge regression of a constant).
    Raises DataError when there are fewer than two samples or all get the same score.
    """
    if len(features) < 2:
        raise DataError("scores cannot be normalised on fewer than two samples", hint="sample more answers")
    f = features.double()
    weights = model.score.weight.detach().double().cpu()
    means = (f @ weights.T).mean(0)  # H
    std = float((f @ weights.mean(0)).std(correction=0))
    weights = weights - means[:, None] * constant_direction(f)
    scale = float((f @ weights.mean(0)).std(correction=0))
    if not scale > 1e-9:
        raise DataError("the reward model gives every reference sample the same score", hint="train it longer")
    with torch.no_grad():
        model.score.weight.copy_(weights / scale)
    mean = float(means.mean())
    return Normalisation(len(f), mean, std, scale, _spread_elsewhere(f) * abs(mean) / scale)


def constant_direction(features: Float[Tensor, "N C"]) -> Float[Tensor, " C"]:
    """The direction u with mean(u f) = 1 along which the features vary least."""
    C = features.shape[1]
    moment = features.T @ features / len(features)
    ridge = _RIDGE * moment.trace() / C * torch.eye(C, dtype=features.dtype)
    mean = features.mean(0)
    direction: Tensor = torch.linalg.solve(moment + ridge, mean)
    return direction / (direction @ mean)


def _spread_elsewhere(features: Float[Tensor, "N C"]) -> float:
    """Standard deviation of u f on each half of the samples, u from the other half."""
    halves = features[::2], features[1::2]
    spreads = [(b @ constant_direction(a)).std(correction=0) for a, b in (halves, halves[::-1])]
    return float(torch.stack(spreads).square().mean().sqrt())
