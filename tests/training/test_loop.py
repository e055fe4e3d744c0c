import signal

import pytest
import torch

from prosa.checkpoint import list_steps
from prosa.errors import DriftRefused, TrainingDiverged
from prosa.metrics import read_metrics
from prosa.model import Transformer, init_weights
from prosa.pretrain import loss
from prosa.training import World, loop, measure_step
from tests.training.tiny_run import DEVICE, MODEL, STEPS, digest, make_settings, run_tiny


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def losses(folder):
    return [record["loss"] for record in read_metrics(folder / "metrics.jsonl")]


@pytest.mark.parametrize("seed", range(3))
def test_the_loss_falls(tmp_path, seed):
    run_tiny(tmp_path, seed=seed, steps=150, cooldown_steps=60, save_every=150)
    course = losses(tmp_path)
    assert sum(course[-10:]) / 10 < 0.5 * sum(course[:3]) / 3


def test_accumulation_equals_one_big_batch(tmp_path):
    """Loss and gradient of a step do not depend on the micro-batches they are computed in."""
    for name, micro_batch in (("parts", 1), ("whole", 8)):
        model = Transformer(MODEL.model_copy(update={"dropout": 0.0}))
        init_weights(model, 0)
        run_tiny(tmp_path / name, model=model, steps=3, warmup_steps=3, cooldown_steps=0, micro_batch=micro_batch)
    parts, whole = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("parts", "whole"))
    for one, two in zip(parts, whole, strict=True):
        assert one["loss"] == pytest.approx(two["loss"], rel=1e-4)
        assert one["gradient_norm"] == pytest.approx(two["gradient_norm"], rel=1e-3)


def test_plain_repeat_is_bit_identical(tmp_path):
    run_tiny(tmp_path / "one")
    run_tiny(tmp_path / "two")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def test_resume_at_every_step_is_bit_identical(tmp_path, record_property):
    """R14: stopped after each of the 40 steps by a signal, then resumed."""
    run_tiny(tmp_path / "straight", evaluate_every=1, evaluate=lambda: {"probe": 0.0})
    expected = digest(tmp_path / "straight")
    for stop_at in range(1, STEPS):
        calls = iter(range(1, STEPS + 1))

        def stop_once(calls=calls, stop_at=stop_at):
            if next(calls) == stop_at:
                signal.raise_signal(signal.SIGTERM)
            return {"probe": 0.0}

        folder = tmp_path / f"stop-{stop_at}"
        result, _ = run_tiny(folder, evaluate_every=1, evaluate=stop_once)
        assert (result.is_finished, result.stopped_by, result.position.step) == (False, "SIGTERM", stop_at)
        result, _ = run_tiny(folder, evaluate_every=1, evaluate=lambda: {"probe": 0.0})
        assert result.is_finished
        assert digest(folder) == expected, f"resumed at step {stop_at}"
    record_property("R14", STEPS)


def test_handlers_come_back(tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    run_tiny(tmp_path, steps=2)
    assert signal.getsignal(signal.SIGTERM) is before


def bad_at(numbers, place):
    """The stage's loss, spoiled in the calls `numbers`, counted from 0 (two micro-batches a step)."""
    calls = iter(range(10**6))

    def spoiled(model, batch):
        total, extra = loss(model, batch)
        if next(calls) in numbers:
            if place == "loss":
                return total * float("nan"), extra
            if place == "infinity":
                return total * float("inf"), extra
            # A finite loss whose gradient is not.
            return total + (model.model.norm.weight.sum() * 0 - 0.0).sqrt().nan_to_num(0.0) * 1e30 * 1e30, extra
        return total, extra

    return spoiled


@pytest.mark.parametrize("place", ["loss", "infinity", "gradient"])
def test_an_update_that_is_not_finite_is_skipped_and_counted(tmp_path, place, record_property):
    record_property("R8", 1)
    result, model = run_tiny(tmp_path, loss=bad_at({20}, place))
    assert result.is_finished and result.position.bad_updates == 1 and result.position.rollbacks == 0
    record = read_metrics(tmp_path / "metrics.jsonl")[10]
    assert record["step"] == 11 and record["skipped_documents"]
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_three_bad_updates_in_a_row_roll_back_and_skip_the_batches(tmp_path, record_property):
    record_property("R8", 1)
    result, model = run_tiny(tmp_path, loss=bad_at({24, 26, 28}, "loss"))
    assert result.is_finished and result.position.rollbacks == 1
    assert result.position.skipped_batches == 15 - 10
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == list(range(1, STEPS + 1))
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_broken_weight_is_never_saved(tmp_path, record_property):
    record_property("R8", 1)
    """NaN in a weight makes every later loss NaN; the checkpoint before it brings the run back."""
    model = Transformer(MODEL)
    init_weights(model, 0)
    calls = iter(range(10**6))

    def spoiling(model, batch):
        if next(calls) == 24:
            with torch.no_grad():
                model.model.norm.weight[0] = float("nan")
        return loss(model, batch)

    result, model = run_tiny(tmp_path, model=model, loss=spoiling)
    assert result.is_finished and result.position.rollbacks == 1
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_weight_broken_just_before_saving_is_not_saved(tmp_path, record_property):
    record_property("R8", 1)
    model = Transformer(MODEL)
    init_weights(model, 0)
    calls = iter(range(1, 10**6))

    def evaluate():
        if next(calls) == 10:
            with torch.no_grad():
                model.model.norm.weight[0] = float("inf")
        return {"probe": 0.0}

    result, model = run_tiny(tmp_path, model=model, evaluate=evaluate, evaluate_every=1)
    assert result.is_finished and result.position.rollbacks == 1
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_a_run_that_stays_broken_ends_with_an_explanation(tmp_path, record_property):
    record_property("R8", 1)
    with pytest.raises(TrainingDiverged, match="not finite"):
        run_tiny(tmp_path, loss=bad_at(set(range(24, 10**4)), "loss"))
    assert list_steps(tmp_path / "checkpoints")[-1] == 10


def test_other_inputs_are_refused_with_a_diff_before_any_step(tmp_path, record_property):
    """R13, for what the loop itself sees."""
    record_property("R13", 1)
    run_tiny(tmp_path, fingerprint={"settings": {"seed": 0}, "tokenizer": "abc", "torch": "2.13.0"})
    with pytest.raises(DriftRefused, match=r"tokenizer: abc -> xyz"):
        run_tiny(tmp_path, fingerprint={"settings": {"seed": 0}, "tokenizer": "xyz", "torch": "2.13.0"})


@pytest.mark.parametrize(("least_seconds", "n_steps"), [(0.0, 5), (2.1, 8)])
def test_the_measure_of_a_step_leaves_out_its_slow_beginning(monkeypatch, least_seconds, n_steps):
    taken = []

    class FakeRun:
        def __init__(self, *arguments, **named):
            pass

        def train_step(self):
            taken.append(9.0 if not taken else 0.5 if len(taken) < 3 else 0.2)
            return None, {"seconds": taken[-1]}

    monkeypatch.setattr(loop, "_Run", FakeRun)
    found = measure_step(
        None, loss, None, make_settings(), device=DEVICE, world=World(), n_steps=5, least_seconds=least_seconds
    )
    assert found == 0.2 and len(taken) == 1 + n_steps
