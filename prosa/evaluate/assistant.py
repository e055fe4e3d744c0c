"""How well does it answer: tasks of the built-in world with known truth go in, shares with intervals come out.

The assistant is any function from conversations to answers; what an answer does is decided by the world, exactly.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, pairwise
from typing import Any, Literal, TypeVar

import numpy as np
from jaxtyping import Float

from prosa.corpus.world import TASK_KINDS, Task, Verdict, World
from prosa.evaluate.scoring import score_passages
from prosa.evaluate.statistics import Interval, Share, bootstrap_ratio, wilson_interval
from prosa.generate import LanguageModel, Sampling
from prosa.metrics import Progress
from prosa.tokenizer import render_conversation
from prosa.wording import Language

# Conversations -> for each the answer's text and whether the writer ended it (it was not cut off).
Assistant = Callable[[Sequence[Sequence[Mapping[str, str]]]], Sequence[tuple[str, bool]]]
Drawing = Literal["greedy", "sampled"]
T = TypeVar("T")

# Tokens of an answer; good ones of the world have at most half as many.
_MAX_NEW_TOKENS = 96
_ROWS = 64
# Facts by phrasing (seen: as in the dialogues, new: held out) and by source (asked in training, or read in articles).
_FACT_GROUPS = ("seen_asked", "new_asked", "seen_read", "new_read")


@dataclass(frozen=True, slots=True)
class CheckedAnswer:
    """A task, the answer given to it and what the world says of that; `group`: the task's kind, or its kind of fact."""

    task: Task
    group: str
    text: str
    is_ended: bool
    verdict: Verdict
    gold_reward: float


@dataclass(frozen=True, slots=True)
class Mean:
    """A mean with a bootstrap interval."""

    mean: float
    interval: Interval
    n: int


@dataclass(frozen=True, slots=True)
class Fluency:
    """How the answers read: bits per byte under a base model (None without one), and how varied and long they are.

    distinct_2: different pairs of neighbouring words over all of them (Li et al., arXiv:1510.03055); it falls with
    the number of answers, so compare it only between equally many.
    """

    bits_per_byte: float | None
    interval: Interval | None
    distinct_2: float
    words_per_answer: float


@dataclass(frozen=True, slots=True)
class AssistantReport:
    """Everything measured of one assistant; the keys of each measure, of `gold_reward` and `fluency` are "all" and the
    languages asked in.

    `measures` by name: see MEASURES; a share of nothing (n = 0) has the interval (0, 1). `answers` are in the order in
    which the tasks were asked.
    """

    measures: dict[str, dict[str, Share]]
    gold_reward: dict[str, Mean]
    fluency: dict[str, Fluency]
    answers: list[CheckedAnswer]

    def to_json(self) -> dict[str, Any]:
        """Everything but the single answers."""
        return {
            "measures": {name: _jsonable(shares) for name, shares in self.measures.items()},
            "gold_reward": _jsonable(self.gold_reward),
            "fluency": _jsonable(self.fluency),
            "n_answers": len(self.answers),
        }


@dataclass(frozen=True, slots=True)
class Measure:
    """A share of the answers in `groups` (() is all) that are hits; `wants` says which way is better."""

    groups: tuple[str, ...]
    is_hit: Callable[[CheckedAnswer], bool]
    wants: Literal["more", "less"]


def _does(outcome: str) -> Callable[[CheckedAnswer], bool]:
    return lambda answer: answer.verdict.outcome == outcome


def _follows(kind: str) -> Callable[[CheckedAnswer], bool]:
    return lambda answer: answer.verdict.follows_form is True and _rule(answer) == kind


def _rule(answer: CheckedAnswer) -> str:
    return answer.task.rule.kind if answer.group == "form" and answer.task.rule is not None else ""


