"""Assistants that know everything, nothing or refuse all score as they must; a real model is asked as it was taught."""

import json
import math
from collections.abc import Mapping, Sequence

import numpy as np
import pytest
import torch
from rich.console import Console

from prosa.corpus.world import World, build_world, parse_world
from prosa.evaluate import AssistantReport, answer_with, assistant_table, evaluate_assistant, wilson_interval
from prosa.evaluate.assistant import MEASURES
from prosa.generate import Completion, LanguageModel, Sampling

N = 12
ABSTAINING = {"pt": "Não sei.", "en": "I don't know."}
REFUSING = {"pt": "Não posso ajudar com isso.", "en": "I can't help with that."}


@pytest.fixture(scope="module")
def town() -> World:
    return build_world(parse_world("world:small,seed=3,size=1KB"))


class Oracle:
    """Gives each task's own good reply, or says the same in the task's language; notes what it was asked."""

    def __init__(self, town: World, says: Mapping[str, str] | None = None) -> None:
        self.says, self.asked = says, []
        self.town = town

    def __call__(self, conversations: Sequence[Sequence[Mapping[str, str]]]) -> list[tuple[str, bool]]:
        self.asked += conversations
        if self.says is None:
            return [(self.replies[tuple(message["content"] for message in one)], True) for one in conversations]
        return [(self.says[self.languages[one[-1]["content"]]], True) for one in conversations]

    def learn(self, report: AssistantReport) -> "Oracle":
        tasks = [answer.task for answer in report.answers]
        self.replies = {tuple(message["content"] for message in task.messages): task.reply for task in tasks}
        self.languages = {task.messages[-1]["content"]: task.language for task in tasks}
        return self


@pytest.fixture(scope="module")
def silent(town: World) -> AssistantReport:
    return evaluate_assistant(lambda asked: [("", False)] * len(asked), town, n_per_kind=N, seed=1)


def shares(report: AssistantReport) -> dict[str, float]:
    return {name: groups["all"].share for name, groups in report.measures.items()}


def test_who_knows_everything_is_right_everywhere(town: World, silent: AssistantReport) -> None:
    report = evaluate_assistant(Oracle(town).learn(silent), town, n_per_kind=N, seed=1)
    assert shares(report) == {name: float(measure.wants == "more") for name, measure in MEASURES.items()}
    assert report.gold_reward["all"].mean == 1
    assert all(answer.verdict.is_good for answer in report.answers)
    for name, groups in report.measures.items():
        assert groups["all"].n == groups["pt"].n + groups["en"].n > 0, name
        assert groups["all"].interval == wilson_interval(groups["all"].n_hits, groups["all"].n)
    kinds = report.measures
    assert kinds["ends"]["pt"].n == len({a.task.id for a in report.answers if a.task.language == "pt"})
    assert kinds["right"]["all"].n == kinds["right_new_asked"]["all"].n + kinds["right_new_read"]["all"].n
    forms = [kinds[name]["all"].n for name in kinds if name.startswith("form_") and name != "form_and_truth"]
    assert sum(forms) == kinds["form"]["all"].n


def test_who_says_nothing_is_never_right(silent: AssistantReport) -> None:
    values = shares(silent)
    assert all(values[name] == 0 for name, measure in MEASURES.items() if measure.wants == "more")
    assert values["wrong_known"] == values["hallucinates"] == 1
    assert silent.gold_reward["all"].mean == pytest.approx(-1)
    assert silent.fluency["all"].distinct_2 == silent.fluency["all"].words_per_answer == 0


def test_who_never_knows_abstains_and_who_always_refuses_declines(town: World, silent: AssistantReport) -> None:
    values = shares(evaluate_assistant(Oracle(town, ABSTAINING).learn(silent), town, n_per_kind=N, seed=1))
    assert values["abstains_known"] == values["abstains_unknown"] == values["ends"] == 1
    assert values["hallucinates"] == values["wrong_known"] == values["right"] == values["declines"] == 0
    values = shares(evaluate_assistant(Oracle(town, REFUSING).learn(silent), town, n_per_kind=N, seed=1))
    assert values["declines"] == values["over_refuses"] == 1
    assert values["right_allow"] == values["abstains_unknown"] == values["talks"] == 0


