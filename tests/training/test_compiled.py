"""What holds for plain training steps holds for compiled ones: the same numbers, whatever stops or divides a run."""

import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch._dynamo.utils import counters

from prosa.metrics import read_metrics
from prosa.model import ModelSettings, Transformer, init_weights
from prosa.model.transformer import Attention, rotation_table
from tests.training.tiny_run import DEVICE, MODEL, NEEDS_COMPILER, STEPS, digest, run_tiny

pytestmark = NEEDS_COMPILER


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    counters.clear()
    yield
    torch.set_num_threads(before)
    torch._dynamo.reset()


def numbers(folder: Path, name: str) -> list[float]:
    return [record[name] for record in read_metrics(folder / "metrics.jsonl")]


def run_without_dropout(folder: Path, **changes: object) -> None:
    model = Transformer(MODEL.model_copy(update={"dropout": 0.0}))
    init_weights(model, 0)
    run_tiny(folder, model=model, warmup_steps=3, cooldown_steps=0, **changes)


def stop_at(step: int) -> Callable[[], dict[str, float]]:
    calls = iter(range(1, STEPS + 1))

    def evaluate() -> dict[str, float]:
        if next(calls) == step:
            signal.raise_signal(signal.SIGTERM)
        return {"probe": 0.0}

    return evaluate


def test_compiled_steps_compute_what_plain_ones_do(tmp_path: Path) -> None:
    for name, is_compiled in (("plain", False), ("compiled", True)):
        run_without_dropout(tmp_path / name, steps=10, is_compiled=is_compiled)
    assert numbers(tmp_path / "compiled", "loss") == pytest.approx(numbers(tmp_path / "plain", "loss"), rel=1e-3)


def test_accumulation_equals_one_big_batch(tmp_path: Path) -> None:
    for name, micro_batch in (("parts", 2), ("whole", 8)):
        run_without_dropout(tmp_path / name, steps=3, micro_batch=micro_batch, is_compiled=True)
    assert numbers(tmp_path / "parts", "loss") == pytest.approx(numbers(tmp_path / "whole", "loss"), rel=1e-4)


def test_resumed_runs_are_bit_identical(tmp_path: Path) -> None:
    device = replace(DEVICE, compute_dtype=torch.bfloat16)
    run_tiny(tmp_path / "straight", evaluate_every=1, evaluate=stop_at(0), is_compiled=True, device=device)
    for evaluate in (stop_at(18), stop_at(0)):
        # As a new process would, which compiles anew.
        torch._dynamo.reset()
        result, _ = run_tiny(tmp_path / "stopped", evaluate_every=1, evaluate=evaluate, is_compiled=True, device=device)
    assert result.is_finished
    assert digest(tmp_path / "stopped") == digest(tmp_path / "straight")
    # Nothing in a step, such as an autocast of its own, keeps what was traced from being found again.
    assert counters["aot_autograd"]["autograd_cache_hit"] >= 2
    assert counters["aot_autograd"]["autograd_cache_bypass"] == 0


def test_gradients_of_attention_in_parts_are_those_of_the_plain_way() -> None:
    """Torch 2.13's compiler made NaN of sums of slices' gradients, for heads of 64 in rows longer than a part."""
    sizes = {"vocab_size": 260, "n_layer": 1, "d_model": 128, "n_head": 2, "n_kv_head": 2, "d_head": 64, "d_ff": 256}
    settings = ModelSettings(**sizes, context_length=256)
    torch.manual_seed(0)
    attention, (cos, sin) = Attention(settings, 0), rotation_table(settings)
    x = torch.randn(8, 256, 128)

    def learn() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return attention(x, cos, sin, None, None).float().square().mean()

    gradients = []
    for way in (learn, torch.compile(learn)):
        attention.zero_grad()
        way().backward()
        gradients.append([parameter.grad for parameter in attention.parameters()])
    for plain, compiled in zip(*gradients, strict=True):
        assert plain is not None
        assert compiled is not None
        assert float((compiled - plain).norm()) < 0.02 * float(plain.norm())
