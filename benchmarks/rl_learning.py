"""What reinforcement learning does to a policy whose answers have a known worth, over several seeds.

Experiments E8 (does the worth rise), E9 (over-optimisation and its stop), E10 (ways of learning side by side), E11
(what breaks when a detail is left out) and E13 (a second round of rankings), each against marks set beforehand.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.measure import make_parser, read_words, say, spread, write_result
from benchmarks.rl_letters import LetterTown
from prosa.errors import ProsaError
from prosa.streams import numpy_stream

_RANKINGS = 400
_KL_TARGET = 3.0
_BETAS = (0.0, 0.02, 0.05, 0.1)
# Layers and width of the reward model's trunk, beside that of the policy itself.
_OTHER_TRUNKS = {"smaller": (1, 32), "larger": (3, 128)}
_GROUPS = {"prompts_per_step": 32, "answers_per_prompt": 8}
_WAYS: dict[str, dict[str, Any]] = {
    "ppo": {"algorithm": "ppo"},
    "rloo": {"algorithm": "rloo"},
    "grpo": {"algorithm": "grpo"},
    "dr_grpo": {"algorithm": "grpo", "advantage": "dr_grpo", "averaging": "constant"},
}


def raise_worth(town: LetterTown, reward: Path, steps: int) -> dict[str, Any]:
    """E8: PPO with an adapted price of KL."""
    course = town.improve("e8", reward, steps=steps, kl_target=_KL_TARGET, kl_horizon=1000)
    return {
        "before": asdict(town.measure(town.start, reward)),
        "after": asdict(town.measure(town.folder / "e8" / "model", reward)),
        "kl_at_the_end": course["last"]["kl"],
        "course": course_of(course["history"], "kl", "reward", "gold"),
    }


def over_optimise(town: LetterTown, reward: Path, rankings: Sequence[Any], steps: int) -> dict[str, Any]:
    """E9: the same with less and less of a price, and at none with smaller and larger reward models."""
    found = {f"beta {beta}": watch(town, f"e9-{beta}", reward, steps, beta) for beta in _BETAS}
    for name, (n_layer, width) in _OTHER_TRUNKS.items():
        trunk = town.fine_tune(name, n_layer=n_layer, width=width)
        other = town.train_reward(f"reward-{name}", rankings, trunk)
        found[f"beta 0, {name}"] = watch(town, f"e9-{name}", other, steps, 0.0)
    return found


def watch(town: LetterTown, name: str, reward: Path, steps: int, beta: float) -> dict[str, Any]:
    """A course to its end, where the truth was highest, and where the detector would have ended it."""
    from prosa.rl.watch import WINDOW, find_peak, reason_to_stop

    history = town.improve(name, reward, steps=steps, kl_coefficient=beta)["history"]
    stopped = len(history)
    for end in range(1, len(history) + 1):
        if reason_to_stop(history[:end], patience=8):
            stopped = end
            break
    peak, kept = find_peak(history), find_peak(history[:stopped])
    assert peak is not None and kept is not None
    last = history[-WINDOW:]
    return {
        "first": {key: history[0][key] for key in ("reward", "gold")},
        "last": {key: sum(one[key] for one in last) / WINDOW for key in ("reward", "gold", "kl")},
        "peak": asdict(peak),
        "kept": asdict(kept),
        "stopped_at": stopped,
        "course": course_of(history, "kl", "reward", "gold"),
    }


def course_of(history: Sequence[dict[str, Any]], *keys: str) -> list[list[float]]:
    return [[round(one[key], 4) for key in keys] for one in history]


def compare_ways(town: LetterTown, reward: Path, rankings: Sequence[Any], steps: int) -> dict[str, Any]:
    """E10: one reward model or its rankings, five ways to learn from them; beside the worth what it cost."""
    found: dict[str, Any] = {}
    for name, settings in _WAYS.items():
        shape = {} if name == "ppo" else _GROUPS
        course = timed(partial(town.improve, f"e10-{name}", reward, steps=steps, **shape, **settings))
        history = course["result"]["history"]
        found[name] = {"seconds": course["seconds"], "course": course_of(history, "kl", "gold")}
    found["dpo"] = {"seconds": timed(partial(town.learn_directly, "e10-dpo", rankings))["seconds"]}
    found["best of 16"] = {"seconds": timed(partial(town.imitate_best, "e10-best of 16", reward))["seconds"]}
    for name, way in found.items():
        way |= asdict(town.measure(town.folder / f"e10-{name}" / "model", reward))
    return found


def timed(run: Callable[[], Any]) -> dict[str, Any]:
    """The result, and the processor's seconds on one thread, whatever else the machine does."""
    started = time.process_time()
    result = run()
    return {"result": result, "seconds": time.process_time() - started}


