"""Compiled decoding says what plain decoding says, for one text and for many, however long they grow."""

from pathlib import Path
from typing import Any

import pytest
import torch

from prosa.errors import ConfigError
from prosa.generate import LanguageModel, Sampling, compiled
from prosa.generate.compiled import Program, Rows, export_step, halve_matrices
from prosa.model import KVCache, Transformer
from tests.generate.tiny import TOKENIZER, byte_language_model, write_slowly
from tests.training.tiny_run import NEEDS_COMPILER

NO_STOP = {TOKENIZER.end_of_text_id: -100.0, TOKENIZER.im_end_id: -100.0}
SHAPES = [{}, {"sliding_window": 9, "n_full_layer": 1}, {"family": "qwen2"}, {"n_kv_head": 1}]


@pytest.fixture
def traces_only(monkeypatch: pytest.MonkeyPatch) -> list[Rows]:
    """Programs are traced as for the compiler but not made into machine code, which takes ten seconds each."""
    traced: list[Rows] = []

    def trace(model: Transformer, rows: Rows) -> Program:
        traced.append(rows)
        graph, n = export_step(model, rows).module(), model.settings.n_layer
        return lambda inputs: [graph(*inputs[:2], inputs[2 : 2 + n], inputs[2 + n :])]

    monkeypatch.setattr(compiled, "make_program", trace)
    return traced


def compare(llm: LanguageModel, **changes: Any) -> None:
    prompts = [[65, 66, 67], [100], list(range(40)), [200, 7] * 6]
    samplings = [Sampling(seed=n, max_new_tokens=n, logit_bias=NO_STOP) for n in (90, 5, 70, 25)]
    together = llm.complete(prompts, samplings)
    assert llm.steps.programs.keys() == {"one", "many"}
    for prompt, sampling, completions in zip(prompts, samplings, together, strict=True):
        ids, logprobs = write_slowly(byte_language_model(**changes).model, prompt, sampling)
        [[alone]] = llm.complete([prompt], sampling)
        for completion in (completions[0], alone):
            assert completion.ids == ids
            assert completion.logprobs == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_traced_programs_write_what_is_written_without_a_cache(
    changes: dict[str, Any], traces_only: list[Rows]
) -> None:
    llm = byte_language_model(**changes)
    llm.compile("one", waits=True)
    llm.compile("many", waits=True)
    compare(llm, **changes)


@NEEDS_COMPILER
def test_machine_code_writes_the_same_and_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    llm = byte_language_model()
    llm.compile("one")
    llm.compile("many", waits=True)
    llm.compile("one", waits=True)
    compare(llm)
    # The program of a shape is another model's too, with that model's weights, which training may change.
    monkeypatch.setattr(compiled, "export_step", None)
    other, plain = byte_language_model(), byte_language_model()
    other.compile("one", waits=True)
    with torch.no_grad():
        for mine, theirs in zip(other.model.parameters(), plain.model.parameters(), strict=True):
            theirs.copy_(mine.mul_(1.5))
    sampling = Sampling(seed=1, max_new_tokens=80, logit_bias=NO_STOP)
    assert other.complete([[7, 8]], sampling)[0][0].ids == plain.complete([[7, 8]], sampling)[0][0].ids
    assert other.complete([[7, 8]], sampling)[0][0].ids != llm.complete([[7, 8]], sampling)[0][0].ids
    # A damaged file is not used, and not kept.
    for path in tmp_path.glob("decoding/*.pt2"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ConfigError, match="cannot be compiled here"):
        byte_language_model().compile("one", waits=True)
    assert len(list(tmp_path.glob("decoding/*"))) == 1
    # Another shape is another program.
    with pytest.raises(ConfigError, match="cannot be compiled here"):
        byte_language_model(n_kv_head=1).compile("one", waits=True)


def test_one_program_serves_all_lengths_and_numbers_of_rows(traces_only: list[Rows]) -> None:
    llm, plain = byte_language_model(context_length=512), byte_language_model(context_length=512)
    llm.compile("many", waits=True)
    for n in (2, 3, 17, 64):
        samplings = [Sampling(seed=n, max_new_tokens=70 * (1 + n % 2), logit_bias=NO_STOP)] * n
        for mine, theirs in zip(
            llm.complete([[n, 1]] * n, samplings), plain.complete([[n, 1]] * n, samplings), strict=True
        ):
            assert mine[0].ids == theirs[0].ids
    llm.compile("one", waits=True)
    sampling = Sampling(seed=1, max_new_tokens=300, logit_bias=NO_STOP)
    assert llm.complete([[1]], sampling)[0][0].ids == plain.complete([[1]], sampling)[0][0].ids
    assert traces_only == ["many", "one"]


def test_a_text_goes_on_when_the_program_comes_in_its_middle(traces_only: list[Rows]) -> None:
    llm = byte_language_model()
    sampling = {"seed": 3, "max_new_tokens": 60, "logit_bias": NO_STOP}
    plain = llm.generate("abc", **sampling)
    pieces = llm.generate("abc", stream=True, **sampling)
    begun = [next(pieces) for _ in range(5)]
    llm.compile(waits=True)
    assert "".join([*begun, *pieces]) == plain


def test_texts_are_right_while_a_program_is_made(traces_only: list[Rows]) -> None:
    llm = byte_language_model()
    sampling = {"seed": 3, "max_new_tokens": 20, "logit_bias": NO_STOP}
    plain = llm.generate("abc", **sampling)
    llm.compile()
    llm.compile("many")
    while llm.steps.programs.keys() < {"one", "many"}:
        assert not llm.steps.problem
        assert llm.generate("abc", **sampling) == plain


def test_what_cannot_be_compiled_is_said_only_to_those_who_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> Any:
        raise RuntimeError("no compiler\nand a long trace")

    llm = byte_language_model()
    plain = llm.generate("abc", seed=1, max_new_tokens=8)
    monkeypatch.setattr(compiled, "make_program", fail)
    llm.compile()
    with pytest.raises(ConfigError, match="cannot be compiled here: no compiler\n"):
        llm.compile(waits=True)
    assert llm.generate("abc", seed=1, max_new_tokens=8) == plain


def test_matrices_in_bfloat16_stay_near_float32(traces_only: list[Rows]) -> None:
    torch.manual_seed(0)
    llm, halved = byte_language_model(), byte_language_model()
    halve_matrices(halved.model)
    n_bytes = [sum(p.numel() * p.element_size() for p in one.model.parameters()) for one in (llm, halved)]
    assert n_bytes[1] < 0.52 * n_bytes[0]
    halved.compile("many", waits=True)
    halved.compile("one", waits=True)
    assert len(halved.complete([[1, 2], [3]], Sampling(seed=1, max_new_tokens=4, logit_bias=NO_STOP))[0][0].ids) == 4
    ids = torch.randint(256, (30, 3))
    for n in (1, 3):
        exact = KVCache(llm.model.settings, n, 1)
        rounded = [KVCache(llm.model.settings, n, 1, dtype=torch.bfloat16) for _ in range(2)]
        with torch.inference_mode():
            for row in ids[:, :n]:
                logits = llm.model(row[:, None], exact)[:, 0]
                plain = halved.model(row[:, None], rounded[0])[:, 0]
                fast = halved.steps.read(row.tolist(), rounded[1])
                assert fast is not None
                scale = float(logits.std())
                assert float((plain - logits).abs().max()) < 0.1 * scale
                assert float((fast - logits).abs().max()) < 0.1 * scale
