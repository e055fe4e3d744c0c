"""Prompts go in, items with K different answers of one model come out, ready to be ranked.

Each prompt is computed once for all its answers; what is drawn depends on the seed and the prompt alone, so the same
command gives the same items. An answer that is there already is drawn again. Some may be borrowed from other prompts:
what people say of those teaches a reward model that an answer must belong to its question.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from prosa.corpus import ReadReport, world
from prosa.errors import ConfigError, DataError
from prosa.preferences.judgments import Answer, Item, Ranking, check_messages, item_id
from prosa.preferences.prompts import Prompt, SampleSettings, gold_ranking, read_prompts
from prosa.preferences.store import PreferenceStore
from prosa.streams import derive_seed, numpy_stream
from prosa.tokenizer import render_conversation

if TYPE_CHECKING:
    from prosa.generate import Completion, LanguageModel, Sampling

# Prompts whose items are stored together.
_CHUNK = 256


@dataclass(slots=True)
class SampleReport:
    """What sampling met. short: items with fewer answers than asked for, after all tries gave known ones."""

    n_prompts: int = 0
    n_items: int = 0
    n_answers: int = 0
    n_borrowed: int = 0
    n_drawn: int = 0
    n_duplicates: int = 0
    n_short: int = 0
    n_one_answer: int = 0
    """Prompts without an item: every try gave the same answer."""
    n_too_long: int = 0
    """Prompts without an item: they leave too little of the context for an answer."""
    n_repeated: int = 0
    """Prompts that were given more than once; the first counts."""
    n_known: int = 0
    """Prompts whose items the store has already, of the same model, settings and seed."""

    def to_json(self) -> dict[str, int]:
        return {
            "prompts": self.n_prompts,
            "items": self.n_items,
            "answers": self.n_answers,
            "borrowed": self.n_borrowed,
            "drawn": self.n_drawn,
            "duplicates": self.n_duplicates,
            "items_with_fewer_answers": self.n_short,
            "prompts_with_one_answer": self.n_one_answer,
            "prompts_too_long": self.n_too_long,
            "prompts_repeated": self.n_repeated,
            "prompts_known": self.n_known,
        }


def sample_answers(
    llm: "LanguageModel",
    prompts: Sequence[Prompt],
    *,
    k: int = 4,
    n_borrowed: int = 0,
    sampling: "Sampling",
    seed: int,
    model_hash: str,
    max_tries: int = 4,
    report: SampleReport | None = None,
) -> list[Item]:
    """Up to `k` different answers to each prompt, sampled as `sampling` says (its `n` and `seed` are set here).

    `n_borrowed` of the k are answers to other prompts given here, of any language. Answers are compared as people see
    them, without white space around them. Where some are equal, as many again are drawn, at most `max_tries` times
    in all; a prompt with one answer only makes no item. `report` counts it all. Raises ConfigError where less than two
    are its own, DataError for a malformed prompt.
    """
    n_own = k - n_borrowed
    if n_own < 2:
        raise ConfigError(f"{n_own} answers of its own to a prompt: there is nothing to rank", hint="ask for 2 or more")
    report = report or SampleReport()
    report.n_prompts += len(prompts)
    asked = _readable_prompts(llm, prompts, sampling.max_new_tokens, report)
    items: list[Item] = []
    drawn = _draw(llm, list(asked), n_own, sampling, seed, max_tries, report)
    written = [
        (prompt, [_answer(one, settings, model_hash) for one, settings in answers.values()])
        for prompt, answers in zip(asked.values(), drawn, strict=True)
    ]
    for prompt, own in written:
        borrowed = _borrow(written, prompt, own, n_borrowed, seed)
        if len(own) + len(borrowed) < 2:
            report.n_one_answer += 1
            continue
        report.n_short += len(own) < n_own
        report.n_answers += len(own)
        report.n_borrowed += len(borrowed)
        fields = {"language": prompt.language, "source": prompt.source, "task_id": prompt.task_id}
        items.append(Item.make(prompt.messages, own + borrowed, **fields))
    report.n_items += len(items)
    return items


def sample_for_ranking(
    llm: "LanguageModel",
    store: PreferenceStore,
    settings: SampleSettings,
    *,
    model_hash: str,
    read_report: ReadReport,
    progress: Callable[[int], None] | None = None,
) -> SampleReport:
    """Prompts as the settings say, answered and stored: `prosa sample`. Given again, it goes on or changes nothing."""
    from prosa.generate import Sampling

    prompts = read_prompts(settings, read_report)
    sampling = Sampling(temperature=settings.temperature, top_p=settings.top_p, max_new_tokens=settings.max_new_tokens)
    return sample_into_store(
        llm,
        store,
        prompts,
        k=settings.k,
        n_borrowed=settings.borrowed,
        sampling=sampling,
        seed=settings.seed,
        model_hash=model_hash,
        gold=_gold_of_world(settings),
        progress=progress,
    )


def sample_into_store(
    llm: "LanguageModel",
    store: PreferenceStore,
    prompts: Sequence[Prompt],
    *,
    k: int = 4,
    n_borrowed: int = 0,
    sampling: "Sampling",
    seed: int,
    model_hash: str,
    gold: Callable[[Item], Ranking | None] | None = None,
    progress: Callable[[int], None] | None = None,
) -> SampleReport:
    """`sample_answers`, each piece of the work stored when it is done: killed, the same call goes on where it was.

    gold: the right ranking of an item, where it is known; progress: told the number of prompts done.
    """
    report = SampleReport()
    # Every item has an answer of the first attempt, with these settings as the store gives them.
    mark = json.loads(json.dumps(_answer_settings(_settings(sampling, seed, 0, k))))
    known = {
        item_id(item.messages, ())
        for item in store.items()
        if any((answer.model, answer.sampling) == (model_hash, mark) for answer in item.answers)
    }
    left = [prompt for prompt in prompts if item_id(prompt.messages, ()) not in known]
    report.n_known = len(prompts) - len(left)
    for first in range(0, len(left), _CHUNK):
        piece = left[first : first + _CHUNK]
        items = sample_answers(
            llm,
            piece,
            k=k,
            n_borrowed=n_borrowed,
            sampling=sampling,
            seed=seed,
            model_hash=model_hash,
            report=report,
        )
        store.add_items([replace(item, gold=gold(item)) for item in items] if gold else items)
        if progress is not None:
            progress(report.n_known + first + len(piece))
    return report


def _gold_of_world(settings: SampleSettings) -> Callable[[Item], Ranking | None] | None:
    """What is right of the share of items that test annotators; None if the prompts are not of the world."""
    if not (settings.gold_share and settings.prompts.startswith("world:")):
        return None
    town = world.build_world(world.parse_world(settings.prompts))

    def gold(item: Item) -> Ranking | None:
        is_chosen = derive_seed(settings.seed, f"gold {item.id}") < settings.gold_share * 2**63
        return gold_ranking(town, item) if is_chosen else None

    return gold


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
        settings = [_settings(sampling, seed, attempt, k - len(found[index])) for index in missing]
        completions = llm.complete([prompts[index] for index in missing], settings)
        for index, used, samples in zip(missing, settings, completions, strict=True):
            report.n_drawn += len(samples)
            for completion in samples:
                text = completion.text.strip()
                report.n_duplicates += text in found[index]
                found[index].setdefault(text, (completion, used))
    return found


def _borrow(
    written: Sequence[tuple[Prompt, list[Answer]]], prompt: Prompt, own: Sequence[Answer], n: int, seed: int
) -> list[Answer]:
    """Up to `n` different answers to other prompts, none like its own; some come in another language than `prompt`."""
    if not n:
        return []
    texts = {answer.text.strip() for answer in own}
    others = [answer for other, answers in written if other is not prompt for answer in answers]
    stream = numpy_stream(seed, f"borrowed answers {item_id(prompt.messages, ())}")
    chosen: dict[str, Answer] = {}
    for number in stream.permutation(len(others)):
        if others[number].text.strip() not in texts:
            chosen.setdefault(others[number].text.strip(), others[number])
        if len(chosen) == n:
            break
    return [replace(answer, sampling={**answer.sampling, "borrowed": True}) for answer in chosen.values()]


def _settings(sampling: "Sampling", seed: int, attempt: int, n: int) -> "Sampling":
    seed = derive_seed(seed, "answers to rank", attempt)
    # An answer may use what is left of the context, but never forget its prompt.
    return sampling.model_copy(update={"n": n, "seed": seed, "top_logprobs": 0, "when_full": "stop"})


def _answer(completion: "Completion", settings: "Sampling", model_hash: str) -> Answer:
    return Answer(
        text=completion.text,
        finish_reason=completion.finish_reason,
        ids=tuple(completion.ids),
        logprob=sum(completion.logprobs),
        model=model_hash,
        sampling=_answer_settings(settings),
    )


def _answer_settings(settings: "Sampling") -> dict[str, Any]:
    return settings.model_dump(mode="json", exclude={"n", "top_logprobs"})
