"""Several heads on one trunk: where they disagree, the reward model has not been taught.

The scores of all heads come in; one careful score, or the disagreement itself, goes out.
"""

from typing import Literal

from jaxtyping import Float
from torch import Tensor

Combine = Literal["mean", "worst", "cautious"]


def disagreement(scores: Float[Tensor, "N H"]) -> Float[Tensor, " N"]:
    """Standard deviation over the heads; 0 where there is only one."""
    return scores.std(1, correction=0)


def combine_heads(scores: Float[Tensor, "N H"], how: Combine = "mean", *, caution: float = 1.0) -> Float[Tensor, " N"]:
    """One score of many: their mean, the lowest, or the mean minus `caution` times their variance.

    Coste et al. 2023, Reward Model Ensembles Help Mitigate Overoptimization (arXiv:2310.02743), section 4.1.
    """
    if how == "worst":
        return scores.amin(1)
    if how == "cautious":
        return scores.mean(1) - caution * scores.var(1, correction=0)
    return scores.mean(1)
