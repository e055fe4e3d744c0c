"""What a model is asked, so that people can rank its answers: prompts of the built-in world and of files."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest
from typing import Any, Protocol

from pydantic import Field

from prosa.config import Settings
from prosa.corpus import ReadReport, read_rows, world
from prosa.errors import DataError
from prosa.preferences.judgments import Item, Message, Ranking, check_messages

_ROLES = {"human": "user", "gpt": "assistant", "prompter": "user"}
_ASKED_FIELDS = ("prompt", "instruction", "question")
# Tasks of the world drawn for each one wanted, since some come out alike.
_DRAWS_FOR_EACH = 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked: messages that end with a user's turn, and where they come from."""

    messages: tuple[Message, ...]
    language: str = ""
    source: str = ""
    task_id: str = ""


class SampleSettings(Settings):
    """What is asked and how it is answered; see docs/preferences.md."""

    prompts: str = Field("world:", min_length=1)
    """`world:`, a file or folder of conversations or prompts, or `hf:owner/name[:config][:split]`."""
    n_prompts: int = Field(default=200, ge=1)
    """At most so many, the first ones."""
    k: int = Field(default=4, ge=2, le=35)
    """Answers to each."""
    borrowed: int = Field(default=0, ge=0, le=33)
    """Of these, answers to other prompts: they teach that an answer must belong to its question."""
    temperature: float = Field(default=1.0, gt=0, le=10)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=128, ge=1, le=2**20)
    """Tokens of an answer at most."""
    gold_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the items of the world that keep the right ranking, to test annotators."""
    seed: int = Field(default=0, ge=0)
    """Draws the answers, and the tasks of the world."""


class _Conversation(Protocol):
    """What `prosa.sft.read_conversations` gives."""

    @property
    def messages(self) -> tuple[Message, ...]: ...
    @property
    def language(self) -> str: ...
    @property
    def origin(self) -> str: ...


def read_prompts(settings: SampleSettings, report: ReadReport) -> list[Prompt]:
    """The first `n_prompts` of the source, in order.

    Of a conversation (OpenAI messages, ShareGPT) what comes up to its last question; of other records `prompt`,
    `instruction` or `question`. Records without a question are counted in `report`. Raises DataError if the source is
    not there or none is left.
    """
    if settings.prompts.startswith("world:"):
        return prompts_of_tasks(_world_tasks(settings))
    prompts = list(islice(_file_prompts(settings.prompts, report), settings.n_prompts))
    if not prompts:
        raise DataError(f"`{settings.prompts}` holds no prompt", hint="docs/preferences.md lists what can be read")
    return prompts


def prompts_of_conversations(conversations: Iterable[_Conversation]) -> list[Prompt]:
    """Each conversation up to its last turn of the user; those without one are left out."""
    return [
        Prompt(messages, conversation.language, conversation.origin)
        for conversation in conversations
        if (messages := _up_to_the_question(conversation.messages))
    ]


def prompts_of_tasks(tasks: Iterable[world.Task]) -> list[Prompt]:
    """The prompts of tasks of the built-in world; the items keep the tasks' ids."""
    return [Prompt(tuple(task.messages), task.language, "world", task.id) for task in tasks]


def gold_ranking(town: world.World, item: Item) -> Ranking | None:
    """The answers to a task of the world by what they are worth; None if all are worth the same."""
    task = town.task(item.task_id)
    worth = [town.gold_reward(task, answer.text, is_ended=answer.finish_reason == "stop") for answer in item.answers]
    # Rounded, so that equal sums of parts are equal.
    ranking = Ranking.from_ranks([-round(value, 6) for value in worth])
    return ranking if len(ranking.groups) > 1 else None


def _world_tasks(settings: SampleSettings) -> list[world.Task]:
    """As many different tasks to train on of each kind and language, drawn apart from those of the fine-tuning.

    What fine-tuning saw little of, above all questions that nobody can answer, is ranked as often as the rest. A kind
    of few wordings ends early, and the others take its place.
    """
    town = world.build_world(world.parse_world(settings.prompts))
    groups = [(kind, language) for kind in world.TASK_KINDS for language in town.settings.languages]
    n_drawn = _DRAWS_FOR_EACH * -(-settings.n_prompts // len(groups))
    tasks = [
        _different(town.tasks(language, split="train", n=n_drawn, seed=settings.seed + 1, kinds=[kind]))
        for kind, language in groups
    ]
    dealt = chain.from_iterable(zip_longest(*tasks))
    return list(islice((task for task in dealt if task is not None), settings.n_prompts))


def _different(tasks: Iterable[world.Task]) -> list[world.Task]:
    """The first task of each wording."""
    found: dict[tuple[str, ...], world.Task] = {}
    for task in tasks:
        found.setdefault(tuple(message["content"] for message in task.messages), task)
    return list(found.values())


def _file_prompts(path: str, report: ReadReport) -> Iterator[Prompt]:
    for record, where in read_rows(path, report):
        try:
            messages = _up_to_the_question(_messages(record))
            check_messages(messages)
        except (DataError, TypeError, AttributeError, KeyError) as error:
            report.rejected.add("no prompt", where, str(error)[:80])
            continue
        report.n_documents += 1
        language = record.get("language") or record.get("lang") if isinstance(record, Mapping) else ""
        yield Prompt(messages, language if isinstance(language, str) else "", where)


def _messages(record: Any) -> Sequence[Message]:
    if isinstance(record, str):
        return [{"role": "user", "content": record}]
    turns = record if isinstance(record, list) else record.get("messages") or record.get("conversations")
    asked = next((record[name] for name in _ASKED_FIELDS if record.get(name)), None) if not turns else None
    if isinstance(asked, str):
        return [{"role": "user", "content": asked}]
    found = []
    for turn in turns or asked or ():
        role, content = turn.get("role") or turn.get("from"), turn.get("content") or turn.get("value")
        found.append({"role": _ROLES.get(role, role), "content": content})
    return found


def _up_to_the_question(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Up to the last turn of the user; nothing if there is none."""
    asked = [place for place, message in enumerate(messages) if message["role"] == "user"]
    return tuple(messages[: asked[-1] + 1]) if asked else ()
