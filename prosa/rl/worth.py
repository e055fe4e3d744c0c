"""What an answer is worth, a plain function from answers to numbers: a reward model, a town's checker, your own."""

import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosa.corpus.world import World
from prosa.errors import ConfigError, DataError
from prosa.reward import RewardFunction
from prosa.rl.rollouts import Answer
from prosa.tokenizer import Tokenizer

Worth = Callable[[Sequence[Answer]], Sequence[float]]
# Conversations and answers -> a number for each answer.
UserReward = Callable[[Sequence[Sequence[Mapping[str, str]]], Sequence[str]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Reward:
    """What training follows, what it is watched by, and what both are made from.

    reload: the reward loaded anew from where it is kept; trunk: a reward model for the critic to start from.
    """

    worth: Worth
    gold: Worth | None
    inputs: dict[str, str]
    trunk: RewardFunction | None = None
    reload: Callable[[], Worth] | None = None


def worth_by_model(reward: RewardFunction, tokenizer: Tokenizer) -> Worth:
    """The reward model's score, read from the answer's own ids at its end; a cut answer is read as if it ended there.

    Raises TokenizerError if the reward model was trained with another tokenizer.
    """
    context_length = reward.model.settings.context_length

    def worth(answers: Sequence[Answer]) -> list[float]:
        rows, starts = [], []
        for answer in answers:
            ids = (*answer.prompt.ids, *answer.ids)
            # Ends are all the same to a reward model, which has only ever read one of them.
            ids = (*ids[:-1], tokenizer.im_end_id) if answer.is_ended else (*ids, tokenizer.im_end_id)
            n_cut = max(0, len(ids) - context_length)
            rows.append(ids[n_cut:])
            starts.append(max(0, len(answer.prompt.ids) - n_cut))
        return reward.score_ids(rows, starts)

    return worth


def worth_by_town(town: World) -> Worth:
    """What the answer to a task of the town is really worth (`World.gold_reward`)."""

    def worth(answers: Sequence[Answer]) -> list[float]:
        tasks = [town.task(answer.prompt.prompt.task_id) for answer in answers]
        return [
            town.gold_reward(task, answer.text.strip(), is_ended=answer.is_ended)
            for task, answer in zip(tasks, answers, strict=True)
        ]

    return worth


def worth_by_function(function: UserReward) -> Worth:
    """A function of conversations and the texts of their answers; its errors are told as they are."""
    name = getattr(function, "__name__", "reward")

    def worth(answers: Sequence[Answer]) -> list[float]:
        conversations = [list(answer.prompt.prompt.messages) for answer in answers]
        try:
            return [float(value) for value in function(conversations, [answer.text for answer in answers])]
        except Exception as error:
            raise DataError(f"the reward function `{name}` raised {type(error).__name__}: {error}") from error

    return worth


def load_function(where: str) -> UserReward:
    """The function of `file.py:name`, which is run as it stands."""
    path, _, name = where.rpartition(":")
    spec = importlib.util.spec_from_file_location(Path(path).stem, path)
    if not Path(path).is_file() or spec is None or spec.loader is None:
        raise ConfigError(f"`{where}`: there is no Python file `{path}`", hint="give for example `rewards.py:kindness`")
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    function = getattr(module, name, None)
    if not callable(function):
        raise ConfigError(f"`{path}` has no function `{name}`")
    return function  # type: ignore[no-any-return]


def ask_worth(worth: Worth, answers: Sequence[Answer]) -> list[float]:
    """`worth(answers)`; DataError, naming the first, if it is not one finite number for each."""
    values = list(worth(answers))
    if len(values) != len(answers):
        raise DataError(f"the reward gave {len(values)} numbers for {len(answers)} answers")
    bad = [number for number, value in enumerate(values) if not math.isfinite(value)]
    if bad:
        answer = answers[bad[0]]
        raise DataError(
            f"the reward of {len(bad)} of {len(answers)} answers is not finite, the first is {values[bad[0]]} for "
            f"{answer.text[:80]!r} to {answer.prompt.prompt.messages[-1]['content'][:80]!r}",
            hint="make the reward a finite number for every text, the empty one too",
        )
    return values


def open_reward_model(folder: Path, tokenizer: Tokenizer, gold: Worth | None, inputs: dict[str, str]) -> Reward:
    """The reward model of a folder as the reward; TokenizerError if it was trained with another tokenizer."""
    reward = RewardFunction.load(folder, tokenizer=tokenizer)
    return Reward(
        worth=worth_by_model(reward, tokenizer),
        gold=gold,
        inputs=inputs,
        trunk=reward,
        reload=lambda: worth_by_model(RewardFunction.load(folder, tokenizer=tokenizer), tokenizer),
    )
