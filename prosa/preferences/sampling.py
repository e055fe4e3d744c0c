"""Prompts go in, items with K different answers of one model come out, ready to be ranked.

Each prompt is computed once for all its answers; what is drawn depends on the seed and the prompt alone, so the same
command gives the same items. An answer that is there already is drawn again.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from prosa.errors import ConfigError, DataError
from prosa.preferences.judgments import Answer, Item, Message, check_messages
from prosa.streams import derive_seed
from prosa.tokenizer import render_conversation

if TYPE_CHECKING:
    from prosa.generate import Completion, LanguageModel, Sampling

# Prompts that are sampled together, between two reports of progress.
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class Prompt:
    """What is asked: messages that end with a user's turn, and where they come from."""

    messages: tuple[Message, ...]
    language: str = ""
    source: str = ""
    task_id: str = ""


@dataclass(slots=True)
class SampleReport:
    """What sampling met. short: items with fewer answers than asked for, after all tries gave known ones."""

    n_prompts: int = 0
    n_items: int = 0
    n_answers: int = 0
    n_drawn: int = 0
    n_duplicates: int = 0
    n_short: int = 0
    n_one_answer: int = 0
    """Prompts without an item: every try gave the same answer."""
    n_too_long: int = 0
    """Prompts without an item: they leave too little of the context for an answer."""
    n_repeated: int = 0
    """Prompts that were given more than once; the first counts."""

    def to_json(self) -> dict[str, int]:
        return {
            "prompts": self.n_prompts,
            "items": self.n_items,
            "answers": self.n_answers,
            "drawn": self.n_drawn,
            "duplicates": self.n_duplicates,
            "items_with_fewer_answers": self.n_short,
            "prompts_with_one_answer": self.n_one_answer,
            "prompts_too_long": self.n_too_long,
            "prompts_repeated": self.n_repeated,
        }


class _Conversation(Protocol):
    """What `prosa.sft.read_conversations` gives."""

    @property
    def messages(self) -> tuple[Mapping[str, str], ...]: ...
    @property
    def language(self) -> str: ...
    @property
    def origin(self) -> str: ...


class _Task(Protocol):
    """What the built-in world gives."""

    @property
    def id(self) -> str: ...
    @property
    def language(self) -> str: ...
    @property
    def messages(self) -> tuple[Mapping[str, str], ...]: ...


def prompts_of_conversations(conversations: Iterable[_Conversation]) -> list[Prompt]:
    """Each conversation up to its last turn of the user; those without one are left out."""
    prompts = []
    for conversation in conversations:
        turns = [place for place, message in enumerate(conversation.messages) if message["role"] == "user"]
        if turns:
            messages = tuple(conversation.messages[: turns[-1] + 1])
            prompts.append(Prompt(messages, conversation.language, conversation.origin))
    return prompts


def prompts_of_tasks(tasks: Iterable[_Task]) -> list[Prompt]:
    """The prompts of tasks of the built-in world; the items keep the tasks' ids."""
    return [Prompt(tuple(task.messages), task.language, "world", task.id) for task in tasks]


def sample_answers(
    llm: "LanguageModel",
    prompts: Sequence[Prompt],
    *,
    k: int = 4,
    sampling: "Sampling",
    seed: int,
    model_hash: str,
    max_tries: int = 4,
    report: SampleReport | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Item]:
    """Up to `k` different answers to each prompt, sampled as `sampling` says (its `n` and `seed` are set here).

    Answers are compared as people see them, without white space around them. Where some are equal, as many again are
    drawn, at most `max_tries` times in all; a prompt that gives one answer only makes no item. `report` counts it all.
    `progress` is told the number of prompts done. Raises ConfigError for k < 2, DataError for a malformed prompt.
    """
    if k < 2:
        raise ConfigError(f"k = {k}: there is nothing to rank", hint="ask for 2 answers or more")
    report = report or SampleReport()
    report.n_prompts += len(prompts)
    asked = list(_readable_prompts(llm, prompts, sampling.max_new_tokens, report).items())
    items: list[Item] = []
    for first in range(0, len(asked), _CHUNK):
        chunk = asked[first : first + _CHUNK]
        drawn = _draw(llm, [ids for ids, _ in chunk], k, sampling, seed, max_tries, report)
        for (_, prompt), answers in zip(chunk, drawn, strict=True):
            if len(answers) < 2:
                report.n_one_answer += 1
                continue
            report.n_short += len(answers) < k
            report.n_answers += len(answers)
            kept = [_answer(completion, settings, model_hash) for completion, settings in answers.values()]
            fields = {"language": prompt.language, "source": prompt.source, "task_id": prompt.task_id}
            items.append(Item.make(prompt.messages, kept, **fields))
        if progress is not None:
            progress(min(first + _CHUNK, len(asked)))
    report.n_items += len(items)
    return items


def _readable_prompts(
    llm: "LanguageModel", prompts: Sequence[Prompt], max_new_tokens: int, report: SampleReport
) -> dict[tuple[int, ...], Prompt]:
    """The prompts by their ids, which end where the answer begins; those too long or repeated are counted.

    As in a chat, an answer keeps room for `max_new_tokens`, at most half of the context.
    """
    context_length = llm.model.settings.context_length
    room = context_length - min(max_new_tokens, context_length // 2)
    found: dict[tuple[int, ...], Prompt] = {}
    for prompt in prompts:
        check_messages(prompt.messages)
        if prompt.messages[-1]["role"] == "assistant":
            raise DataError("a prompt that ends with the assistant's own turn", hint="it must end with the user's")
        # As a chat is rendered, but nothing of what people will read may be left out.
        ids = tuple(render_conversation(llm.tokenizer, prompt.messages, add_generation_prompt=True)[0])
        if len(ids) > room:
            report.n_too_long += 1
        elif ids in found:
            report.n_repeated += 1
        else:
            found[ids] = prompt
    return found


def _draw(
    llm: "LanguageModel",
    prompts: Sequence[Sequence[int]],
    k: int,
    sampling: "Sampling",
    seed: int,
    max_tries: int,
    report: SampleReport,
) -> list[dict[str, tuple["Completion", "Sampling"]]]:
    """For each prompt its different answers, by their text, with the settings that gave them."""
    found: list[dict[str, tuple[Completion, Sampling]]] = [{} for _ in prompts]
    for attempt in range(max_tries):
        missing = [index for index, answers in enumerate(found) if len(answers) < k]
        if not missing:
            break
        settings = [
            sampling.model_copy(
                update={
                    "n": k - len(found[index]),
                    "seed": derive_seed(seed, "answers to rank", attempt),
                    "top_logprobs": 0,
                    # An answer may use what is left of the context, but never forget its prompt.
                    "when_full": "stop",
                }
            )
            for index in missing
        ]
        completions = llm.complete([prompts[index] for index in missing], settings)
        for index, used, samples in zip(missing, settings, completions, strict=True):
            report.n_drawn += len(samples)
            for completion in samples:
                text = completion.text.strip()
                report.n_duplicates += text in found[index]
                found[index].setdefault(text, (completion, used))
    return found


def _answer(completion: "Completion", settings: "Sampling", model_hash: str) -> Answer:
    kept: dict[str, Any] = settings.model_dump(mode="json", exclude={"n", "top_logprobs"})
    return Answer(
        text=completion.text,
        finish_reason=completion.finish_reason,
        ids=tuple(completion.ids),
        logprob=sum(completion.logprobs),
        model=model_hash,
        sampling=kept,
    )
