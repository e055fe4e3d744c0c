"""The policy and its critic: what is likely to be written next, and what the answer will be worth in the end."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from prosa.model import ModelSettings, Transformer, group_by_length, plant, read_trees, read_where
from prosa.rl.rollouts import Answer

# Positions computed at once where nothing is trained.
_BATCH_TOKENS = 16_384
# One for each token of each answer.
Numbers = list[list[float]]


class Critic(nn.Module):
    """A trunk and a head that is read at every position: the score to be expected from there on."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        settings = settings.model_copy(update={"ties_embeddings": True, "dropout": 0.0})
        self.trunk = Transformer(settings)
        self.value = nn.Linear(settings.d_model, 1, bias=False)

    def forward(self, ids: Int[Tensor, "B T"], is_written: Bool[Tensor, "B T"]) -> Float[Tensor, " N"]:
        """The value of each position before a written token, row by row, in the units of the score."""
        return self.judge(read_where(self.trunk, ids, is_written))

    def judge(self, hidden: Float[Tensor, "N C"]) -> Float[Tensor, " N"]:
        """The head, always in float32."""
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.float(), self.value.weight)[:, 0]


class ActorCritic(nn.Module):
    """What is trained: the policy, and beside it the critic where the algorithm has one."""

    def __init__(self, policy: Transformer, critic: Critic | None) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic


def start_policy(model: Transformer) -> Transformer:
    """A copy without dropout, which would make a log-probability a random number."""
    policy = Transformer(model.settings.model_copy(update={"dropout": 0.0}))
    policy.load_state_dict(model.state_dict())
    return policy


def start_critic(trunk: Transformer, head: Float[Tensor, " C"] | None) -> Critic:
    """A critic on a copy of `trunk`, its head a reward model's (Huang et al. 2024, arXiv:2403.17031) or 0."""
    critic = Critic(trunk.settings)
    critic.trunk.model.load_state_dict(trunk.model.state_dict())
    with torch.no_grad():
        critic.value.weight.zero_()
        if head is not None:
            critic.value.weight[0].copy_(head)
    return critic


def read_tokens(
    policy: Transformer,
    ids: Int[Tensor, "B T"],
    targets: Int[Tensor, "B T"],
    *,
    temperature: float,
    vocab_size: int,
) -> tuple[Float[Tensor, " N"], Float[Tensor, " N"]]:
    """Log-probability of each target that is not -100, row by row, and the entropy of what it was drawn from; nats.

    Only those positions meet the vocabulary. The entropy has no gradient.
    """
    is_written = targets != -100
    logits = policy.unembed(read_where(policy, ids, is_written))[:, :vocab_size].float() / temperature
    normaliser = logits.logsumexp(-1)
    chosen = logits.gather(1, targets[is_written][:, None])[:, 0]
    with torch.no_grad():
        entropy = normaliser - (logits * (logits - normaliser[:, None]).exp()).sum(-1)
    return chosen - normaliser, entropy


def read_answers(policy: Transformer, answers: Sequence[Answer], *, temperature: float, vocab_size: int) -> Numbers:
    """Log-probability of every token of each answer, in nats."""

    def judge(hidden: Float[Tensor, "N C"], drawn: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        logits = policy.unembed(hidden)[:, :vocab_size].float() / temperature
        return logits.gather(1, drawn[:, None])[:, 0] - logits.logsumexp(-1)

    return _read_each(policy, judge, answers)


def read_values(critic: Critic, answers: Sequence[Answer], dtype: torch.dtype = torch.float32) -> Numbers:
    """The critic's value before every token of each answer; `dtype` is that of the matrix products."""
    kind = critic.value.weight.device.type
    with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
        return _read_each(critic.trunk, lambda hidden, drawn: critic.judge(hidden), answers)


@torch.no_grad()
def _read_each(
    trunk: Transformer, judge: Callable[[Tensor, Tensor], Float[Tensor, " N"]], answers: Sequence[Answer]
) -> Numbers:
    """What `judge` makes of the vectors before the answers' tokens; rows of like length are read together."""
    found: Numbers = [[] for _ in answers]
    trees = plant([answer.read for answer in answers], [len(answer.prompt.ids) - 1 for answer in answers])
    for group in group_by_length([len(tree.ids) for tree in trees], _BATCH_TOKENS):
        numbers = [number for place in group for number in trees[place].texts]
        hidden = read_trees(trunk, [trees[place] for place in group])
        drawn = torch.tensor([id for number in numbers for id in answers[number].ids], device=hidden.device)
        parts = torch.split(judge(hidden, drawn).cpu(), [len(answers[number].ids) for number in numbers])
        for number, part in zip(numbers, parts, strict=True):
            found[number] = part.tolist()
    return found


def pad_answers(answers: Sequence[Answer]) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Ids of prompts and answers without each last one, and the ids that follow where they are an answer's, else -100.

    Rows begin at position 0 and are padded on the right, as when they were written: a token has one position.
    """
    T = max(len(answer.read) for answer in answers)
    ids = torch.zeros(len(answers), T, dtype=torch.long)
    targets = torch.full((len(answers), T), -100)
    for number, answer in enumerate(answers):
        n, end = len(answer.prompt.ids), len(answer.read)
        ids[number, :end] = torch.tensor(answer.read)
        targets[number, n - 1 : end] = torch.tensor(answer.ids)
    return ids, targets
