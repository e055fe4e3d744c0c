"""The policy and its critic: what is likely to be written next, and what the answer will be worth in the end."""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from prosa.model import ModelSettings, Transformer
from prosa.reward import group_by_length
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

    def forward(self, ids: Int[Tensor, "B T"]) -> Float[Tensor, "B T"]:
        """The value of each position, in the units of the score."""
        hidden = self.trunk.hidden(ids)
        with torch.autocast(hidden.device.type, enabled=False):
            return F.linear(hidden.float(), self.value.weight)[..., 0]


class ActorCritic(nn.Module):
    """What is trained: the policy, and beside it the critic where the algorithm has one."""

    def __init__(self, policy: Transformer, critic: Critic | None) -> None:
        super().__init__()
        self.policy = policy
        self.critic = critic


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
    hidden = policy.hidden(ids)[is_written]  # N C
    logits = policy.unembed(hidden)[:, :vocab_size].float() / temperature
    normaliser = logits.logsumexp(-1)
    chosen = logits.gather(1, targets[is_written][:, None])[:, 0]
    with torch.no_grad():
        entropy = normaliser - (logits * (logits - normaliser[:, None]).exp()).sum(-1)
    return chosen - normaliser, entropy


def read_answers(policy: Transformer, answers: Sequence[Answer], *, temperature: float, vocab_size: int) -> Numbers:
    """Log-probability of every token of each answer, in nats."""

    def read(ids: Int[Tensor, "B T"], targets: Int[Tensor, "B T"]) -> Float[Tensor, " N"]:
        return read_tokens(policy, ids, targets, temperature=temperature, vocab_size=vocab_size)[0]

    return _read_each(read, answers, policy.unembedding.device)


def read_values(critic: Critic, answers: Sequence[Answer]) -> Numbers:
    """The critic's value before every token of each answer."""
    return _read_each(lambda ids, targets: critic(ids)[targets != -100], answers, critic.value.weight.device)


@torch.no_grad()
def _read_each(
    read: Callable[[Tensor, Tensor], Float[Tensor, " N"]], answers: Sequence[Answer], device: torch.device
) -> Numbers:
    """What `read` gives for the answers' tokens, row by row; answers of like length are read together."""
    found: Numbers = [[] for _ in answers]
    for group in group_by_length([answer.length for answer in answers], _BATCH_TOKENS):
        ids, targets = pad_answers([answers[i] for i in group])
        numbers = read(ids.to(device), targets.to(device)).cpu()
        for i, part in zip(group, torch.split(numbers, [len(answers[i].ids) for i in group]), strict=True):
            found[i] = part.tolist()
    return found


def pad_answers(answers: Sequence[Answer]) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Ids of prompts and answers without each last one, and the ids that follow where they are an answer's, else -100.

    Rows begin at position 0 and are padded on the right, as when they were written: a token has one position.
    """
    T = max(answer.length for answer in answers) - 1
    ids = torch.zeros(len(answers), T, dtype=torch.long)
    targets = torch.full((len(answers), T), -100)
    for number, answer in enumerate(answers):
        row, n = (*answer.prompt.ids, *answer.ids), len(answer.prompt.ids)
        ids[number, : len(row) - 1] = torch.tensor(row[:-1])
        targets[number, n - 1 : len(row) - 1] = torch.tensor(row[n:])
    return ids, targets
