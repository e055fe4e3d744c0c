from pathlib import Path
from typing import Any

import pytest
import torch

from prosa.errors import ConfigError, DataError
from prosa.generate import Sampling, decode_one_token, prefill
from prosa.generate.engine import MAX_ROWS
from prosa.model import Transformer, save_model
from tests.generate.tiny import TOKENIZER, byte_language_model, byte_model, write_slowly

PROMPTS = [[65, 66, 67], [100], list(range(40)), [200, 7] * 6, [1, 2, 3, 4, 5]]
NO_STOP = {TOKENIZER.end_of_text_id: -100.0, TOKENIZER.im_end_id: -100.0}
MIXED = [
    Sampling(temperature=0, max_new_tokens=30),
    Sampling(seed=1, max_new_tokens=12, top_p=0.9),
    Sampling(seed=2, max_new_tokens=50, temperature=1.3, top_k=40, repetition_penalty=1.3),
    Sampling(seed=3, max_new_tokens=90, min_p=0.02, frequency_penalty=0.5),
    Sampling(seed=1, max_new_tokens=1),
]


@pytest.mark.parametrize("changes", [{}, {"sliding_window": 9, "n_full_layer": 1}, {"family": "qwen2"}], ids=str)
def test_a_ragged_batch_writes_what_each_row_writes_alone_without_a_cache(changes: dict[str, Any]) -> None:
    llm = byte_language_model(**changes)
    for completions, prompt, sampling in zip(llm.complete(PROMPTS, MIXED), PROMPTS, MIXED, strict=True):
        ids, logprobs = write_slowly(llm.model, prompt, sampling)
        assert completions[0].ids == ids
        assert completions[0].logprobs == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("n_prompt", [1, 15, 16, 17, 50])
@pytest.mark.parametrize("n_new", [1, 8, 60])
def test_a_full_context_slides(n_prompt: int, n_new: int) -> None:
    llm = byte_language_model(context_length=16)
    prompts = [list(range(n_prompt)), [9, 9, 9]]
    sampling = Sampling(seed=5, max_new_tokens=n_new, logit_bias=NO_STOP)
    for completions, prompt in zip(llm.complete(prompts, sampling), prompts, strict=True):
        assert completions[0].ids == write_slowly(llm.model, prompt, sampling)[0]
        assert completions[0].finish_reason == "length" and len(completions[0].ids) == n_new


def test_a_full_context_stops_when_asked_to() -> None:
    llm = byte_language_model(context_length=16)
    sampling = Sampling(seed=5, when_full="stop", logit_bias=NO_STOP)
    short, exact = llm.complete([[1, 2, 3], list(range(16))], sampling)
    # 13 tokens fill the context and its last position still predicts one more.
    assert (len(short[0].ids), short[0].finish_reason) == (14, "context")
    assert (len(exact[0].ids), exact[0].finish_reason) == (1, "context")
    assert short[0].ids == write_slowly(llm.model, [1, 2, 3], sampling)[0]
    with pytest.raises(DataError, match="prompt 1 has 17 tokens, the context holds 16"):
        llm.complete([[1], list(range(17))], sampling)


def test_samples_of_one_prompt_share_its_computation(monkeypatch: pytest.MonkeyPatch) -> None:
    llm, shapes = byte_language_model(), list[tuple[int, ...]]()
    hidden = Transformer.hidden
    monkeypatch.setattr(
        Transformer,
        "hidden",
        lambda self, ids, *others, **named: (shapes.append(tuple(ids.shape)), hidden(self, ids, *others, **named))[1],
    )
    sampling = Sampling(seed=4, n=5, max_new_tokens=7)
    samples = llm.complete([PROMPTS[3], PROMPTS[0]], [sampling, Sampling(seed=4, max_new_tokens=3)])
    assert shapes == [(2, 12), (6, 1), (6, 1), *[(5, 1)] * 4]
    for number, completion in enumerate(samples[0]):
        assert completion.ids == write_slowly(llm.model, PROMPTS[3], sampling, number)[0]
    assert len({tuple(completion.ids) for completion in samples[0]}) == 5


def test_those_that_wait_take_the_places_of_those_that_are_done() -> None:
    llm = byte_language_model(context_length=32)
    prompts = [[id % 250] * (1 + id % 13) for id in range(2 * MAX_ROWS + 9)]
    kinds = [
        {"temperature": 0.9},
        {"repetition_penalty": 1.4},
        {"frequency_penalty": 0.7, "presence_penalty": 0.2},
        {"logit_bias": NO_STOP, "max_new_tokens": 40},
    ]
    samplings = [Sampling(**{"seed": 0, "max_new_tokens": 1 + n % 11, **kinds[n % 4]}) for n in range(len(prompts))]
    for completions, prompt, sampling in zip(llm.complete(prompts, samplings), prompts, samplings, strict=True):
        assert completions[0].ids == write_slowly(llm.model, prompt, sampling)[0]


def test_no_row_writes_nothing() -> None:
    assert byte_language_model().complete([], Sampling()) == []


