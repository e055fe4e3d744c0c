"""A byte-level trunk of some ten thousand parameters, and annotators who like the letter x."""

from pathlib import Path

import torch

from prosa.model import ModelSettings, Transformer, init_weights, save_model
from prosa.preferences import RankedAnswers, Ranking
from prosa.reward import LossSettings, RewardModel, RewardSettings, start_reward_model
from prosa.streams import python_stream
from prosa.tokenizer import Tokenizer
from tests.model.tiny import randomise, tiny_settings

torch.set_num_threads(1)

TOKENIZER = Tokenizer([])
TRUNK = ModelSettings(
    vocab_size=260, n_layer=2, d_model=32, n_head=1, n_kv_head=1, d_head=32, d_ff=64, context_length=96, dropout=0.1
)


def write_trunk(folder: Path, seed: int = 0) -> Path:
    """A model folder as pre-training leaves it, of a model that has learned nothing."""
    model = Transformer(TRUNK)
    init_weights(model, seed)
    save_model(folder, model, TOKENIZER)
    return folder


def reward_model(seed: int = 0, n_members: int = 1, **changes: object) -> RewardModel:
    """Random in every parameter, so that a wrong use of any of them shows."""
    trunk = Transformer(tiny_settings(**{"vocab_size": 260, "context_length": 96, **changes}))
    randomise(trunk, seed)
    return start_reward_model(trunk, n_members=n_members, seed=seed).eval()


def rank_by_letter(
    n: int, *, seed: int = 0, K: int = 4, letter: str = "x", flips: float = 0.0, name: str = "p"
) -> list[RankedAnswers]:
    """Answers of random letters, the more of `letter` the better, equal numbers tied; a share in random order."""
    chance = python_stream(seed, "rank by letter")
    ranked = []
    for number in range(n):
        answers = []
        for _ in range(K):
            share = chance.random()
            length = chance.randint(6, 18)
            answers.append(
                "".join(letter if chance.random() < share else chance.choice("abcde ") for _ in range(length))
            )
        ranks: list[float | None] = [-answer.count(letter) / len(answer) for answer in answers]
        if chance.random() < flips:
            ranks = [chance.random() for _ in answers]
        ranking = Ranking.from_ranks(ranks)
        ranked.append(RankedAnswers.make([{"role": "user", "content": f"{name}{number}"}], answers, ranking))
    return ranked


def settings(**changes: object) -> RewardSettings:
    """Quick and exact."""
    quick: dict[str, object] = {
        "batch_size": 16, "learning_rate": 3e-3, "dtype": "float32", "device": "cpu", "threads": 1, "epochs": 4,
        "loss": LossSettings(),
    }  # fmt: skip
    return RewardSettings(**quick | changes)  # type: ignore[arg-type]
