"""A small assistant of letters whose answers have a known worth: fine-tuned, ranked, and improved in seconds.

An answer is worth the mean of its letters' worths, in standard deviations; too much of one letter, no end, or anything
but letters costs. Fine-tuned answers seldom have too much of one letter, so a reward model learns little about that.
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.policies import ask_policy
from benchmarks.reward_letters import LETTERS, write_trunk
from prosa.preferences import Answer as RankedAnswer
from prosa.preferences import Item, PreferenceStore, Prompt, RankedAnswers, SimulatedAnnotator, sample_answers
from prosa.rl import Answer, Reward, RlSettings, Worth
from prosa.streams import numpy_stream
from prosa.tokenizer import Tokenizer

MAX_NEW_TOKENS = 32
_LENGTHS = (8, 25)
_CONVERSATIONS, _SFT_STEPS = 1500, 400
# Standard deviation of the mean worth of such answers' letters.
_SPREAD = 0.40
_TOO_MUCH = 0.5
_ANNOTATORS = 3


@dataclass(frozen=True, slots=True)
class Measured:
    """Answers to held-out prompts: what they are worth, how far their writer is from the start, and how they look."""

    gold: float
    gold_sd: float
    proxy: float | None
    kl: float
    ended: float
    distinct_2: float


class LetterTown:
    """One seed's worths of the letters, its fine-tuned model and its prompts."""

    def __init__(self, folder: Path, seed: int, *, n_layer: int = 2, width: int = 64) -> None:
        worth = numpy_stream(seed, "worth of letters").normal(size=len(LETTERS))
        self.worth = dict(zip(LETTERS, (worth - worth.mean()) / worth.std(), strict=True))
        self.folder, self.seed = folder, seed
        self.tokenizer = Tokenizer([])
        self.prompts = ask("train", 2000)
        self.start = self.fine_tune("sft", n_layer=n_layer, width=width)

    def gold(self, answers: Sequence[Answer]) -> list[float]:
        return [self.gold_of(answer.text, is_ended=answer.is_ended) for answer in answers]

    def gold_of(self, text: str, *, is_ended: bool) -> float:
        """What a text is worth, between -3 and 3."""
        said = text.strip()
        if not said:
            return -3.0
        letters = [self.worth.get(letter, -3.0) for letter in said]
        share = Counter(said).most_common(1)[0][1] / len(said)
        value = float(np.mean(letters)) / _SPREAD - 6 * max(0.0, share - _TOO_MUCH) - (not is_ended)
        return max(-3.0, min(3.0, value))

    def fine_tune(self, name: str, *, n_layer: int = 2, width: int = 64) -> Path:
        """A model that answers with letters, trained from random weights; in the folder `name`."""
        from prosa.sft import ConversationSource, SftSettings, main
        from prosa.training import World

        path, stream = self.folder / "conversations.jsonl", numpy_stream(self.seed, "conversations of letters")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as file:
            for number in range(_CONVERSATIONS):
                letters = stream.choice(
                    list(LETTERS), size=int(stream.integers(*_LENGTHS)), p=stream.dirichlet([0.4] * len(LETTERS))
                )
                turns = [
                    {"role": "user", "content": f"{numpy_stream(number, 'prompt').integers(10**6)}"},
                    {"role": "assistant", "content": "".join(letters)},
                ]
                file.write(json.dumps({"messages": turns}) + "\n")
        settings = SftSettings(
            sources=(ConversationSource(path=str(path), name="letters"),),
            steps=_SFT_STEPS, batch_size=32, packs=False, learning_rate=3e-3, matrix_learning_rate=0.02,
            evaluate_every=10**9, sample_every=10**9, save_every=10**9, device="cpu", dtype="float32", seed=self.seed,
        )  # fmt: skip
        trunk = write_trunk(self.folder / f"{name}-trunk", self.seed, n_layer=n_layer, width=width)
        main(self.folder / name, settings, trunk, world=World(), is_shown=False)
        return self.folder / name / "model"

    def rank(self, model: Path, n: int, round_number: int) -> list[RankedAnswers]:
        """Four answers of `model` to each of `n` prompts, ranked by simulated annotators, through a store on disk."""
        import prosa
        from prosa.generate import Sampling
        from prosa.sft import hash_weights

        llm = prosa.load(model)
        sampling = Sampling(temperature=1.0, max_new_tokens=MAX_NEW_TOKENS)
        items = sample_answers(
            llm, ask(f"round{round_number}", n), sampling=sampling, seed=self.seed, model_hash=hash_weights(llm.model)
        )
        annotators = [
            SimulatedAnnotator(f"{number}", temperature=0.3, tie_margin=0.2, flip_share=0.05, seed=self.seed)
            for number in range(_ANNOTATORS)
        ]
        with PreferenceStore(self.folder / f"round-{round_number}.sqlite") as store:
            store.add_items(items)
            store.add_judgments(
                [annotators[place % _ANNOTATORS].judge(item, self._worths(item)) for place, item in enumerate(items)]
            )
            return store.ranked_answers()

    def _worths(self, item: Item) -> list[float]:
        return [self._worth_of(answer) for answer in item.answers]

    def _worth_of(self, answer: RankedAnswer) -> float:
        return self.gold_of(answer.text, is_ended=answer.finish_reason == "stop")

    def train_reward(self, name: str, ranked: Sequence[RankedAnswers], trunk: Path | None = None) -> Path:
        """A reward model of `ranked` in the folder `name`; its own folder with the weights is returned."""
        from prosa.reward import RewardSettings, main

        settings = RewardSettings(
            epochs=6, batch_size=16, learning_rate=2e-3, dtype="float32", device="cpu", validation_fraction=0.0,
            evaluate_every=10**9, sample_every=10**9, save_every=10**9, seed=self.seed,
        )  # fmt: skip
        references = [(one.messages, text) for one in ranked[:200] for text in one.answers]
        main(self.folder / name, settings, trunk or self.start, ranked, references=references, is_shown=False)
        return self.folder / name / "model"

    def improve(
        self,
        name: str,
        reward: Path | None,
        *,
        start: Path | None = None,
        change: Callable[[Worth], Worth] | None = None,
        **settings: Any,
    ) -> dict[str, Any]:
        """The course of one training by `reward`, or by the truth; the policy lies in the folder `name`."""
        from prosa.rl import main

        quick: dict[str, Any] = {
            "max_new_tokens": MAX_NEW_TOKENS, "learning_rate": 1e-3, "kl_coefficient": 0.1, "stops_at_peak": False,
            "device": "cpu", "dtype": "float32", "seed": self.seed, "save_every": 10**6,
        }  # fmt: skip
        opened = partial(self._open_reward, reward, change)
        main(
            self.folder / name,
            RlSettings(**{**quick, **settings}),
            start or self.start,
            self.prompts,
            opened,
            is_shown=False,
        )
        course: dict[str, Any] = json.loads((self.folder / name / "course.json").read_text(encoding="utf-8"))
        return course

    def learn_directly(self, name: str, ranked: Sequence[RankedAnswers]) -> None:
        """DPO on the rankings, in the folder `name`."""
        from prosa.rl import DirectSettings, train_directly

        settings = DirectSettings(
            epochs=6, beta=0.1, learning_rate=1e-3, device="cpu", dtype="float32", save_every=10**6, seed=self.seed
        )
        train_directly(self.folder / name, settings, self.start, ranked, is_shown=False)

    def imitate_best(self, name: str, reward: Path) -> None:
        """The best of 16 answers to each prompt, learned like any conversation, in the folder `name`."""
        from prosa.generate import load
        from prosa.rl import choose_best
        from prosa.sft import ConversationSource, SftSettings, main
        from prosa.training import World

        worth = self._open_reward(reward, None, self.tokenizer).worth
        best = choose_best(
            load(self.start), self.prompts[:1000], worth, n=16, max_new_tokens=MAX_NEW_TOKENS, seed=self.seed
        )
        path = self.folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps(one.to_conversation()) + "\n" for one in best), encoding="utf-8")
        settings = SftSettings(
            sources=(ConversationSource(path=str(path), name="best"),), epochs=4, batch_size=32, packs=False,
            learning_rate=1e-3, matrix_learning_rate=0.01, evaluate_every=10**9, sample_every=10**9, save_every=10**9,
            device="cpu", dtype="float32", seed=self.seed,
        )  # fmt: skip
        main(self.folder / name, settings, self.start, world=World(), is_shown=False)

    def _open_reward(
        self, folder: Path | None, change: Callable[[Worth], Worth] | None, tokenizer: Tokenizer
    ) -> Reward:
        from prosa.rl import open_reward_model

        if folder is None:
            return Reward(self.gold, self.gold, {"reward": "truth"})
        opened = open_reward_model(folder, tokenizer, self.gold, {"reward": folder.parent.name})
        if change is None:
            return opened
        return Reward(change(opened.worth), self.gold, opened.inputs, opened.trunk)

    def measure(self, model: Path, reward: Path | None = None, n: int = 256) -> Measured:
        """Answers of `model` to prompts that nothing was trained on, one to each."""
        from prosa.reward import RewardFunction
        from prosa.rl import worth_by_model

        answers, kl = ask_policy(model, self.start, ask("test", n), max_new_tokens=MAX_NEW_TOKENS, seed=self.seed)
        golds = self.gold(answers)
        proxy = None
        if reward is not None:
            proxy = float(np.mean(worth_by_model(RewardFunction.load(reward), self.tokenizer)(answers)))
        return Measured(
            gold=float(np.mean(golds)),
            gold_sd=float(np.std(golds)),
            proxy=proxy,
            kl=kl,
            ended=float(np.mean([answer.is_ended for answer in answers])),
            distinct_2=distinct_letters([answer.text.strip() for answer in answers]),
        )


def ask(name: str, n: int) -> list[Prompt]:
    """Different prompts, which say nothing about what a good answer is."""
    numbers = numpy_stream(0, f"prompts {name}").choice(10**6, size=n, replace=False)
    return [Prompt(({"role": "user", "content": str(number)},)) for number in numbers]


def distinct_letters(texts: Sequence[str]) -> float:
    """Different pairs of neighbouring letters over all of them, as distinct-2 counts words."""
    pairs = [pair for text in texts for pair in pairwise(text)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0
