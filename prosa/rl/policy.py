"""The policy and its critic: what is likely to be written next, and what the answer will be worth in the end."""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from prosa.errors import ModelFileRefused
from prosa.model import ModelSettings, Transformer

# Positions computed at once where nothing is trained.
_BATCH_TOKENS = 16_384


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


@torch.no_grad()
def read_rows(
    policy: Transformer, rows: Sequence[Sequence[int]], n_prompt: Sequence[int], *, temperature: float, vocab_size: int
) -> list[list[float]]:
    """Log-probability of every token after each row's prompt, rows of like length together."""
    found: list[list[float]] = [[] for _ in rows]
    for group in group_by_length([len(row) for row in rows]):
        ids, targets = pad_rows([rows[i] for i in group], [n_prompt[i] for i in group])
        device = policy.unembedding.device
        logprobs, _ = read_tokens(
            policy, ids.to(device), targets.to(device), temperature=temperature, vocab_size=vocab_size
        )
        ends = [len(rows[i]) - n_prompt[i] for i in group]
        for i, part in zip(group, torch.split(logprobs.cpu(), ends), strict=True):
            found[i] = part.tolist()
    return found


@torch.no_grad()
def read_values(critic: Critic, rows: Sequence[Sequence[int]], n_prompt: Sequence[int]) -> list[list[float]]:
    """The critic's value before every token after each row's prompt."""
    found: list[list[float]] = [[] for _ in rows]
    for group in group_by_length([len(row) for row in rows]):
        ids, targets = pad_rows([rows[i] for i in group], [n_prompt[i] for i in group])
        values = critic(ids.to(critic.value.weight.device)).cpu()[targets != -100]
        ends = [len(rows[i]) - n_prompt[i] for i in group]
        for i, part in zip(group, torch.split(values, ends), strict=True):
            found[i] = part.tolist()
    return found


def pad_rows(
    rows: Sequence[Sequence[int]], n_prompt: Sequence[int], pad_id: int = 0
) -> tuple[Int[Tensor, "B T"], Int[Tensor, "B T"]]:
    """Ids without each row's last one, and the ids that follow where they are an answer's, -100 elsewhere.

    Rows begin at position 0 and are padded on the right, as when they were written: a token has one position.
    """
    T = max(map(len, rows)) - 1
    ids = torch.full((len(rows), T), pad_id)
    targets = torch.full((len(rows), T), -100)
    for number, (row, n) in enumerate(zip(rows, n_prompt, strict=True)):
        ids[number, : len(row) - 1] = torch.tensor(row[:-1])
        targets[number, n - 1 : len(row) - 1] = torch.tensor(row[n:])
    return ids, targets


def group_by_length(lengths: Sequence[int], batch_tokens: int = _BATCH_TOKENS) -> Iterator[list[int]]:
    """Row numbers from the shortest to the longest, in groups of at most `batch_tokens` after padding."""
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if group and (len(group) + 1) * lengths[row] > batch_tokens:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def check_critic(critic: Critic, policy: Transformer) -> None:
    """ModelFileRefused for a critic that cannot read what the policy writes."""
    if critic.trunk.settings.vocab_size < policy.settings.vocab_size:
        raise ModelFileRefused("the critic knows fewer tokens than the policy", hint="they belong to different runs")
