"""Muon for the matrices inside the blocks, AdamW for embeddings, head, norms and biases.

A gradient step in a matrix is most useful when all its directions move alike; Muon therefore replaces the momentum
by the nearest orthogonal matrix. Sources: Jordan et al. 2024, Muon: an optimizer for hidden layers (with the
max(1, rows/columns)^0.5 scale); Amsel et al. 2025, The Polar Express (arXiv:2505.16932), for the polynomials that
make a matrix orthogonal; Zhang et al. 2026, Muon+ (arXiv:2602.21545), for the equal lengths after it; Loshchilov &
Hutter 2019, Decoupled Weight Decay Regularization (arXiv:1711.05101), algorithm 2, for AdamW.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.adamw import adamw

from prosa.config import Settings
from prosa.errors import CheckpointError

# (a, b, c) of a x + b x^3 + c x^5: three polynomials that in a row bring singular values of 0.01 to 1 near to 1, to
# 0.71..1.29. Each is the best approximation of 1 on what the one before leaves, and a fiftieth beyond, as bfloat16
# rounds: the paper's theorem 4.1, with room of our own. A test holds the coefficients to it.
_POLYNOMIALS = ((8.0934, -23.6204, 17.4462), (3.5779, -2.5779, 0.4886), (2.6461, -1.9024, 0.4183))
_HEADROOM = 1.02


class OptimizerSettings(Settings):
    """Peak learning rates and their companions; the schedule multiplies both rates by the same factor.

    A matrix_learning_rate of 0 leaves the matrices to AdamW too.
    """

    matrix_learning_rate: float = 0.02
    learning_rate: float = 3e-3
    matrix_momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.95
    epsilon: float = 1e-10
    weight_decay: float = 0.01
    gradient_clip: float = 1.0


class _Moments(NamedTuple):
    """A parameter with AdamW's running means of its gradient and of the gradient's square, and its steps so far."""

    parameter: Tensor
    exp_avg: Tensor
    exp_avg_sq: Tensor
    step: Tensor


class MuonAdamW:
    """Both optimizers over one model; its whole state is a flat dict of named tensors.

    dtype: of the products with which Muon makes directions orthogonal; bfloat16 is enough where it is fast.
    """

    def __init__(self, model: nn.Module, settings: OptimizerSettings, dtype: torch.dtype = torch.float32) -> None:
        self.settings, self.dtype = settings, dtype
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        has_muon = settings.matrix_learning_rate > 0
        self.matrices = {name: p for name, p in trained.items() if has_muon and _is_block_matrix(name, p)}
        # The function, as torch's class imports the compiler: more than a second of every start.
        self._others = {
            name: _Moments(p, torch.zeros_like(p), torch.zeros_like(p), torch.zeros((), device=p.device))
            for name, p in trained.items()
            if name not in self.matrices
        }
        self._groups = _group_by_shape(self.matrices)
        # One stacked tensor per shape, so that a step is a few large operations rather than many small ones.
        self._momentum = [
            torch.zeros(len(names), *self.matrices[names[0]].shape, device=self.matrices[names[0]].device)
            for names in self._groups
        ]

    @torch.no_grad()
    def step(self, factor: float) -> None:
        """One update with both peak learning rates times `factor`; gradients stand in `.grad`."""
        self._step_others(self.settings.learning_rate * factor)
        for names, momentum in zip(self._groups, self._momentum, strict=True):
            self._step_matrices([self.matrices[name] for name in names], momentum, factor)

    def _step_others(self, rate: float) -> None:
        moved = [moments for moments in self._others.values() if moments.parameter.grad is not None]
        adamw(
            [one.parameter for one in moved],
            [one.parameter.grad for one in moved if one.parameter.grad is not None],
            [one.exp_avg for one in moved],
            [one.exp_avg_sq for one in moved],
            [],
            [one.step for one in moved],
            fused=True,
            amsgrad=False,
            beta1=self.settings.beta1,
            beta2=self.settings.beta2,
            lr=rate,
            weight_decay=0.0,
            eps=self.settings.epsilon,
            maximize=False,
        )

    def _step_matrices(self, parameters: list[Tensor], momentum: Float[Tensor, "N R C"], factor: float) -> None:
        rate, beta = self.settings.matrix_learning_rate * factor, self.settings.matrix_momentum
        gradients = torch.stack([p.grad for p in parameters if p.grad is not None])
        assert len(gradients) == len(parameters), "a block matrix got no gradient"
        momentum.lerp_(gradients, 1 - beta)
        directions = even_out(orthogonalize(gradients.lerp_(momentum, beta), self.dtype).float())
        rows, columns = parameters[0].shape
        scale = max(1.0, rows / columns) ** 0.5
        torch._foreach_mul_(parameters, 1 - rate * self.settings.weight_decay)
        torch._foreach_add_(parameters, list(directions), alpha=-rate * scale)

    def state_tensors(self) -> dict[str, Tensor]:
        """All state by name: `muon.momentum.NAME`, `adamw.{exp_avg,exp_avg_sq,step}.NAME`."""
        stacks = zip(self._groups, self._momentum, strict=True)
        momentum = {
            f"muon.momentum.{name}": one for names, stack in stacks for name, one in zip(names, stack, strict=True)
        }
        moments = {
            f"adamw.{key}.{name}": getattr(one, key)
            for name, one in self._others.items()
            for key in ("exp_avg", "exp_avg_sq", "step")
        }
        return momentum | moments

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Takes back what `state_tensors` gave; CheckpointError when names or shapes are another model's."""
        for name, value in self.state_tensors().items():
            saved = tensors.get(name)
            if saved is None or saved.shape != value.shape:
                raise CheckpointError(f"the optimizer state `{name}` is missing or of another shape")
            value.copy_(saved)


