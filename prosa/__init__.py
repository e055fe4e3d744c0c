"""Prosa takes a language model through its whole life, from text that people wrote to a model that writes.

>>> import prosa
>>> llm = prosa.load("runs/vila")
>>> llm.generate("Era uma vez", max_new_tokens=80)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Literal

    from prosa.generate import LanguageModel
    from prosa.reward import RewardFunction

__version__ = "0.1.0"
__all__ = ["load", "load_reward"]


def load(path: str | Path, *, dtype: Literal["float32", "bfloat16"] = "float32") -> LanguageModel:
    """The model of a run, a stage, a checkpoint or any Hugging Face folder; torch is imported here, not before."""
    from prosa.generate import load as load_model

    return load_model(path, dtype=dtype)


def load_reward(path: str | Path) -> RewardFunction:
    """The reward model of a run, a reward stage or its model folder: `load_reward(...).score(prompt, answer)`."""
    from prosa.reward import load_reward as load_reward_model

    return load_reward_model(path)