def break_it(town: LetterTown, reward: Path, steps: int) -> dict[str, Any]:
    """E11: one detail left out at a time; each must be refused or cost something."""
    found: dict[str, Any] = {}
    for name, broken in {"sound": None, **_BROKEN}.items():
        try:
            with broken() if broken else nullcontext():
                # Few answers at once, so that a mean of each part is not the mean of all.
                course = town.improve(f"e11-{name}", reward, steps=steps, micro_batch=4, **_CHANGED.get(name, {}))
        except ProsaError as error:
            found[name] = {"refused": f"{type(error).__name__}: {error}"}
            continue
        measured = asdict(town.measure(town.folder / f"e11-{name}" / "model"))
        explained = [one["explained_variance"] for one in course["history"]]
        found[name] = {**measured, "explained_variance": sum(explained) / len(explained)}
    return found


@contextmanager
def no_whitening() -> Iterator[None]:
    with patch("prosa.rl.experience.whiten", lambda advantages, mask: advantages):
        yield


@contextmanager
def padding_is_the_end() -> Iterator[None]:
    from prosa.tokenizer import Tokenizer

    is_end = property(lambda self: self.im_end_id, lambda self, value: None)
    with patch.object(Tokenizer, "pad_id", is_end, create=True):
        yield


@contextmanager
def shifted_positions() -> Iterator[None]:
    """Updates read an answer three positions behind where it was written."""
    from prosa.model import branches

    plant = branches.plant

    def shift(texts: Sequence[Sequence[int]], starts: Sequence[int]) -> list[branches.Tree]:
        trees = plant(texts, starts)
        for tree in trees:
            first = min(tree.own, default=0)
            tree.positions[first:] = [place + 3 for place in tree.positions[first:]]
        return trees

    with patch.object(branches, "plant", shift):
        yield


@contextmanager
def mean_of_parts() -> Iterator[None]:
    """The loss as a mean over each micro-batch's own tokens, and then over micro-batches."""
    from prosa.rl import train

    sound = train.loss

    def loss(model: Any, batch: Any, **named: Any) -> Any:
        total, metrics = sound(model, batch, **named)
        # Fine-tuned answers have 16 tokens on average.
        return total * (16 * len(batch.ids) / max(1.0, batch.n_targets)), metrics

    with patch("prosa.rl.train.loss", loss):
        yield


def shuffle_scores(worth: Any) -> Any:
    def shuffled(answers: Sequence[Any]) -> list[float]:
        scores = worth(answers)
        return [scores[place] for place in numpy_stream(len(answers[0].text), "shuffle").permutation(len(scores))]

    return shuffled


_BROKEN: dict[str, Any] = {
    "padding is the end token": padding_is_the_end,
    "other positions in updates": shifted_positions,
    "scores of other answers": None,
    "no penalty for no end": None,
    "advantages not whitened": no_whitening,
    "a mean of each micro-batch": mean_of_parts,
    "no warm-up of the critic": None,
}
_CHANGED: dict[str, dict[str, Any]] = {
    "scores of other answers": {"change": shuffle_scores},
    "no penalty for no end": {"unended_penalty": 0.0},
    "no warm-up of the critic": {"critic_warmup": 0},
}


def second_round(town: LetterTown, reward: Path, rankings: Sequence[Any], steps: int) -> dict[str, Any]:
    """E13: answers of the improved policy are ranked too, and a new reward model improves it again."""
    from prosa.reward import RewardFunction, report_card

    first = town.folder / "e8" / "model"
    fresh = town.rank(first, _RANKINGS, 2)
    again = town.train_reward("reward-2", [*rankings, *fresh])
    held_out = town.rank(first, 200, 3)
    shares = {}
    for name, model in (("first", reward), ("second", again)):
        score = RewardFunction.load(model)
        rows = [score([one.messages] * len(one.answers), list(one.answers)) for one in held_out]
        shares[name] = report_card(held_out, rows).to_json()["accuracy"]["share"]
    town.improve("e13", again, start=first, steps=steps, kl_coefficient=0.1)
    return {
        "accuracy": shares,
        "before": asdict(town.measure(first)),
        "after": asdict(town.measure(town.folder / "e13" / "model")),
    }


