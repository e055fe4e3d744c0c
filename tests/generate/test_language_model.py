import io
from pathlib import Path

import pytest
import torch
from rich.console import Console

from prosa.checkpoint import save_checkpoint
from prosa.errors import ConfigError, DataError, ModelFileRefused
from prosa.generate import LanguageModel, Sampling, load, render_step
from prosa.model import save_model
from tests.generate.tiny import TOKENIZER, byte_language_model, byte_model


@pytest.fixture(scope="module")
def llm() -> LanguageModel:
    return byte_language_model()


def test_one_text_several_texts_and_samples(llm: LanguageModel) -> None:
    one = llm.generate("abc", seed=1, max_new_tokens=9)
    assert isinstance(one, str) and one
    assert llm.generate("abc", seed=1, max_new_tokens=9) == one
    assert llm.generate("abc", seed=2, max_new_tokens=9) != one
    several = llm.generate(["longer than abc", "abc"], seed=1, max_new_tokens=9)
    assert several[1] == one
    samples = llm.generate("abc", seed=1, max_new_tokens=9, n=3)
    assert len(samples) == len(set(samples)) == 3 and samples[0] == one
    assert llm.generate(["abc", "x"], seed=1, max_new_tokens=9, n=3)[0] == samples
    assert llm.generate("abc", max_new_tokens=9) != llm.generate("abc", max_new_tokens=9)


def test_streamed_pieces_join_to_the_text(llm: LanguageModel) -> None:
    whole = llm.generate("abc", seed=1, stop=["\n"])
    pieces = list(llm.generate("abc", seed=1, stop=["\n"], stream=True))
    assert "".join(pieces) == whole and all(pieces)
    assert len(pieces) > len(whole) / 3


def test_the_empty_prompt_begins_a_document(llm: LanguageModel) -> None:
    sampling = Sampling(seed=1, max_new_tokens=5)
    assert llm.encode_prompt("") == [TOKENIZER.end_of_text_id]
    assert llm.complete([[]], sampling) == llm.complete([[TOKENIZER.end_of_text_id]], sampling)
    assert llm.generate("", seed=1, max_new_tokens=5) == llm.complete([[]], sampling)[0][0].text


def test_mistakes_are_named_before_anything_is_computed(llm: LanguageModel) -> None:
    with pytest.raises(ConfigError, match="unknown setting `max_tokens`") as caught:
        llm.generate("a", max_tokens=3, stream=True)
    assert "max_new_tokens" in caught.value.hint
    with pytest.raises(ConfigError, match="only one text of one prompt can be streamed"):
        llm.generate(["a", "b"], stream=True)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="2 prompts but 1 samplings"):
        llm.complete([[1], [2]], [Sampling()])
    with pytest.raises(ConfigError, match="n must be 1 here"):
        llm.explain("a", n=2)


def test_next_token_is_the_whole_distribution(llm: LanguageModel) -> None:
    candidates = llm.next_token("O gato")
    with torch.no_grad():
        expected = llm.model(torch.tensor([TOKENIZER.encode("O gato")]))[0, -1].log_softmax(-1)
    assert len(candidates) == 260 and {c.id for c in candidates} == set(range(260))
    assert [c.logprob for c in candidates] == pytest.approx(expected.sort(descending=True).values.tolist(), abs=1e-5)
    assert all(c.logprob == pytest.approx(float(expected[c.id]), abs=1e-5) for c in candidates)
    assert sum(c.probability for c in candidates) == pytest.approx(1)
    assert all(c.probability == pytest.approx(c.sampling_probability, abs=1e-6) for c in candidates)
    assert next(c for c in candidates if c.id == ord("a")).text == "a"
    cut = llm.next_token("O gato", top_k=2, temperature=0.5)
    assert [c.id for c in cut] == [c.id for c in candidates]
    assert [c.sampling_probability > 0 for c in cut] == [True, True] + [False] * 258


def test_score_is_the_log_probability_of_each_token(llm: LanguageModel) -> None:
    score = llm.score("O gato", " subiu")
    ids = TOKENIZER.encode("O gato subiu")
    with torch.no_grad():
        logprobs = llm.model(torch.tensor([ids]))[0].log_softmax(-1)
    expected = [float(logprobs[position - 1, ids[position]]) for position in range(6, 12)]
    assert score.ids == ids[6:] and score.logprobs == pytest.approx(expected, abs=1e-5)
    assert score.total == pytest.approx(sum(expected), abs=1e-4)
    [[completion]] = llm.complete(
        [ids], Sampling(seed=0, max_new_tokens=8, logit_bias=dict.fromkeys(range(128, 260), -100.0))
    )
    assert llm.score("O gato subiu", completion.text).logprobs == pytest.approx(completion.logprobs, abs=1e-4)


