"""Advantages against the definition written out, closed forms and properties."""

import math

import pytest
import torch
from torch import Tensor

from prosa.rl import compare_in_groups, estimate_advantages, estimate_kl, last_positions, reward_tokens, whiten


def ragged(seed: int, B: int = 5, T: int = 9) -> tuple[Tensor, Tensor, Tensor]:
    """Rewards, values and masks of answers that begin and end at different places; what is outside is rubbish."""
    stream = torch.Generator().manual_seed(seed)
    rewards, values = torch.randn(2, B, T, generator=stream)
    mask = torch.zeros(B, T)
    for row in range(B):
        first = int(torch.randint(0, T - 1, (), generator=stream))
        last = int(torch.randint(first + 1, T + 1, (), generator=stream))
        mask[row, first:last] = 1
    return rewards, values, mask


@pytest.mark.parametrize(("discount", "smoothing"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.99, 0.0)])
def test_advantages_are_the_double_sum(discount: float, smoothing: float) -> None:
    rewards, values, mask = ragged(0)
    found = estimate_advantages(rewards, values, mask, discount=discount, smoothing=smoothing)
    for row in range(len(mask)):
        places = mask[row].nonzero()[:, 0].tolist()
        r, v = rewards[row, places].tolist(), [*values[row, places].tolist(), 0.0]
        deltas = [r[t] + discount * v[t + 1] - v[t] for t in range(len(r))]
        for t, place in enumerate(places):
            expected = sum((discount * smoothing) ** (u - t) * deltas[u] for u in range(t, len(r)))
            assert float(found[row, place]) == pytest.approx(expected, abs=1e-5)
    assert (found * (1 - mask) == 0).all()


def test_what_is_outside_of_an_answer_does_not_matter() -> None:
    rewards, values, mask = ragged(1)
    other = torch.where(mask == 0, torch.tensor(1e6), values)
    assert torch.equal(estimate_advantages(rewards, values, mask), estimate_advantages(rewards, other, mask))


def test_without_smoothing_the_return_is_what_follows() -> None:
    rewards, values, mask = ragged(2)
    returns = estimate_advantages(rewards, values, mask, smoothing=1.0) + values * mask
    following = (rewards * mask).flip(1).cumsum(1).flip(1) * mask
    torch.testing.assert_close(returns, following, atol=1e-5, rtol=0)


def test_kl_estimators_have_the_right_mean() -> None:
    p, q = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.2, 0.6])
    exact = float((p * (p / q).log()).sum())
    logprobs, references = p.log(), q.log()
    assert float((p * estimate_kl(logprobs, references, "k1")).sum()) == pytest.approx(exact)
    assert float((p * estimate_kl(logprobs, references, "k3")).sum()) == pytest.approx(exact)
    assert (estimate_kl(logprobs, references, "k3") >= 0).all()
    assert estimate_kl(logprobs, references, "k2").tolist() == pytest.approx(
        [math.log(a / b) ** 2 / 2 for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    )


def test_k2_as_a_loss_has_the_gradient_of_the_divergence() -> None:
    logits = torch.tensor([0.3, -0.2, 0.9], requires_grad=True)
    reference = torch.tensor([0.5, 0.3, 0.2]).log()
    logprobs = logits.log_softmax(0)
    p = logprobs.exp().detach()
    [exact] = torch.autograd.grad((logprobs.exp() * (logprobs - reference)).sum(), logits, retain_graph=True)
    [drawn] = torch.autograd.grad((p * estimate_kl(logprobs, reference, "k2")).sum(), logits)
    torch.testing.assert_close(drawn, exact)


def test_the_score_comes_at_the_last_token() -> None:
    mask = torch.tensor([[0.0, 1, 1, 0], [0, 0, 1, 1]])
    kl = torch.tensor([[9.0, 1, 2, 9], [9, 9, 0.5, -1]])
    rewards = reward_tokens(torch.tensor([10.0, -3.0]), kl, mask, 0.1)
    assert last_positions(mask).tolist() == [2, 3]
    torch.testing.assert_close(rewards, torch.tensor([[0, -0.1, 9.8, 0], [0, 0, -0.05, -2.9]]))


def test_answers_are_compared_with_each_other() -> None:
    scores = torch.tensor([[1.0, 2.0, 6.0], [4.0, 4.0, 4.0]])
    assert compare_in_groups(scores, "dr_grpo").tolist() == [[-2, -1, 3], [0, 0, 0]]
    assert compare_in_groups(scores, "rloo").tolist() == [[1 - 4, 2 - 3.5, 6 - 1.5], [0, 0, 0]]
    std = math.sqrt((4 + 1 + 9) / 2)
    assert compare_in_groups(scores, "grpo")[0].tolist() == pytest.approx([-2 / std, -1 / std, 3 / std], rel=1e-3)
    assert compare_in_groups(scores, "grpo")[1].tolist() == [0, 0, 0]


def test_whitening_counts_only_what_was_written() -> None:
    values, _, mask = ragged(3)
    found = whiten(torch.where(mask == 0, torch.tensor(1e4), values), mask)
    inside = found[mask == 1]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-6)
    assert float(inside.std(correction=0)) == pytest.approx(1, abs=1e-5)
    assert (found[mask == 0] == 0).all()