def run_seed(seed: int, folder: Path, steps: int, rankings: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(1)
    town = LetterTown(folder / str(seed), seed)
    ranked = town.rank(town.start, rankings, 1)
    reward = town.train_reward("reward", ranked)
    found = {
        "seed": seed,
        "E8": raise_worth(town, reward, steps),
        "E13": second_round(town, reward, ranked, steps // 2),
        "E10": compare_ways(town, reward, ranked, steps),
        "E11": break_it(town, reward, steps // 2),
        "E9": over_optimise(town, reward, ranked, steps + steps // 3),
    }
    say(f"seed {seed}: {json.dumps(found['E8']['before'])} -> {json.dumps(found['E8']['after'])}")
    return found


def judge(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Every mark with its values, one for each seed, and whether all of them reach it."""

    def mark(values: Sequence[float], is_met: Callable[[float], bool]) -> dict[str, Any]:
        return {"values": spread(values), "is_met": all(map(is_met, values))}

    def rise(found: dict[str, Any]) -> float:
        return float((found["after"]["gold"] - found["before"]["gold"]) / found["before"]["gold_sd"])

    def last_and_peak(run: dict[str, Any], name: str) -> float:
        return float(run["E9"][name]["last"]["gold"] - run["E9"][name]["peak"]["gold"])

    e8 = [run["E8"] for run in runs]
    free = [run["E9"]["beta 0.0"] for run in runs]
    return {
        "E8: rise of the true worth, in standard deviations (at least 1)": mark(
            [rise(one) for one in e8], lambda v: v >= 1
        ),
        "E8: KL at the end over its target (0.8 to 1.2)": mark(
            [one["kl_at_the_end"] / _KL_TARGET for one in e8], lambda v: 0.8 <= v <= 1.2
        ),
        "E8: answers that end (at least 0.95)": mark([one["after"]["ended"] for one in e8], lambda v: v >= 0.95),
        "E8: distinct-2 over that before (at least 0.9)": mark(
            [one["after"]["distinct_2"] / one["before"]["distinct_2"] for one in e8], lambda v: v >= 0.9
        ),
        "E9: without a price the truth ends below its peak (less than 0)": mark(
            [last_and_peak(run, "beta 0.0") for run in runs], lambda v: v < 0
        ),
        "E9: the reward rises all the same (more than 0)": mark(
            [one["last"]["reward"] - one["peak"]["reward"] for one in free], lambda v: v > 0
        ),
        "E9: worth kept by the stop over that of the peak (at least 0.9)": mark(
            [one["kept"]["gold"] / one["peak"]["gold"] for one in free], lambda v: v >= 0.9
        ),
        "E9: the larger reward model's peak is later, in steps (more than 0)": mark(
            [
                run["E9"]["beta 0, larger"]["peak"]["step"] - run["E9"]["beta 0, smaller"]["peak"]["step"]
                for run in runs
            ],
            lambda v: v > 0,
        ),
        "E13: accuracy gained on the improved policy's answers (more than 0)": mark(
            [run["E13"]["accuracy"]["second"] - run["E13"]["accuracy"]["first"] for run in runs], lambda v: v > 0
        ),
        "E13: the true worth rises again, in standard deviations (more than 0)": mark(
            [rise(run["E13"]) for run in runs], lambda v: v > 0
        ),
    }  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("rl_learning", __doc__)
    parser.set_defaults(seeds=4)
    parser.add_argument("--jobs", type=int, default=2, help="seeds at once, one thread each (default: 2)")
    chosen = read_words(parser, argv)
    n, steps, rankings = (1, 9, 40) if chosen.smoke else (chosen.seeds, 60, _RANKINGS)
    with (
        tempfile.TemporaryDirectory() as folder,
        ProcessPoolExecutor(chosen.jobs, mp_context=get_context("spawn")) as pool,
    ):
        runs = list(pool.map(partial(run_seed, folder=Path(folder), steps=steps, rankings=rankings), range(n)))
    write_result("rl_learning", {"marks": judge(runs), "runs": runs}, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
