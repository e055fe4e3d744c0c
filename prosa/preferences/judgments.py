"""What people are shown and what they say about it: answers, items, rankings, judgments.

Plain data, checked when made, without torch. The store keeps these, the statistics and the reward model read them.
"""

import math
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations, product
from operator import index
from typing import Any

from prosa.errors import DataError
from prosa.rundir import hash_json

Message = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one model: its text as shown, and where it came from."""

    text: str
    finish_reason: str = "stop"
    ids: tuple[int, ...] = ()
    logprob: float = 0.0
    """Sum of the log-probabilities of its tokens under the model as it sampled."""
    model: str = ""
    """Hash of the model's weights."""
    sampling: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        _check_text(self.text, "an answer")
        object.__setattr__(self, "logprob", float(self.logprob))


@dataclass(frozen=True, slots=True)
class Ranking:
    """Indices of answers in groups, the best group first; one group is a tie, an index in no group is not ranked.

    Nothing is said about an answer that is not ranked: it is neither better nor worse than any other.
    Raises DataError for an index given twice, a negative index or an empty group.
    """

    groups: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        # Plain integers in one order: equal rankings are equal, and can be stored.
        object.__setattr__(self, "groups", tuple(tuple(sorted(map(index, group))) for group in self.groups))
        given = self.ranked
        if not all(self.groups) or len(set(given)) != len(given) or min(given, default=0) < 0:
            raise DataError(f"ranking {self.groups}: every group needs an answer, and every answer at most one group")

    @property
    def ranked(self) -> list[int]:
        """The ranked answers, best first."""
        return list(chain.from_iterable(self.groups))

    def pairs(self) -> list[tuple[int, int]]:
        """Every (better, worse) that the ranking says."""
        return [pair for better, worse in combinations(self.groups, 2) for pair in product(better, worse)]

    def ties(self) -> list[tuple[int, int]]:
        """Every (i, j), i < j, that the ranking calls equal."""
        return [pair for group in self.groups for pair in combinations(group, 2)]

    def ranks(self, n: int) -> list[float | None]:
        """The rank of each of `n` answers, 1 = best; tied answers share their mean rank, None = not ranked."""
        self.check(n)
        ranks: list[float | None] = [None] * n
        before = 0
        for group in self.groups:
            for answer in group:
                ranks[answer] = before + (len(group) + 1) / 2
            before += len(group)
        return ranks

    def check(self, n: int) -> None:
        """Raises DataError if it ranks an answer that is not among `n`."""
        if max(self.ranked, default=-1) >= n:
            raise DataError(f"ranking {self.groups} names an answer that is not there: there are {n}")

    @classmethod
    def from_ranks(cls, ranks: Sequence[float | None]) -> "Ranking":
        """From one number per answer, lowest = best, equal numbers = tie, None = not ranked."""
        given = [rank for rank in ranks if rank is not None]
        if not all(map(math.isfinite, given)):
            raise DataError(f"ranks {list(ranks)} are not all finite")
        return cls(tuple(tuple(i for i, rank in enumerate(ranks) if rank == level) for level in sorted(set(given))))


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt and the answers to rank. Make it with `Item.make`, which derives the id from prompt and answers."""

    id: str
    messages: tuple[Message, ...] = field(hash=False)
    answers: tuple[Answer, ...]
    language: str = ""
    source: str = ""
    task_id: str = ""
    gold: Ranking | None = None
    """What is known to be right, for an item that tests the annotator."""

    def __post_init__(self) -> None:
        check_messages(self.messages)
        if self.id != item_id(self.messages, [answer.text for answer in self.answers]):
            raise DataError(f"item {self.id}: its id does not belong to its prompt and answers")
        if self.gold is not None:
            self.gold.check(len(self.answers))

    @classmethod
    def make(cls, messages: Sequence[Message], answers: Sequence[Answer], **fields: Any) -> "Item":
        """The item with its id; `fields`: language, source, task_id, gold."""
        check_messages(messages)
        kept = tuple(dict(message) for message in messages)
        return cls(item_id(kept, [answer.text for answer in answers]), kept, tuple(answers), **fields)


@dataclass(frozen=True, slots=True)
class Judgment:
    """What one annotator said about one item, once. A row that undoes another names it in `retracts`."""

    uuid: str
    item_id: str
    annotator: str
    ranking: Ranking | None
    """None: skipped. Without groups: nothing was ranked, as when all answers are bad."""
    is_all_bad: bool = False
    order_shown: tuple[int, ...] = ()
    """The index of the answer at each place on the screen; empty where it is not known."""
    order_seed: int = 0
    seconds: float = 0.0
    comment: str = ""
    is_simulated: bool = False
    retracts: str = ""
    created: str = ""
    """Wall time for people, ISO 8601; nothing is ordered by it."""
    client: str = ""
    """The program that took it, with its version."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "uuid", _uuid(self.uuid))
        object.__setattr__(self, "order_shown", tuple(map(index, self.order_shown)))
        object.__setattr__(self, "seconds", float(self.seconds))
        object.__setattr__(self, "retracts", _uuid(self.retracts) if self.retracts else "")
        if not self.annotator.strip():
            raise DataError(f"judgment {self.uuid} has no annotator")
        for text in (self.annotator, self.comment, self.item_id, self.created, self.client):
            _check_text(text, f"judgment {self.uuid}")
        if not (math.isfinite(self.seconds) and self.seconds >= 0):
            raise DataError(f"judgment {self.uuid}: {self.seconds} seconds cannot be")

    def check(self, n_answers: int) -> None:
        """Raises DataError if the ranking or the order shown does not fit an item of `n_answers`."""
        if self.ranking is not None:
            self.ranking.check(n_answers)
        if self.order_shown and sorted(self.order_shown) != list(range(n_answers)):
            raise DataError(f"judgment {self.uuid}: order {self.order_shown} does not show {n_answers} answers once")