def test_tasks_are_different_held_out_and_the_same_each_time(town: World, silent: AssistantReport) -> None:
    again = Oracle(town).learn(silent)
    evaluate_assistant(again, town, n_per_kind=N, seed=1)
    prompts = [tuple(message["content"] for message in one) for one in again.asked]
    assert len(prompts) == len(silent.answers)
    groups: dict[tuple[str, str], list[str]] = {}
    for answer in silent.answers:
        groups.setdefault((answer.group, answer.task.language), []).append(str(answer.task.messages))
        assert answer.task.id.split(":")[2] != "train"
    assert all(len(set(texts)) == len(texts) <= N for texts in groups.values())
    assert all(len(groups[kind, "pt"]) == N for kind in ("new_asked", "unknown", "form", "allow"))
    other = evaluate_assistant(lambda asked: [("", True)] * len(asked), town, n_per_kind=2, seed=2, languages=["en"])
    assert {answer.task.language for answer in other.answers} == {"en"}
    assert other.answers != [answer for answer in silent.answers if answer.task.language == "en"]


def test_a_model_is_asked_in_chatml(tokenizer, make_model) -> None:
    llm = LanguageModel(make_model(tokenizer.vocab_size, context_length=64), tokenizer)
    seen: list[tuple[list[list[int]], Sampling]] = []

    def complete(prompts, sampling):
        seen.append((prompts, sampling))
        return [[Completion([97], " oi\n", [0.0], "length", [])] for _ in prompts]

    llm.complete = complete
    for drawing, temperature in (("greedy", 0), ("sampled", 1)):
        assert answer_with(llm, drawing, seed=7)([[{"role": "user", "content": "Oi"}]]) == [("oi", False)]
        [ids], sampling = seen.pop()
        assert (sampling.temperature, sampling.seed) == (temperature, 7)
        turn = [*tokenizer.encode("user\n"), *tokenizer.encode("Oi"), tokenizer.im_end_id, *tokenizer.encode("\n")]
        assert ids == [tokenizer.im_start_id, *turn, tokenizer.im_start_id, *tokenizer.encode("assistant\n")]


def test_an_answer_that_meets_its_end_token_has_ended(tokenizer, make_model) -> None:
    llm = LanguageModel(make_model(tokenizer.vocab_size, context_length=64), tokenizer)
    ends = []
    for id in (tokenizer.im_end_id, tokenizer.encode("a")[0]):
        with torch.no_grad():
            # Every hidden state now finds one token the likeliest, whatever was said.
            llm.model.unembedding.copy_(torch.zeros_like(llm.model.unembedding))
            llm.model.unembedding[id] = 1.0
        llm.model.hidden = lambda ids, kv_cache=None, **_: _advance(llm, ids, kv_cache)
        [(text, is_ended)] = answer_with(llm)([[{"role": "user", "content": "Oi"}]])
        ends.append((set(text), is_ended))
    assert ends == [(set(), True), ({"a"}, False)]


def _advance(llm: LanguageModel, ids: torch.Tensor, kv_cache) -> torch.Tensor:
    if kv_cache is not None:
        type(llm.model).hidden(llm.model, ids, kv_cache)
    return torch.ones(*ids.shape, llm.model.settings.d_model)


def test_fluency_is_bits_per_byte_under_the_base(town: World, tokenizer, make_model, silent: AssistantReport) -> None:
    base = LanguageModel(make_model(tokenizer.vocab_size, context_length=64), tokenizer)
    report = evaluate_assistant(
        Oracle(town, {"pt": "não sei", "en": "the way"}).learn(silent), town, n_per_kind=3, seed=1, languages=["pt"],
        base=base,
    )  # fmt: skip
    ids = [tokenizer.end_of_text_id, *tokenizer.encode("não sei")]
    with torch.no_grad():
        logprobs = base.model(torch.tensor([ids[:-1]]))[0].double().log_softmax(-1)
    nats = -sum(float(logprobs[i, id]) for i, id in enumerate(ids[1:]))
    assert report.fluency["pt"].bits_per_byte == pytest.approx(nats / math.log(2) / len("não sei".encode()), rel=1e-4)
    n = len(report.answers)
    assert report.fluency["pt"].distinct_2 == pytest.approx(1 / n)
    assert report.fluency["pt"].words_per_answer == 2


def test_reports_are_json_and_tables_say_it_in_both_languages(silent: AssistantReport) -> None:
    values = json.loads(json.dumps(silent.to_json(), allow_nan=False))
    assert values["n_answers"] == len(silent.answers)
    shown = {}
    for language in ("en", "pt"):
        for one in (silent, values):
            console = Console(width=200, no_color=True, force_terminal=False)
            with console.capture() as capture:
                console.print(assistant_table(one, language=language))
            shown[language] = capture.get()
        assert shown[language].count("%") > 3 * len(MEASURES)
    assert "coisas inexistentes: inventa (alucinação)" in shown["pt"]
    assert "100,0%" in shown["pt"]
    assert "unknown things: invents (hallucination)" in shown["en"]
    english = set(shown["en"].split()) & {"melhor", "menos", "respostas", "tudo"}
    assert not english
    assert np.isclose(values["gold_reward"]["all"]["mean"], silent.gold_reward["all"].mean)