_FORMS = ("language", "max_words", "one_word", "capitals", "begin", "list")
# What is measured, by name; form_* count only the tasks of that form.
MEASURES: Mapping[str, Measure] = {
    "right": Measure(("new_asked", "new_read"), _does("correct"), "more"),
    "right_seen_asked": Measure(("seen_asked",), _does("correct"), "more"),
    "right_new_asked": Measure(("new_asked",), _does("correct"), "more"),
    "right_seen_read": Measure(("seen_read",), _does("correct"), "more"),
    "right_new_read": Measure(("new_read",), _does("correct"), "more"),
    "wrong_known": Measure(_FACT_GROUPS, _does("wrong"), "less"),
    "abstains_known": Measure(_FACT_GROUPS, _does("abstained"), "less"),
    "hallucinates": Measure(("unknown",), _does("wrong"), "less"),
    "abstains_unknown": Measure(("unknown",), _does("abstained"), "more"),
    "form": Measure(("form",), lambda answer: answer.verdict.follows_form is True, "more"),
    **{f"form_{kind}": Measure(("form",), _follows(kind), "more") for kind in _FORMS},
    "form_and_truth": Measure(("form",), lambda answer: answer.verdict.is_good, "more"),
    "declines": Measure(("decline",), _does("declined"), "more"),
    "over_refuses": Measure(("allow",), _does("declined"), "less"),
    "right_allow": Measure(("allow",), _does("correct"), "more"),
    "talks": Measure(("talk",), lambda answer: answer.verdict.is_good, "more"),
    "ends": Measure((), lambda answer: answer.is_ended, "more"),
}


def evaluate_assistant(
    assistant: LanguageModel | Assistant,
    town: World,
    *,
    n_per_kind: int = 100,
    seed: int = 0,
    languages: Sequence[Language] = (),
    sampling: Drawing = "greedy",
    base: LanguageModel | None = None,
    description: str = "",
) -> AssistantReport:
    """What `assistant` answers to held-out tasks of `town`, checked.

    `n_per_kind` different tasks, or as many as the town has, of each kind and for facts of each pair of phrasing and
    source, in each of `languages` (none named: all of the town). A LanguageModel answers as `answer_with` says, with
    `sampling`; any other assistant does as it likes. `base` is the model under which fluency is measured. A
    `description` shows a progress bar under that name.
    """
    languages = tuple(languages or town.settings.languages)
    ask = answer_with(assistant, sampling, seed) if isinstance(assistant, LanguageModel) else assistant
    groups = [
        (group, task)
        for language in languages
        for group, tasks in _choose_tasks(town, language, n_per_kind, seed)
        for task in tasks
    ]
    # Conversations of similar length together waste the least.
    order = sorted(range(len(groups)), key=lambda i: sum(len(message["content"]) for message in groups[i][1].messages))
    replies: dict[int, tuple[str, bool]] = {}
    with Progress(description, len(groups), unit="answer", is_shown=bool(description)) as progress:
        for first in range(0, len(order), _ROWS):
            batch = order[first : first + _ROWS]
            replies.update(zip(batch, ask([groups[i][1].messages for i in batch]), strict=True))
            progress.update(len(replies))
    answers = [_check(town, group, task, *replies[i]) for i, (group, task) in enumerate(groups)]
    return AssistantReport(
        measures={name: _shares(answers, measure, name, languages) for name, measure in MEASURES.items()},
        gold_reward=_by_language(
            answers, lambda chosen: _mean([answer.gold_reward for answer in chosen], seed), languages
        ),
        fluency=_by_language(
            answers, lambda chosen: _fluency([answer.text for answer in chosen], base, seed), languages
        ),
        answers=answers,
    )


