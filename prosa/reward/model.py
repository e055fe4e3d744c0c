"""A trunk and a head: a conversation's ids come in, one number for how good its last answer is comes out.

The trunk is a language model's decoder; the head is a linear map read at the last real token of each row, the
`<|im_end|>` that ends the answer. Rows are padded on the right, where causal attention keeps padding out of sight.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from prosa.device import torch_stream
from prosa.model import ModelSettings, Transformer, Tree, group_by_length, plant, read_trees

# Tokens computed at once where nothing is trained.
_BATCH_TOKENS = 16_384


class RewardModel(nn.Module):
    """Scores of the last answers; with several heads on the one trunk, the score is the mean of theirs.

    `score.weight` has a row for each head and no bias, as in transformers' sequence classifiers. `tie` is the
    parameter of the tie models in `prosa.reward.losses`, frozen unless it is learned.
    """

    def __init__(self, settings: ModelSettings, n_members: int = 1) -> None:
        super().__init__()
        # Nothing is written, so there is no matrix over the vocabulary; and dropout would make a score a random number.
        self.settings = settings.model_copy(update={"ties_embeddings": True, "dropout": 0.0})
        self.trunk = Transformer(self.settings)
        self.score = nn.Linear(settings.d_model, n_members, bias=False)
        self.tie = nn.Parameter(torch.zeros(()), requires_grad=False)

    @property
    def n_members(self) -> int:
        return self.score.out_features

    def forward(self, ids: Int[Tensor, "N T"], last: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
        """The score of each row, read at position `last` of it."""
        return self.head_scores(ids, last).mean(1)

    def head_scores(self, ids: Int[Tensor, "N T"], last: Int[Tensor, " N"]) -> Float[Tensor, "N H"]:
        """What each head says of each row."""
        return self.judge(self.features(ids, last))

    def features(self, ids: Int[Tensor, "N T"], last: Int[Tensor, " N"]) -> Float[Tensor, "N C"]:
        """The trunk's vector after its final norm at position `last` of each row."""
        hidden = self.trunk.hidden(ids[:, : int(last.max()) + 1])
        return hidden[torch.arange(len(last), device=ids.device), last]

    def branch_features(self, texts: Sequence[Sequence[int]], starts: Sequence[int]) -> Float[Tensor, "N C"]:
        """The same at the end of each text, of which neighbours share what stands before `starts`."""
        return _read_ends(self.trunk, plant(texts, starts))

    def judge(self, features: Float[Tensor, "N C"]) -> Float[Tensor, "N H"]:
        """The heads, always in float32: differences of scores are small beside the scores."""
        with torch.autocast(features.device.type, enabled=False):
            return F.linear(features.float(), self.score.weight)


def start_reward_model(trunk: Transformer, *, n_members: int = 1, seed: int = 0) -> RewardModel:
    """A reward model on a copy of `trunk`, its heads N(0, 1 / (d_model + 1)), each from its own stream.

    The standard deviation is that of Stiennon et al. 2020 (arXiv:2009.01325), appendix B.1.
    """
    model = RewardModel(trunk.settings, n_members)
    model.trunk.model.load_state_dict(trunk.model.state_dict())
    std = 1 / math.sqrt(trunk.settings.d_model + 1)
    with torch.no_grad():
        for head, row in enumerate(model.score.weight):
            row.copy_(std * torch.randn(row.shape, generator=torch_stream(seed, "reward head", head)))
    return model


@torch.no_grad()
def read_features(
    model: RewardModel,
    sequences: Sequence[Sequence[int]],
    *,
    starts: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    batch_tokens: int = _BATCH_TOKENS,
) -> Float[Tensor, "N C"]:
    """`RewardModel.features` at the end of each sequence, in float32 on the CPU, those of like length together.

    starts: where answers begin, so that neighbours with the same prompt share it; batch_tokens: positions computed at
    once, padding included; dtype: of the matrix products.
    """
    kind = model.score.weight.device.type
    features = torch.empty(len(sequences), model.settings.d_model)
    trees = plant(sequences, starts or [0] * len(sequences))
    for group in group_by_length([len(tree.ids) for tree in trees], batch_tokens):
        chosen = [trees[place] for place in group]
        numbers = [number for tree in chosen for number in tree.texts]
        with torch.autocast(kind, dtype, enabled=dtype != torch.float32):
            features[numbers] = _read_ends(model.trunk, chosen).float().cpu()
    return features


def _read_ends(trunk: Transformer, trees: Sequence[Tree]) -> Float[Tensor, "N C"]:
    """The vector at each branch's end."""
    ends = torch.tensor([n for tree in trees for n in tree.lengths]).cumsum(0) - 1
    return read_trees(trunk, trees)[ends]


def pad_rows(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[Int[Tensor, "N T"], Int[Tensor, " N"]]:
    """Rows of ids padded on the right to the longest, and the position of each one's last id."""
    last = torch.tensor([len(row) - 1 for row in rows])
    ids = torch.full((len(rows), int(last.max()) + 1), pad_id)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = torch.tensor(row)
    return ids, last