def orthogonalize(matrices: Float[Tensor, "N R C"], dtype: torch.dtype = torch.float32) -> Float[Tensor, "N R C"]:
    """The orthogonal factor of each matrix, roughly, by three polynomials in `dtype` (Amsel et al. 2025)."""
    is_tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if is_tall else matrices).to(dtype)
    gram = x @ x.mT
    # The norm of the gram matrix bounds the square of the largest singular value more tightly than that of the matrix
    # does, so that small ones are not made smaller than need be.
    bound = _HEADROOM * gram.float().norm(dim=(-2, -1), keepdim=True) + 1e-14
    x, gram = (x * bound.rsqrt()).to(dtype), (gram / bound).to(dtype)
    for number, (a, b, c) in enumerate(_POLYNOMIALS):
        gram = x @ x.mT if number else gram
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        x = torch.baddbmm(x, polynomial, x, beta=a)
    return x.mT if is_tall else x


def even_out(directions: Float[Tensor, "N R C"]) -> Float[Tensor, "N R C"]:
    """Each matrix with rows of equal length, or with columns where there are more of them; its norm stays.

    An orthogonal matrix moves the more of the two unequally: some neurons far, some hardly.
    """
    rows, columns = directions.shape[-2:]
    lengths: Tensor = torch.linalg.vector_norm(directions, dim=-1 if rows >= columns else -2, keepdim=True)
    mean = lengths.square().mean(dim=(-2, -1), keepdim=True).sqrt()
    return directions * (mean / lengths.clamp_min(1e-10))


def gradient_norm(model: nn.Module) -> float:
    """The L2 norm over all gradients; inf or nan when any of them is."""
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    return float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))


def _is_block_matrix(name: str, parameter: Tensor) -> bool:
    return parameter.ndim == 2 and ".layers." in name


def _group_by_shape(matrices: Mapping[str, Tensor]) -> list[list[str]]:
    groups: dict[tuple[int, ...], list[str]] = {}
    for name, matrix in matrices.items():
        groups.setdefault(tuple(matrix.shape), []).append(name)
    return list(groups.values())
