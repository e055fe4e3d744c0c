import math

import pytest
import torch
from torch import nn

from prosa.errors import CheckpointError
from prosa.training import MuonAdamW, OptimizerSettings, optimizers, orthogonalize


class Tiny(nn.Module):
    """Names as in the Transformer, so that the optimizer finds its matrices."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.ModuleDict({"layers": nn.ModuleList([nn.Linear(8, 6), nn.Linear(6, 8)])})
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        for layer in self.model["layers"]:
            x = torch.tanh(layer(x))
        return self.head(x)


def train(model, optimizer, n_steps, first=0):
    for step in range(first, first + n_steps):
        generator = torch.Generator().manual_seed(step)
        x = torch.randn(16, 8, generator=generator)
        loss = (model(x) - x[:, :3]).square().mean()
        loss.backward()
        optimizer.step(1.0)
        model.zero_grad()
    return float(loss.detach())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 24, 8), (2, 8, 24)])
def test_orthogonalize_keeps_directions_and_levels_singular_values(shape, dtype):
    """Against the singular value decomposition: U S V' becomes nearly U V'."""
    generator = torch.Generator().manual_seed(1)
    matrices = torch.randn(shape, generator=generator)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    found = orthogonalize(matrices, dtype)
    assert found.dtype == dtype
    found = found.float()
    values = torch.linalg.svdvals(found)
    assert values.min() > 0.5 and values.max() < 1.4
    cosine = (found * (u @ vh)).sum((-2, -1)) / found.norm(dim=(-2, -1)) / (u @ vh).norm(dim=(-2, -1))
    assert cosine.min() > 0.97


def test_each_polynomial_is_the_best_there_is_for_what_the_one_before_leaves():
    """Chebyshev's condition: the error is equally large, with signs in turns, at both ends and between."""
    low, high = 0.01, 1.0
    for a, b, c in optimizers._POLYNOMIALS:
        # Where the derivative a + 3 b x^2 + 5 c x^4 is 0.
        root = math.sqrt(9 * b * b - 20 * a * c)
        inside = (math.sqrt((-3 * b + sign * root) / (10 * c)) for sign in (-1, 1))
        values = [a * x + b * x**3 + c * x**5 for x in (low, *inside, high)]
        error = 1 - values[0]
        assert values == pytest.approx([1 - error, 1 + error, 1 - error, 1 + error], abs=2e-3)
        low, high = 1 - error, 1.02 * (1 + error)
    assert 0.71 < low < 0.72


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_singular_values_of_a_hundredth_of_the_largest_come_near_to_one(dtype):
    generator = torch.Generator().manual_seed(2)
    left, right = (torch.linalg.qr(torch.randn(2, 256, 256, generator=generator))[0] for _ in range(2))
    few = torch.zeros(256)
    few[:4] = torch.tensor([1.0, 0.3, 0.05, 0.012])
    many = torch.logspace(-1, 0, 256)
    found = orthogonalize(left @ torch.diag_embed(torch.stack([few, many])) @ right, dtype).float()
    values = torch.linalg.svdvals(found)
    assert values[0, 3] > 0.65 and values[1, -1] > 0.65
    assert values.max() < 1.35 and values[0, 4] < 0.1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_matrix_without_direction_stays_nothing_and_one_of_rank_one_does_not_grow(dtype):
    assert not orthogonalize(torch.zeros(1, 8, 16), dtype).any()
    column, row = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(0))
    found = orthogonalize((column.mT @ row)[None] * 1e-3, dtype)
    assert 0.7 < found.float().norm() < 1.3


@pytest.mark.parametrize(("shape", "axis"), [((2, 24, 8), -1), ((2, 8, 8), -1), ((2, 8, 24), -2)])
def test_evened_out_rows_or_columns_are_of_equal_length_and_the_norm_stays(shape, axis):
    directions = orthogonalize(torch.randn(shape, generator=torch.Generator().manual_seed(1)))
    found = optimizers.even_out(directions)
    lengths = found.norm(dim=axis)
    torch.testing.assert_close(lengths, lengths.mean(dim=-1, keepdim=True).expand_as(lengths))
    torch.testing.assert_close(found.norm(dim=(-2, -1)), directions.norm(dim=(-2, -1)))
    torch.testing.assert_close(nn.functional.normalize(found, dim=axis), nn.functional.normalize(directions, dim=axis))


def test_what_has_no_gradient_is_not_moved_by_evening_out():
    directions = torch.randn(1, 4, 3, generator=torch.Generator().manual_seed(1))
    directions[0, 2] = 0
    found = optimizers.even_out(directions)
    assert not found[0, 2].any() and found.isfinite().all()
    assert not optimizers.even_out(torch.zeros(1, 4, 3)).any()


def test_without_a_rate_for_matrices_everything_is_torchs_adamw():
    ours, theirs = Tiny(), Tiny()
    settings = OptimizerSettings(matrix_learning_rate=0.0, learning_rate=0.01)
    reference = torch.optim.AdamW(
        theirs.parameters(), lr=0.01, betas=(settings.beta1, settings.beta2), eps=settings.epsilon, weight_decay=0.0,
    )  # fmt: skip
    optimizer = MuonAdamW(ours, settings)
    for step in range(5):
        x = torch.randn(16, 8, generator=torch.Generator().manual_seed(step))
        for model in (ours, theirs):
            (model(x) - x[:, :3]).square().mean().backward()
        optimizer.step(1.0)
        reference.step()
        ours.zero_grad()
        theirs.zero_grad()
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other)


def test_muon_step_equals_formula():
    model = Tiny()
    settings = OptimizerSettings(matrix_learning_rate=0.1, weight_decay=0.5, matrix_momentum=0.9)
    weight = model.model["layers"][0].weight
    before = weight.detach().clone()
    optimizer = MuonAdamW(model, settings)
    x = torch.randn(16, 8, generator=torch.Generator().manual_seed(3))
    (model(x) - x[:, :3]).square().mean().backward()
    gradient = weight.grad.clone()
    optimizer.step(0.5)
    momentum = 0.1 * gradient
    nesterov = 0.9 * momentum + 0.1 * gradient
    direction = orthogonalize(nesterov[None])[0]
    columns = direction.square().sum(0)  # six rows of eight: columns come to one length
    direction = direction * (columns.mean() / columns).sqrt()
    expected = before * (1 - 0.05 * 0.5) - 0.05 * direction * max(1, 6 / 8) ** 0.5
    torch.testing.assert_close(weight.detach(), expected)


def test_the_loss_falls():
    model = Tiny()
    optimizer = MuonAdamW(model, OptimizerSettings(matrix_learning_rate=0.02, learning_rate=0.01))
    first = train(model, optimizer, 1)
    assert train(model, optimizer, 200, first=1) < first / 4


def test_state_goes_through_tensors_bit_for_bit():
    straight, stopped, resumed = Tiny(), Tiny(), Tiny()
    settings = OptimizerSettings()
    train(straight, MuonAdamW(straight, settings), 10)
    optimizer = MuonAdamW(stopped, settings)
    train(stopped, optimizer, 4)
    resumed.load_state_dict(stopped.state_dict())
    fresh = MuonAdamW(resumed, settings)
    fresh.load_state_tensors({name: tensor.clone() for name, tensor in optimizer.state_tensors().items()})
    train(resumed, fresh, 6, first=4)
    for one, two in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, two)


def test_state_of_another_model_is_refused():
    optimizer = MuonAdamW(Tiny(), OptimizerSettings())
    with pytest.raises(CheckpointError, match="missing or of another shape"):
        optimizer.load_state_tensors({})
