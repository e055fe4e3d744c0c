"""The town as one object: build it from settings, read its documents, ask what is true (docs/world.md)."""

import re
from bisect import bisect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate, count
from typing import Literal

from prosa.corpus.world.cast import Cast, build_cast
from prosa.corpus.world.instructions import FACT_SPLITS, Split, TaskWriter, instruction_grammar
from prosa.corpus.world.knowledge import build_knowledge
from prosa.corpus.world.lexicon import grammar
from prosa.corpus.world.programs import write_program
from prosa.corpus.world.questions import Cloze, Question, build_clozes, build_questions, build_unknown_questions, judge
from prosa.corpus.world.rules import distinctive_words
from prosa.corpus.world.settings import Language, WorldSettings
from prosa.corpus.world.tasks import TASK_KINDS, TRAIN_SHARES, Task, TaskKind, Verdict, check_reply, gold_reward
from prosa.corpus.world.writing import Writer
from prosa.errors import DataError
from prosa.streams import python_stream

LICENCE = "CC0-1.0"
_KINDS = ("book", "article", "conversation", "code")
# Measured mean bytes of a document of each kind: turns shares of bytes into chances of a document.
_MEAN_BYTES = {"book": 1175.0, "article": 480.0, "conversation": 810.0, "code": 660.0}


@dataclass(frozen=True, slots=True)
class WorldDocument:
    """One text; `origin` is `world:<seed>#<i>:<kind>`, `language` is pt, en or code."""

    text: str
    kind: str
    language: str
    origin: str
    licence: str = LICENCE


class World:
    """A town that exists wholly in its settings: same settings, same bytes."""

    def __init__(self, settings: WorldSettings) -> None:
        self.settings = settings
        self.knowledge = known = build_knowledge(settings)
        self.people, self.places, self.trades, self.animals = known.people, known.places, known.trades, known.animals
        self.dishes, self.objects, self.events, self.facts = known.dishes, known.objects, known.events, known.facts
        shares = {kind: getattr(settings, kind) / _MEAN_BYTES[kind] for kind in _KINDS}
        self._shares = [(kind, share / sum(shares.values())) for kind, share in shares.items() if share]

    @cached_property
    def _casts(self) -> dict[str, Cast]:
        return {language: build_cast(self.knowledge, language) for language in self.settings.languages}

    @cached_property
    def _writers(self) -> dict[str, Writer]:
        return {
            name: Writer(self.knowledge, cast, grammar(name, self.settings.richness))
            for name, cast in self._casts.items()
        }

    @cached_property
    def _task_writers(self) -> dict[str, TaskWriter]:
        seed, richness = self.settings.seed, self.settings.richness
        return {
            name: TaskWriter(self.knowledge, self._casts, name, seed=seed, richness=richness) for name in self._casts
        }

    @cached_property
    def _only_in(self) -> Mapping[str, frozenset[str]]:
        return distinctive_words({name: instruction_grammar(name, 1.0) for name in ("pt", "en")}, self._casts)

    def cast(self, language: str) -> Cast:
        """The forms of all names in one of the town's languages, for those who write frames of their own."""
        return self._casts[language]

    def document(self, i: int) -> WorldDocument:
        """Document `i`, a pure function of the settings and `i`."""
        rng = python_stream(self.settings.seed, "world document", i)
        chance = rng.random()
        kind = self._shares[-1][0]
        for name, share in self._shares:
            if chance < share:
                kind = name
                break
            chance -= share
        languages = self.settings.languages
        language = languages[int(rng.random() * len(languages))]
        writer = self._writers[language]
        if kind == "book":
            text = writer.story(rng)
        elif kind == "article":
            text = writer.article(rng)
        elif kind == "conversation":
            text = writer.dialogue(rng)
        else:
            text = write_program(rng, self.knowledge, self._casts[language])
        label = "code" if kind == "code" else language
        return WorldDocument(text, kind, label, f"world:{self.settings.seed}#{i}:{kind}")

    def documents(self) -> Iterator[WorldDocument]:
        """Documents until their texts together reach `size_bytes`."""
        n_bytes = 0
        for i in count():
            document = self.document(i)
            yield document
            n_bytes += len(document.text.encode())
            if n_bytes >= self.settings.size_bytes:
                return

    def cloze(self, language: Language) -> list[Cloze]:
        """For every fact, the beginning of a sentence of the corpus and one of a phrasing that it never uses."""
        return build_clozes(self.knowledge, self._casts[language], grammar(language), self.settings.seed)

    def questions(self, language: Language, *, split: Literal["seen", "held_out"]) -> list[Question]:
        """A question about every fact, phrased as in the dialogues or as never in the corpus."""
        return build_questions(self.knowledge, self._casts[language], grammar(language), self.settings.seed, split)

    def unknown_questions(self, language: Language, n: int, seed: int) -> list[Question]:
        """`n` questions about people and places that do not exist; only abstaining is right."""
        return build_unknown_questions(self._casts[language], grammar(language), n, seed)

    def judge(self, question: Question, answer_text: str) -> Literal["correct", "wrong", "abstained"]:
        """Whether an answer is right, wrong (also: several at once) or admits not knowing."""
        return judge(question, answer_text)

    def tasks(
        self, language: Language, *, split: Split, n: int, seed: int = 0, kinds: Sequence[TaskKind] = TASK_KINDS
    ) -> list[Task]:
        """`n` instructions: with TRAIN_SHARES of the kinds to train on, or with as many of each to test.

        Fewer are the first ones of more. Train and test differ in wordings and subjects: docs/world.md.
        """
        bounds = list(accumulate(TRAIN_SHARES[kind] if split == "train" else 1.0 for kind in kinds))
        rng = python_stream(self.settings.seed, f"world task kinds {language} {split}", seed)
        chosen = [kinds[bisect(bounds, rng.random() * bounds[-1])] for _ in range(n)]
        return [self._task_writers[language].write(kind, split, seed, i) for i, kind in enumerate(chosen)]

    def fact_tasks(
        self, language: Language, *, is_phrased_anew: bool, is_article_only: bool, n: int, seed: int = 0
    ) -> list[Task]:
        """`n` questions on facts asked in training or told in articles alone, phrased as in training or anew.

        None at all in a town without such facts.
        """
        if is_article_only and not any(fact.is_article_only for fact in self.facts):
            return []
        split = f"{'new' if is_phrased_anew else 'seen'}_{'read' if is_article_only else 'asked'}"
        return [self._task_writers[language].write("fact", split, seed, i) for i in range(n)]

    def task(self, id: str) -> Task:
        """The task of that id in this town; DataError if no task is called so."""
        for kind in TASK_KINDS:
            match = re.fullmatch(rf"{kind}:(\w+):(\w+):(\d+):(\d+)", id)
            if match and match[1] in self._casts and match[2] in (FACT_SPLITS if kind == "fact" else ("train", "test")):
                return self._task_writers[match[1]].write(kind, match[2], int(match[3]), int(match[4]))
        raise DataError(f"`{id}` is no task of this town", hint="ids are those of World.tasks")

    def check(self, task: Task, reply: str) -> Verdict:
        """What `reply` does, and whether it is good."""
        return check_reply(task, reply, self._only_in)

    def gold_reward(self, task: Task, reply: str, *, is_ended: bool = True) -> float:
        """What `reply` is worth, from -1 to 1; `is_ended`: the writer ended it, it was not cut off."""
        return gold_reward(task, reply, self._only_in, is_ended=is_ended)


def build_world(settings: WorldSettings) -> World:
    """The town of `settings`."""
    return World(settings)