@dataclass(frozen=True, slots=True)
class RankedAnswers:
    """One annotator's ranking of the answers to one prompt: what statistics and the reward model take."""

    item_id: str
    messages: tuple[Message, ...] = field(hash=False)
    answers: tuple[str, ...]
    ranking: Ranking
    annotator: str = ""
    weight: float = 1.0

    def __post_init__(self) -> None:
        self.ranking.check(len(self.answers))
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise DataError(f"item {self.item_id}: weight {self.weight} cannot be")

    @classmethod
    def make(
        cls,
        messages: Sequence[Message],
        answers: Sequence[str],
        ranking: Ranking,
        *,
        annotator: str = "",
        weight: float = 1.0,
    ) -> "RankedAnswers":
        """With the item_id derived; DataError for messages or answers that are not text."""
        check_messages(messages)
        for answer in answers:
            _check_text(answer, "an answer")
        kept = tuple(dict(message) for message in messages)
        return cls(item_id(kept, answers), kept, tuple(answers), ranking, annotator, weight)


def item_id(messages: Sequence[Message], answers: Sequence[str]) -> str:
    """32 hex characters that depend on every message and on the texts and order of the answers."""
    prompt = [[message["role"], message["content"]] for message in messages]
    return hash_json([prompt, list(answers)])[:32]


def check_messages(messages: Sequence[Message]) -> None:
    """Raises DataError unless there is a message and each has a role and a content that can be written as UTF-8."""
    if not messages:
        raise DataError("a prompt without messages")
    for message in messages:
        if not all(isinstance(message.get(key), str) for key in ("role", "content")):
            raise DataError(f"a message needs the texts `role` and `content`; found {sorted(message)}")
        _check_text(message["role"] + message["content"], "a message")


def _check_text(text: str, what: str) -> None:
    if not isinstance(text, str):
        raise DataError(f"{what} is {type(text).__name__}, not text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{what} holds half a character (a lone surrogate)") from None


def _uuid(text: str) -> str:
    """In the one spelling, so that the same UUID never counts twice."""
    try:
        return str(uuid.UUID(text))
    except (ValueError, AttributeError, TypeError):
        raise DataError(f"`{text}` is not a UUID") from None
