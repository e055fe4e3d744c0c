"""A preference that is known: every letter has a worth, an answer is as good as its letters on average.

Items with their true scores and annotators with known noise come out, and reward models trained on their rankings.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosa.preferences import RankedAnswers, Ranking, SimulatedAnnotator

LETTERS = "abcdefghijklmnopqrstuvwxyz"
_CONTEXT = 96


@dataclass(frozen=True, slots=True)
class LetterItem:
    """A prompt, answers to it, and how good each truly is; over all answers about mean 0 and standard deviation 1."""

    messages: tuple[dict[str, str], ...]
    answers: tuple[str, ...]
    gold: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Trained:
    """A trained reward model: seconds of its steps alone and of the whole stage, and where it lies."""

    step_seconds: float
    wall_seconds: float
    folder: Path


def make_items(n: int, *, seed: int, K: int = 4, split: str = "train") -> list[LetterItem]:
    """Items of one seed's worths; `split` draws other prompts and answers for the same worths."""
    from prosa.streams import numpy_stream

    worth = numpy_stream(seed, "worth of letters").normal(size=len(LETTERS))
    worth = (worth - worth.mean()) / worth.std()
    stream = numpy_stream(seed, f"letter items {split}")
    items = []
    for number in range(n):
        answers, gold = [], []
        for _ in range(K):
            length = int(stream.integers(16, 49))
            drawn = stream.choice(len(LETTERS), size=length, p=stream.dirichlet([0.3] * len(LETTERS)))
            answers.append("".join(LETTERS[index] for index in drawn))
            # Of such answers the mean worth has a standard deviation near 0.37.
            gold.append(float(worth[drawn].mean()) / 0.37)
        items.append(LetterItem(({"role": "user", "content": f"{split} {number}"},), tuple(answers), tuple(gold)))
    return items


def rank_items(items: Sequence[LetterItem], annotator: SimulatedAnnotator | None = None) -> list[RankedAnswers]:
    """Every item ranked by the annotator, or by the truth."""
    ranked = []
    for item in items:
        if annotator is None:
            ranking, name = Ranking.from_ranks([-score for score in item.gold]), "truth"
        else:
            ranking, name = annotator.rank(item.gold, item.answers), annotator.name
        ranked.append(RankedAnswers.make(item.messages, item.answers, ranking, annotator=name))
    return ranked


def write_trunk(folder: Path, seed: int, *, n_layer: int = 2, width: int = 64) -> Path:
    """A random byte-level trunk, so that everything learned is learned from the rankings."""
    from prosa.model import ModelSettings, Transformer, init_weights, save_model
    from prosa.tokenizer import Tokenizer

    shape = {"n_layer": n_layer, "d_model": width, "n_head": width // 32, "n_kv_head": width // 32, "d_ff": 3 * width}
    model = Transformer(ModelSettings(vocab_size=260, context_length=_CONTEXT, d_head=32, **shape))  # type: ignore[arg-type]
    init_weights(model, seed)
    save_model(folder, model, Tokenizer([]))
    return folder


def train_reward(folder: Path, trunk: Path, ranked: Sequence[RankedAnswers], seed: int, **settings: Any) -> Trained:
    """A reward model on all of `ranked`, in float32 on the CPU."""
    from prosa.metrics import read_metrics
    from prosa.reward import RewardSettings, main

    quick = {"batch_size": 16, "learning_rate": 2e-3, "dtype": "float32", "device": "cpu", "validation_fraction": 0.0}
    never = {"evaluate_every": 10**9, "sample_every": 10**9, "save_every": 10**9}
    started = time.perf_counter()
    main(folder, RewardSettings(**{**quick, **never, "seed": seed, **settings}), trunk, ranked, is_shown=False)
    wall_seconds = time.perf_counter() - started
    steps = [record["time"]["seconds"] for record in read_metrics(folder / "metrics.jsonl")]
    return Trained(sum(steps), wall_seconds, folder)


def score_items(folder: Path, items: Sequence[LetterItem]) -> list[list[float]]:
    """The trained model's scores of every answer of every item."""
    from prosa.reward import RewardFunction

    reward = RewardFunction.load(folder / "model")
    prompts = [item.messages for item in items for _ in item.answers]
    flat = iter(reward(prompts, [text for item in items for text in item.answers]))
    return [[next(flat) for _ in item.answers] for item in items]


def trained_scale(folder: Path) -> float:
    """What normalising divided the scores by."""
    record = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    return float(record["normalisation"]["scale"])
