"""A byte-level policy of some ten thousand parameters, and a reward that likes the letter x."""

from collections.abc import Sequence
from pathlib import Path

import torch

from prosa.preferences import Prompt
from prosa.rl import Answer, Reward, RlSettings
from prosa.tokenizer import Tokenizer
from tests.reward.tiny import TOKENIZER, write_trunk

torch.set_num_threads(1)
PROMPTS = [Prompt(({"role": "user", "content": letter * 3},)) for letter in "abcdefgh"]

__all__ = ["PROMPTS", "TOKENIZER", "count_x", "open_reward", "settings", "write_trunk"]


def count_x(answers: Sequence[Answer]) -> list[float]:
    """How many of an answer's tokens are small letters from m to z: easy to find by chance, easy to get better at."""
    return [sum(109 <= id <= 122 for id in answer.ids) / 2 - 1 for answer in answers]


def open_reward(tokenizer: Tokenizer) -> Reward:
    return Reward(count_x, count_x, {"reward": "letters"})


def settings(**changes: object) -> RlSettings:
    """Quick and exact."""
    quick: dict[str, object] = {
        "prompts_per_step": 16, "answers_per_prompt": 4, "minibatches": 2, "max_new_tokens": 6, "steps": 16,
        "learning_rate": 2e-2, "device": "cpu", "threads": 1, "unended_penalty": 0.0, "kl_coefficient": 0.01,
        "critic_warmup": 1, "update_epochs": 2, "dtype": "float32",
    }  # fmt: skip
    return RlSettings(**quick | changes)  # type: ignore[arg-type]


def start_policy(folder: Path, seed: int = 0) -> Path:
    return write_trunk(folder, seed)
