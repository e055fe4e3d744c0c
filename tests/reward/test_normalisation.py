"""Mean 0 and standard deviation 1 without a bias, and what that costs elsewhere."""

import pytest
import torch

from prosa.errors import DataError
from prosa.reward import encode_answers, normalise, read_features
from prosa.reward.normalisation import constant_direction
from tests.reward.tiny import TOKENIZER, rank_by_letter, reward_model


def features_of(model: object, n: int, seed: int) -> torch.Tensor:
    rows = [
        row
        for one in rank_by_letter(n, seed=seed)
        for row in (encode_answers(TOKENIZER, one.messages, one.answers, 96) or ([], 0))[0]
    ]
    return read_features(model, rows)  # type: ignore[arg-type]


@pytest.mark.parametrize("n_members", [1, 4])
def test_scores_of_the_reference_have_mean_0_and_standard_deviation_1(n_members: int) -> None:
    model = reward_model(n_members=n_members)
    with torch.no_grad():
        model.score.weight.mul_(7).add_(0.02)
    features = features_of(model, 100, seed=1)
    before = model.judge(features).detach().mean(1).double()
    found = normalise(model, features)
    after = model.judge(features).detach().double()
    assert found.n == 400 and found.mean == pytest.approx(float(before.mean()), rel=1e-4)
    assert found.std == pytest.approx(float(before.std(correction=0)), rel=1e-4)
    assert after.mean(0).abs().max() < 1e-4
    assert float(after.mean(1).std(correction=0)) == pytest.approx(1, abs=1e-4)


def test_what_it_does_to_differences_elsewhere_is_what_it_says() -> None:
    """On answers it never saw, a normalised score is the old one less the mean, over the spread, within the error."""
    model = reward_model()
    features, elsewhere = features_of(model, 100, seed=1), features_of(model, 100, seed=2)
    before = model.judge(elsewhere).detach()[:, 0].double()
    found = normalise(model, features)
    after = model.judge(elsewhere).detach()[:, 0].double()
    wanted = (before - found.mean) / found.std
    change = after - wanted
    assert float(change.std()) < 2 * found.offset_error + 1e-3
    assert float(torch.corrcoef(torch.stack([after, wanted]))[0, 1]) > 0.95


def test_the_constant_direction_of_constant_features_is_exact() -> None:
    constant = torch.randn(8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    direction = constant_direction(constant.expand(5, 8))
    assert float(direction @ constant) == pytest.approx(1)


def test_too_few_or_equal_samples_are_refused() -> None:
    model = reward_model()
    with pytest.raises(DataError, match="fewer than two"):
        normalise(model, torch.ones(1, 64))
    with pytest.raises(DataError, match="the same score"):
        normalise(model, torch.ones(9, 64))