def test_a_long_prompt_loses_its_beginning_when_scored() -> None:
    llm = byte_language_model(context_length=16)
    prompt, completion = "x" * 90 + "abcdefghijkl", "mno"
    ids = TOKENIZER.encode(prompt + completion)[-17:]
    with torch.no_grad():
        logprobs = llm.model(torch.tensor([ids[:-1]]))[0].log_softmax(-1)
    expected = [float(logprobs[position, ids[position + 1]]) for position in (13, 14, 15)]
    assert llm.score(prompt, completion).logprobs == pytest.approx(expected, abs=1e-5)
    with pytest.raises(DataError, match="a completion of 17 tokens, the context holds 1 to 16"):
        llm.score("a", "b" * 17)
    with pytest.raises(DataError, match="a completion of 0 tokens"):
        llm.score("a", "")
    assert len(llm.next_token("y" * 99)) == 260


def test_explained_steps_are_those_of_generate(llm: LanguageModel) -> None:
    settings = {"seed": 1, "max_new_tokens": 6, "top_k": 4, "repetition_penalty": 1.2}
    steps = list(llm.explain("abc", **settings))
    [[completion]] = llm.complete([llm.encode_prompt("abc")], Sampling(**settings))  # type: ignore[arg-type]
    assert [step.chosen.id for step in steps] == completion.ids
    assert [step.chosen.logprob for step in steps] == pytest.approx(completion.logprobs, abs=1e-5)
    for number, step in enumerate(steps, start=1):
        assert step.step == number
        assert step.tokens == [TOKENIZER.show(id) for id in [*b"abc", *completion.ids[: number - 1]]]
        assert len(step.candidates) == 10
        assert step.candidates == sorted(step.candidates, key=lambda c: -c.probability)
        assert step.chosen.sampling_probability > 0
        assert sum(c.sampling_probability > 0 for c in step.candidates) <= 4


def test_a_step_is_shown_with_bars_and_the_chosen_token(llm: LanguageModel) -> None:
    step = next(llm.explain("[bold]abc", seed=3, max_new_tokens=1, logit_bias={ord("["): 100.0}))
    console = Console(width=90, record=True, file=io.StringIO())
    console.print(render_step(step))
    text = console.export_text()
    assert "[bold]abc" in text and "\N{BLACK RIGHT-POINTING TRIANGLE}" in text and "100.0%" in text
    assert "\N{FULL BLOCK}" in text and len(text.splitlines()) in (11, 12)


def test_load_finds_the_model_of_a_run_a_stage_and_a_folder(tmp_path: Path) -> None:
    model = byte_model()
    save_model(tmp_path / "run" / "base" / "model", model, TOKENIZER)
    expected = LanguageModel(model, TOKENIZER).generate("a", seed=1)
    for path in ("run", "run/base", "run/base/model"):
        assert load(tmp_path / path).generate("a", seed=1) == expected
    assert load(str(tmp_path / "run")).tokenizer.hash == TOKENIZER.hash


def test_load_reads_a_checkpoint_with_its_runs_tokenizer(tmp_path: Path) -> None:
    model, run = byte_model(), tmp_path / "run"
    (run / "tokenizer").mkdir(parents=True)
    TOKENIZER.save(run / "tokenizer")
    fingerprint = {"settings": {"model": model.settings.model_dump(mode="json")}}
    tensors = {"model": model.state_dict(), "optimizer": {"x": torch.zeros(1)}}
    step = save_checkpoint(run / "base" / "checkpoints", 7, tensors=tensors, state={}, fingerprint=fingerprint)
    assert load(step).generate("a", seed=1) == LanguageModel(model, TOKENIZER).generate("a", seed=1)
    with pytest.raises(ModelFileRefused, match="holds no model") as caught:
        load(run)
    assert "step-00000007" in caught.value.hint


def test_what_is_no_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelFileRefused, match="holds no model"):
        load(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "vila").mkdir(parents=True)
    with pytest.raises(ModelFileRefused, match="`vila` does not exist") as caught:
        load("vila")
    assert "vila" in caught.value.hint and "runs" in caught.value.hint
    with pytest.raises(ModelFileRefused, match="the tokenizer has 260 tokens, the model 97"):
        LanguageModel(byte_model(vocab_size=97), TOKENIZER)