@pytest.mark.parametrize("token", ["end_of_text_id", "im_end_id"])
def test_stop_tokens_end_a_row_and_are_no_text(token: str) -> None:
    llm, id = byte_language_model(), getattr(TOKENIZER, token)
    [[completion]] = llm.complete([[65]], Sampling(seed=0, logit_bias={id: 100.0}))
    assert (completion.ids, completion.text, completion.finish_reason) == ([id], "", "stop")


def test_stop_strings_end_a_row_across_tokens() -> None:
    llm = byte_language_model()
    sampling = Sampling(seed=3, max_new_tokens=60, logit_bias=dict.fromkeys(range(128, 260), -100.0))
    [[whole]] = llm.complete([[65]], sampling)
    assert len(whole.text) == 60
    stop = whole.text[20:24]
    [[completion]] = llm.complete([[65]], sampling.model_copy(update={"stop": ("never seen", stop)}))
    assert completion.text == whole.text[: whole.text.index(stop)] and completion.finish_reason == "stop"
    assert completion.ids == whole.ids[: len(completion.text) + 4]
    # Text held back as a possible stop string is given out when the row ends otherwise.
    [[ended]] = llm.complete([[65]], sampling.model_copy(update={"stop": (whole.text[-2:] + "?",)}))
    assert ended.text == whole.text and ended.finish_reason == "length"


def test_half_a_character_at_the_end_is_shown_as_such() -> None:
    llm = byte_language_model()
    [[completion]] = llm.complete([[65]], Sampling(seed=0, max_new_tokens=1, logit_bias={0xC3: 100.0}))
    assert completion.text == "\N{REPLACEMENT CHARACTER}"


def test_top_logprobs_are_the_largest_and_agree_with_the_chosen() -> None:
    llm = byte_language_model()
    [[completion]] = llm.complete([[65, 66]], Sampling(temperature=0, max_new_tokens=5, top_logprobs=4))
    for id, logprob, top in zip(completion.ids, completion.logprobs, completion.top_logprobs, strict=True):
        assert len(top) == 4 and top == sorted(top, key=lambda pair: -pair[1])
        assert top[0] == (id, logprob)
    assert llm.complete([[65]], Sampling(seed=0, max_new_tokens=2))[0][0].top_logprobs == []


def test_writing_ignores_dropout_and_leaves_training_mode_as_it_was() -> None:
    llm = byte_language_model(dropout=0.5)
    llm.model.train()
    sampling = Sampling(seed=1, max_new_tokens=10)
    assert llm.complete([[65]], sampling)[0][0].ids == write_slowly(byte_model(), [65], sampling)[0]
    assert llm.model.training
    assert "".join(llm.generate("a", seed=1, max_new_tokens=10, stream=True))
    assert llm.next_token("a") and llm.score("a", "b") and llm.model.training


def test_prefill_then_decode_equals_one_pass() -> None:
    model = byte_model()
    prompts = [[5, 6, 7, 8], [9]]
    logits, kv_cache = prefill(model, prompts, 8)
    more = decode_one_token(model, [1, 2], kv_cache)
    with torch.no_grad():
        for row, (prompt, id) in enumerate(zip(prompts, [1, 2], strict=True)):
            whole = model(torch.tensor([[*prompt, id]]))[0]
            torch.testing.assert_close(logits[row], whole[-2], rtol=0, atol=1e-5)
            torch.testing.assert_close(more[row], whole[-1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("ids", [[260], [-1], [3, 10**9]], ids=str)
def test_ids_outside_the_vocabulary_are_refused(ids: list[int]) -> None:
    llm = byte_language_model()
    with pytest.raises(DataError, match="prompt 0 has a token id outside 0 to 259"):
        llm.complete([ids], Sampling())
    with pytest.raises(ConfigError, match="logit_bias has a token id outside 0 to 259"):
        llm.complete([[1]], Sampling(logit_bias={260: 1.0}))


@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama", "mistral"])
def test_transformers_writes_the_same_from_our_folder(family: str, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    llm = byte_language_model(family=family, ties_embeddings=family != "llama")
    save_model(tmp_path / "model", llm.model, TOKENIZER)
    twin = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    prompt = "Era uma vez, n\N{LATIN SMALL LETTER A WITH TILDE}o longe"
    inputs = tokenizer(prompt, return_tensors="pt")
    assert inputs["input_ids"].tolist() == [llm.encode_prompt(prompt)]
    for penalty in (1.0, 1.4):
        theirs = twin.generate(
            **inputs, max_new_tokens=30, do_sample=False, temperature=None, repetition_penalty=penalty
        )
        sampling = Sampling(temperature=0, max_new_tokens=30, repetition_penalty=penalty)
        [[ours]] = llm.complete([llm.encode_prompt(prompt)], sampling)
        assert theirs[0, inputs["input_ids"].shape[1] :].tolist() == ours.ids
        assert tokenizer.decode(ours.ids, skip_special_tokens=True) == ours.text
