"""K different answers to a prompt: seeded, alone or in company, each prompt computed once, every loss counted."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from prosa.corpus import ReadReport
from prosa.errors import ConfigError, DataError
from prosa.generate import LanguageModel, Sampling
from prosa.preferences import (
    Item,
    PreferenceStore,
    Prompt,
    Ranking,
    SampleReport,
    SampleSettings,
    sample_answers,
    sample_for_ranking,
    sample_into_store,
)
from prosa.preferences.rows import read_row, write_row
from prosa.tokenizer import render_conversation
from tests.generate.tiny import byte_language_model

torch.set_num_threads(1)
SETTINGS = Sampling(temperature=1.0, max_new_tokens=6)


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    return byte_language_model(context_length=96)


def ask(*texts: str) -> list[Prompt]:
    return [Prompt(({"role": "user", "content": text},), "pt", "teste", f"t{n}") for n, text in enumerate(texts)]


def sample(llm: LanguageModel, prompts: list[Prompt], **chosen: Any) -> tuple[list[Item], SampleReport]:
    report = SampleReport()
    fields = {"sampling": SETTINGS, "seed": 3, "model_hash": "hash", "report": report}
    return sample_answers(llm, prompts, **{**fields, **chosen}), report


def without_logprobs(item: Item) -> Item:
    return replace(item, answers=tuple(replace(answer, logprob=0.0) for answer in item.answers))


def test_items_say_all_there_is_to_say(llm: LanguageModel) -> None:
    items, report = sample(llm, ask("Oi", "Quem mora no farol?"), k=3)
    assert [item.messages[0]["content"] for item in items] == ["Oi", "Quem mora no farol?"]
    assert [(item.language, item.source, item.task_id) for item in items] == [
        ("pt", "teste", "t0"),
        ("pt", "teste", "t1"),
    ]
    for item in items:
        assert len({answer.text.strip() for answer in item.answers}) == 3
        for answer in item.answers:
            assert answer.model == "hash" and answer.finish_reason in ("stop", "length")
            assert llm.tokenizer.decode(answer.ids) == answer.text
            assert answer.sampling["temperature"] == 1.0 and answer.sampling["max_new_tokens"] == 6
        assert read_row(Item, write_row(item)) == item
    assert (report.n_prompts, report.n_items, report.n_answers) == (2, 2, 6)
    assert report.n_drawn == 6 + report.n_duplicates


def test_log_probabilities_are_the_model_s_own(llm: LanguageModel) -> None:
    [item], _ = sample(llm, ask("Oi"), k=2)
    prompt, _ = render_conversation(llm.tokenizer, item.messages, add_generation_prompt=True)
    for answer in item.answers:
        with torch.no_grad():
            logits = llm.model(torch.tensor([[*prompt, *answer.ids]]))[0, len(prompt) - 1 : -1, :260]
        chosen = logits.log_softmax(-1).gather(1, torch.tensor(answer.ids)[:, None]).sum()
        assert answer.logprob == pytest.approx(float(chosen), abs=1e-3)


def test_the_seed_and_the_prompt_decide(llm: LanguageModel) -> None:
    prompts = ask("a", "bb", "um prompt mais comprido")
    items, _ = sample(llm, prompts)
    assert sample(llm, prompts)[0] == items
    # The company of other prompts changes how sums are rounded, and nothing else.
    for alone, together in (
        (sample(llm, prompts[1:2])[0], items[1:2]),
        (sample(llm, prompts[::-1])[0], items[::-1]),
    ):
        assert [without_logprobs(item) for item in alone] == [without_logprobs(item) for item in together]
        for one, other in zip(alone, together, strict=True):
            expected = [answer.logprob for answer in other.answers]
            assert [answer.logprob for answer in one.answers] == pytest.approx(expected, abs=1e-4)
    assert [item.id for item in sample(llm, prompts, seed=4)[0]] != [item.id for item in items]


def test_each_prompt_is_computed_once(llm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    real = llm.model.hidden

    def hidden(ids: torch.Tensor, *rest: Any, **named: Any) -> torch.Tensor:
        sizes.append(tuple(ids.shape))
        return real(ids, *rest, **named)

    monkeypatch.setattr(llm.model, "hidden", hidden)
    sample(llm, ask("aa", "bb"), k=4, max_tries=1)
    long = [size for size in sizes if size[1] > 1]
    assert long == [(2, long[0][1])], "two prompts for eight answers"


def test_duplicates_are_drawn_again(llm: LanguageModel) -> None:
    # Two bytes are possible, one token long: there are two answers, and the end.
    two = Sampling(max_new_tokens=1, temperature=1.0, logit_bias=dict.fromkeys(llm.tokenizer.encode("ab"), 100.0))
    items, report = sample(llm, ask(*"abcdef"), k=2, sampling=two, max_tries=50)
    assert [{answer.text for answer in item.answers} for item in items] == [{"a", "b"}] * 6
    assert report.n_duplicates > 0 and report.n_drawn == 12 + report.n_duplicates and report.n_short == 0
    items, report = sample(llm, ask("a"), k=4, sampling=two, max_tries=20)
    assert len(items[0].answers) == 2 and report.n_short == 1


def test_one_answer_only_makes_no_item(llm: LanguageModel) -> None:
    items, report = sample(llm, ask("a", "b"), sampling=Sampling(temperature=0, max_new_tokens=4))
    assert items == [] and report.n_one_answer == 2 and report.n_drawn == 2 * (4 + 3 * 3)
    assert report.to_json()["prompts_with_one_answer"] == 2


def test_prompts_that_leave_no_room_or_come_twice(llm: LanguageModel) -> None:
    items, report = sample(llm, ask("a", "x" * 90, "a"), k=2)
    assert len(items) == 1 and report.n_too_long == 1 and report.n_repeated == 1 and report.n_prompts == 3


def test_answers_are_cut_where_the_context_ends(llm: LanguageModel) -> None:
    never = dict.fromkeys(llm.tokenizer.control_ids, -100.0)
    long = Sampling(temperature=1.0, max_new_tokens=4000, logit_bias=never)
    [item], _ = sample(llm, ask("a"), k=2, sampling=long)
    prompt, _ = render_conversation(llm.tokenizer, item.messages, add_generation_prompt=True)
    assert {answer.finish_reason for answer in item.answers} == {"context"}
    assert all(96 <= len(prompt) + len(answer.ids) <= 97 for answer in item.answers)


def test_borrowed_answers_are_those_of_other_prompts(llm: LanguageModel) -> None:
    prompts = [replace(prompt, language=language) for prompt, language in zip(ask(*"abcdef"), "pppeee", strict=True)]
    items, report = sample(llm, prompts, k=4, n_borrowed=2)
    own = {item.messages[0]["content"]: [a for a in item.answers if not a.sampling.get("borrowed")] for item in items}
    assert report.n_borrowed == sum(len(item.answers) for item in items) - report.n_answers == 2 * len(items)
    came_from = set()
    for item in items:
        borrowed = [answer for answer in item.answers if answer.sampling.get("borrowed")]
        others = [other for other in items if other is not item]
        texts = {answer.text: other.language for other in others for answer in own[other.messages[0]["content"]]}
        came_from |= {(item.language, texts[answer.text]) for answer in borrowed}
        assert len(borrowed) == 2
        assert len({answer.text.strip() for answer in item.answers}) == len(item.answers)
    assert came_from == {("p", "p"), ("p", "e"), ("e", "p"), ("e", "e")}
    assert sample(llm, prompts, k=4, n_borrowed=2)[0] == items
    with pytest.raises(ConfigError, match="nothing to rank"):
        sample(llm, prompts, k=4, n_borrowed=3)


def test_what_cannot_be_asked(llm: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="nothing to rank"):
        sample(llm, ask("a"), k=1)
    with pytest.raises(DataError, match="assistant's own turn"):
        sample(llm, [Prompt(({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}))])
    with pytest.raises(DataError, match="without messages"):
        sample(llm, [Prompt(())])


def test_a_sampling_that_was_killed_goes_on(llm: LanguageModel, tmp_path: Path) -> None:
    prompts, told = ask(*map(str, range(260))), list[int]()
    fields: dict[str, Any] = {"k": 2, "sampling": SETTINGS, "seed": 3, "model_hash": "hash"}

    def stop(done: int) -> None:
        raise KeyboardInterrupt

    with PreferenceStore(tmp_path / "preferences.sqlite") as store:
        with pytest.raises(KeyboardInterrupt):
            sample_into_store(llm, store, prompts, progress=stop, **fields)
        assert len(store.items()) == 256
        report = sample_into_store(llm, store, prompts, progress=told.append, **fields)
        assert (report.n_known, report.n_items, told) == (256, 4, [260])
        assert store.items() == sample(llm, prompts, k=2)[0]
        assert sample_into_store(llm, store, prompts, **fields).n_drawn == 0
        # Another seed is other work.
        assert sample_into_store(llm, store, prompts[:2], **{**fields, "seed": 4}).n_items == 2


def test_prosa_sample(llm: LanguageModel, tmp_path: Path) -> None:
    settings = SampleSettings(prompts="world:small", n_prompts=12, k=2, max_new_tokens=4, gold_share=0.5)
    with PreferenceStore(tmp_path / "preferences.sqlite") as store:
        report = sample_for_ranking(wide_llm(), store, settings, model_hash="h", read_report=ReadReport())
        items = store.items()
        assert report.n_items == len(items) == 12 and {item.source for item in items} == {"world"}
        # Whatever is worth the same has no right order; the others are there by half.
        assert 0 <= sum(item.gold is not None for item in items) < 12
        again = sample_for_ranking(wide_llm(), store, settings, model_hash="h", read_report=ReadReport())
        assert again.n_known == 12 and again.n_drawn == 0


def test_right_rankings_stay_with_the_items(llm: LanguageModel, tmp_path: Path) -> None:
    with PreferenceStore(tmp_path / "preferences.sqlite") as store:
        fields: dict[str, Any] = {"k": 2, "sampling": SETTINGS, "seed": 3, "model_hash": "hash"}
        sample_into_store(llm, store, ask("a"), gold=lambda item: Ranking(((1,), (0,))), **fields)
        assert [item.gold for item in store.items()] == [Ranking(((1,), (0,)))]


def wide_llm() -> LanguageModel:
    return byte_language_model(context_length=512)