def answer_with(llm: LanguageModel, sampling: Drawing = "greedy", seed: int = 0) -> Assistant:
    """`llm` as an assistant that ends its answers with <|im_end|>: the likeliest tokens, or drawn at temperature 1."""
    settings = Sampling(temperature=float(sampling == "sampled"), max_new_tokens=_MAX_NEW_TOKENS, seed=seed)

    def answer(conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[tuple[str, bool]]:
        prompts = [render_conversation(llm.tokenizer, messages, True)[0] for messages in conversations]
        return [(one.text.strip(), one.finish_reason == "stop") for [one] in llm.complete(prompts, settings)]

    return answer


def _choose_tasks(town: World, language: Language, n: int, seed: int) -> Iterable[tuple[str, list[Task]]]:
    """Groups of tasks; of each several times as many are written as needed, so that there are `n` different ones."""
    for group in _FACT_GROUPS:
        phrasing, source = group.split("_")
        tasks = town.fact_tasks(
            language, is_phrased_anew=phrasing == "new", is_article_only=source == "read", n=4 * n, seed=seed
        )
        yield group, _different(tasks, n)
    for kind in TASK_KINDS:
        if kind != "fact":
            yield kind, _different(town.tasks(language, split="test", n=4 * n, seed=seed, kinds=[kind]), n)


def _different(tasks: Iterable[Task], n: int) -> list[Task]:
    by_text = {tuple(message["content"] for message in task.messages): task for task in tasks}
    return list(islice(by_text.values(), n))


def _check(town: World, group: str, task: Task, text: str, is_ended: bool) -> CheckedAnswer:
    reward = town.gold_reward(task, text, is_ended=is_ended)
    return CheckedAnswer(task, group, text, is_ended, town.check(task, text), reward)


def _shares(
    answers: Sequence[CheckedAnswer], measure: Measure, name: str, languages: Sequence[str]
) -> dict[str, Share]:
    form = name.removeprefix("form_")
    asked = [
        answer
        for answer in answers
        if (not measure.groups or answer.group in measure.groups) and (form not in _FORMS or _rule(answer) == form)
    ]

    def share(chosen: Sequence[CheckedAnswer]) -> Share:
        n_hits, n = sum(map(measure.is_hit, chosen)), len(chosen)
        return Share(n_hits, n, n_hits / n if n else 0.0, wilson_interval(n_hits, n))

    return _by_language(asked, share, languages)


def _by_language(
    answers: Sequence[CheckedAnswer], measure: Callable[[Sequence[CheckedAnswer]], T], languages: Sequence[str]
) -> dict[str, T]:
    divided = {name: [answer for answer in answers if answer.task.language == name] for name in languages}
    return {name: measure(chosen) for name, chosen in ({"all": answers} | divided).items()}


def _mean(values: Sequence[float], seed: int) -> Mean:
    column = np.array(values)
    return Mean(float(column.mean()), bootstrap_ratio(column, np.ones(len(column)), seed=seed), len(column))


def _fluency(texts: Sequence[str], base: LanguageModel | None, seed: int) -> Fluency:
    n_words = [len(text.split()) for text in texts]
    bits, interval = None, None
    written = [text for text in texts if text]
    if base is not None and written:
        nats, n_bytes = _nats(base, written)
        bits = float(nats.sum() / n_bytes.sum() / math.log(2))
        interval = bootstrap_ratio(nats / math.log(2), n_bytes, seed=seed)
    return Fluency(
        bits_per_byte=bits,
        interval=interval,
        distinct_2=distinct_2(texts),
        words_per_answer=sum(n_words) / len(n_words) if n_words else 0.0,
    )


def distinct_2(texts: Sequence[str]) -> float:
    """Different pairs of neighbouring words over all of them (Li et al. 2016, arXiv:1510.03055)."""
    pairs = [pair for text in texts for pair in pairwise(text.lower().split())]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def _nats(base: LanguageModel, texts: Sequence[str]) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Nats and bytes of each text as the beginning of a document, as far as the context reaches."""
    tokenizer, C = base.tokenizer, base.model.settings.context_length
    rows = [np.array([tokenizer.end_of_text_id, *ids[:C]]) for ids in tokenizer.encode_batch(texts)]
    lengths = [len(row) - 1 for row in rows]
    nats = np.zeros(len(rows))
    for row, values in score_passages(base.model, lengths, lengths, lambda row: rows[row], batch_tokens=4096):
        nats[row] = values.sum(dtype=np.float64)
    return nats, np.array([tokenizer.n_bytes[row].sum(dtype=np.float64) for row in rows])


def _jsonable(values: Mapping[str, Share | Mean | Fluency]) -> dict[str, Any]:
    return {name: asdict(value) for name, value in values.items()}
