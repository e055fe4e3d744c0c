"""The loss where everything can be written out: few tokens, all answers, gradients by finite differences."""

from collections.abc import Callable
from itertools import product

import pytest
import torch
from torch import Tensor

from prosa.model import Transformer
from prosa.rl import ActorCritic, RlBatch, RlSettings, clip_gain, estimate_advantages, loss, read_tokens, start_critic
from tests.model.tiny import randomise, tiny_settings

torch.set_num_threads(1)

V, PROMPT = 5, [1, 2, 3]


def tiny_policy(seed: int = 0) -> Transformer:
    model = Transformer(tiny_settings(vocab_size=V, context_length=16))
    randomise(model, seed)
    return model


def worth(answer: tuple[int, ...]) -> float:
    return [0.3, -1.0, 2.0, 0.0, 0.7][answer[0]] * (1 + answer[-1])


def all_answers(n_tokens: int) -> list[tuple[int, ...]]:
    return list(product(range(V), repeat=n_tokens))


def logprobs_of(policy: Transformer, answers: list[tuple[int, ...]]) -> Tensor:
    """A row for each answer, a column for each of its tokens: one whole softmax at a time."""
    rows = []
    for answer in answers:
        logits = policy(torch.tensor([[*PROMPT, *answer]]))[0].log_softmax(-1)
        rows.append(torch.stack([logits[len(PROMPT) - 1 + i, token] for i, token in enumerate(answer)]))
    return torch.stack(rows)


def expected_worth(policy: Transformer, n_tokens: int) -> Tensor:
    answers = all_answers(n_tokens)
    return (logprobs_of(policy, answers).sum(1).exp() * torch.tensor([worth(one) for one in answers])).sum()


def every_answer(policy: Transformer, n_tokens: int, advantages: Callable[[Tensor, Tensor, Tensor], Tensor]) -> RlBatch:
    """All answers at once, each weighted by its probability, so that sums over the batch are exact expectations."""
    answers = all_answers(n_tokens)
    with torch.no_grad():
        old = logprobs_of(policy, answers)
    shape = (len(answers), len(PROMPT) + n_tokens - 1)
    targets = torch.full(shape, -100)
    targets[:, len(PROMPT) - 1 :] = torch.tensor(answers)
    mask = (targets != -100).float()
    logprobs, rewards = torch.zeros(shape), torch.zeros(shape)
    logprobs[:, len(PROMPT) - 1 :] = old
    rewards[:, -1] = torch.tensor([worth(one) for one in answers])
    weights = mask * old.sum(1).exp()[:, None]
    zeros = torch.zeros(shape)
    returns = rewards.flip(1).cumsum(1).flip(1) * mask
    return RlBatch(
        ids=torch.tensor([[*PROMPT, *one] for one in answers])[:, :-1],
        targets=targets,
        logprobs=logprobs,
        reference_logprobs=logprobs,
        values=zeros,
        advantages=advantages(rewards, zeros, mask),
        returns=returns,
        weights=weights,
        value_weights=weights,
        counts=mask.sum(1),
        kl_prices=torch.zeros(len(answers)),
        kept_ids=targets[:, :0],
        kept_targets=targets[:, :0],
        kept_weights=torch.zeros(len(answers)),
    )


def returns_as_advantages(rewards: Tensor, values: Tensor, mask: Tensor) -> Tensor:
    return estimate_advantages(rewards, values, mask, smoothing=1.0)


@pytest.mark.parametrize("n_tokens", [1, 2])
def test_the_gradient_is_that_of_the_expected_reward(n_tokens: int) -> None:
    policy = tiny_policy()
    batch = every_answer(policy, n_tokens, returns_as_advantages)
    total, metrics = loss(ActorCritic(policy, None), batch, settings=RlSettings(), vocab_size=V)
    total.backward()
    assert float(metrics["clipped"]) == 0
    assert float(metrics["step_kl"].detach()) == pytest.approx(0, abs=1e-9)
    found = {name: one.grad.clone() for name, one in policy.named_parameters() if one.grad is not None}
    policy.zero_grad()
    (-expected_worth(policy, n_tokens)).backward()
    for name, parameter in policy.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-5)
    # Along the gradient itself, what really happens to the expected reward.
    length = torch.stack([gradient.square().sum() for gradient in found.values()]).sum().sqrt()
    ends = []
    for step in (1e-3, -1e-3):
        moved = tiny_policy()
        with torch.no_grad():
            for name, parameter in moved.named_parameters():
                parameter -= step * found[name] / length
            ends.append(float(expected_worth(moved, n_tokens)))
    assert (ends[0] - ends[1]) / 2e-3 == pytest.approx(float(length), rel=1e-3)


def test_the_critic_learns_what_to_expect() -> None:
    policy = tiny_policy()
    batch = every_answer(policy, 2, returns_as_advantages)
    critic = start_critic(policy, None)
    model = ActorCritic(policy.requires_grad_(False), critic)
    optimizer = torch.optim.Adam(critic.parameters(), lr=1e-2)
    settings = RlSettings(value_clip=1e9)
    for _ in range(300):
        optimizer.zero_grad()
        total, _ = loss(model, batch, settings=settings, vocab_size=V)
        total.backward()
        optimizer.step()
    answers = all_answers(2)
    chances = logprobs_of(policy, answers).detach()
    worths = torch.tensor([worth(one) for one in answers])
    values = critic(batch.ids, batch.targets != -100).detach().view(-1, 2)  # one column for each token
    assert float(values[0, 0]) == pytest.approx(float((chances.sum(1).exp() * worths).sum()), abs=0.05)
    for first in range(V):
        rows = [i for i, one in enumerate(answers) if one[0] == first]
        expected = float((chances[rows, 1].exp() * worths[rows]).sum())
        assert float(values[rows[0], 1]) == pytest.approx(expected, abs=0.15)


def test_gains_are_clipped_where_the_update_went_too_far() -> None:
    ratio = torch.tensor([0.5, 0.9, 1.5, 0.5, 1.1, 5.0])
    advantage = torch.tensor([1.0, 1.0, 1.0, -1.0, -1.0, -1.0])
    assert clip_gain(ratio, advantage, RlSettings()).tolist() == pytest.approx([0.5, 0.9, 1.2, -0.8, -1.1, -5.0])
    higher = RlSettings(ratio_clip_high=0.4, dual_clip=3)
    assert clip_gain(ratio, advantage, higher).tolist() == pytest.approx([0.5, 0.9, 1.4, -0.8, -1.1, -3.0])


def test_read_tokens_is_a_softmax() -> None:
    policy = tiny_policy(3)
    ids = torch.tensor([[0, 1, 2, 3], [4, 3, 2, 1]])
    targets = torch.tensor([[-100, 2, 3, -100], [-100, -100, 1, 0]])
    logprobs, entropy = read_tokens(policy, ids, targets, temperature=0.7, vocab_size=V)
    whole = (policy(ids) / 0.7).log_softmax(-1)
    expected = [whole[0, 1, 2], whole[0, 2, 3], whole[1, 2, 1], whole[1, 3, 0]]
    torch.testing.assert_close(logprobs, torch.stack(expected))
    rows = torch.stack([whole[0, 1], whole[0, 2], whole[1, 2], whole[1, 3]])
    torch.testing.assert_close(entropy, -(rows.exp() * rows).sum(-1).detach())
