import json
import math
import operator

import pytest
import torch

from benchmarks.measure import RESULTS
from benchmarks.planner import fit_bits
from prosa.device import Device
from prosa.errors import ConfigError, OutOfMemory
from prosa.model import count_parameters
from prosa.training import (
    TrainingSettings,
    is_predictable,
    plan_length,
    plan_shape,
    planner,
    predict_bits,
    predict_memory,
)

FAST = Device("cpu", "test", 2, torch.bfloat16, 1e12, "")
SLOW = Device("cpu", "test", 2, torch.float32, 5e10, "")


def shape_of(device=FAST, train_tokens=10_000_000, vocab_size=4096, **wanted):
    return plan_shape(TrainingSettings(**wanted), device, vocab_size=vocab_size, train_tokens=train_tokens)


def test_more_time_and_faster_machines_train_larger_models():
    sizes = [count_parameters(shape_of(minutes=minutes).model) for minutes in (1, 5, 30, 240)]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]
    assert count_parameters(shape_of(SLOW, minutes=30).model) < count_parameters(shape_of(FAST, minutes=30).model)


@pytest.mark.parametrize("wanted", [{"minutes": 0}, {"minutes": 1, "steps": 10}, {"tokens": 1000, "steps": 10}])
def test_the_length_is_given_exactly_once(wanted):
    with pytest.raises(ConfigError, match="must be given once"):
        shape_of(**wanted)


def test_without_any_length_it_is_five_minutes():
    assert TrainingSettings().minutes == TrainingSettings(depth=3).minutes == 5
    assert TrainingSettings(steps=7).minutes == 0


def test_what_is_set_by_hand_stays():
    shape = shape_of(minutes=5, depth=3, d_model=96, d_head=32, n_head=3, d_ff=128, context_length=64, batch_size=12)
    model = shape.model
    assert (model.n_layer, model.d_model, model.d_head, model.n_head, model.d_ff) == (3, 96, 32, 3, 128)
    assert (model.context_length, shape.batch_size) == (64, 12)


def test_every_derived_value_has_a_reason():
    shape = shape_of(minutes=5)
    _, more = plan_length(TrainingSettings(minutes=5), shape, step_seconds=0.2, seconds_spent=10)
    names = {choice.name for choice in (*shape.choices, *more)}
    assert names >= {"depth", "shape", "context_length", "batch_size", "micro_batch", "dropout", "compile", "steps"}
    assert all(choice.reason for choice in (*shape.choices, *more))


def test_steps_fill_the_minutes():
    settings, _ = plan_length(TrainingSettings(minutes=5), shape_of(minutes=5), step_seconds=0.2, seconds_spent=30)
    assert settings.steps * 0.2 == pytest.approx(0.92 * 270, rel=0.01)


@pytest.mark.parametrize("step_seconds", [0.05, 0.117, 0.29, 1.3])
def test_samples_evaluations_and_checkpoints_never_fall_just_before_the_last(step_seconds):
    shape = shape_of(minutes=5)
    for minutes in (1, 4.9, 5, 30):
        fit, _ = plan_length(TrainingSettings(minutes=minutes), shape, step_seconds=step_seconds, seconds_spent=9)
        for every in (fit.evaluate_every, fit.sample_every, fit.save_every):
            assert fit.steps % every == 0 or fit.steps % every > every / 2 or every >= fit.steps


def test_the_three_phases_make_up_the_steps():
    for steps in (1, 2, 7, 1000):
        settings, _ = plan_length(
            TrainingSettings(steps=steps), shape_of(steps=steps), step_seconds=0.2, seconds_spent=0
        )
        assert settings.warmup_steps >= 1 and settings.warmup_steps + settings.cooldown_steps <= steps


@pytest.mark.parametrize("steps", [500, 2000, 40_000])
def test_weights_remember_the_same_share_of_a_run_however_long_it_is(steps):
    settings, _ = plan_length(TrainingSettings(steps=steps), shape_of(steps=steps), step_seconds=0.2, seconds_spent=0)
    optimizer = settings.optimizer
    # What is left, at the end, of an update that was made a third of the run before.
    kept = (1 - optimizer.matrix_learning_rate * optimizer.weight_decay) ** (steps / 3)
    assert kept == pytest.approx(math.exp(-1), rel=0.02)


@pytest.mark.parametrize("weight_decay", [0.0, 0.2])
def test_weight_decay_set_by_hand_stays(weight_decay):
    wanted = TrainingSettings(steps=100, weight_decay=weight_decay)
    settings, _ = plan_length(wanted, shape_of(steps=100), step_seconds=0.2, seconds_spent=0)
    assert settings.optimizer.weight_decay == weight_decay


@pytest.mark.parametrize(("epochs", "dropout"), [(1, 0), (9.9, 0), (10, 0.1), (20, 0.25), (40, 0.4), (100, 0.5)])
def test_dropout_grows_with_the_readings(epochs, dropout):
    tokens = 16 * 256 * 1000
    shape = shape_of(steps=1000, batch_size=16, context_length=256, train_tokens=round(tokens / epochs))
    assert shape.model.dropout == pytest.approx(dropout)


def test_a_small_corpus_gets_dropout_and_a_small_batch():
    assert shape_of(minutes=60, train_tokens=50_000).model.dropout > 0
    assert shape_of(minutes=1, train_tokens=10**9).model.dropout == 0
    shape = shape_of(minutes=5, train_tokens=5_000)
    assert shape.batch_size * shape.model.context_length <= 5_000


def test_short_runs_and_machines_without_a_compiler_stay_eager(monkeypatch):
    assert not shape_of(minutes=0.5).is_compiled
    monkeypatch.setattr(planner, "find_compiler_problem", lambda kind: "no C++ compiler found")
    shape = shape_of(minutes=60)
    assert not shape.is_compiled
    [reason] = [c.reason for c in shape.choices if c.name == "compile"]
    assert reason == "torch.compile does not work here: no C++ compiler found"


def test_memory_makes_the_micro_batch_smaller_and_then_refuses(monkeypatch):
    whole = shape_of(minutes=30)
    monkeypatch.setattr(
        planner, "available_memory_bytes", lambda: int(0.7 * predict_memory(whole.model, whole.micro_batch))
    )
    tight = shape_of(minutes=30)
    assert tight.micro_batch < whole.micro_batch and tight.batch_size % tight.micro_batch == 0
    monkeypatch.setattr(planner, "available_memory_bytes", lambda: 10**6)
    with pytest.raises(OutOfMemory, match="GB are free"):
        shape_of(minutes=30)


@pytest.mark.parametrize("minutes", [1, 10, 100])
def test_predicted_memory_grows_with_the_micro_batch(minutes):
    model = shape_of(minutes=minutes).model
    assert predict_memory(model, 1) < predict_memory(model, 2)


def test_large_models_have_widths_that_can_be_quantised():
    for minutes in (600, 3000, 30_000):
        model = shape_of(minutes=minutes, train_tokens=10**10).model
        if count_parameters(model) >= 50_000_000:
            assert model.d_model % 256 == 0 and model.d_ff % 256 == 0


def promise(*, ngram_bits=2.0, fifth=2.5, tokens=3_000_000):
    low, high = predict_bits((ngram_bits, fifth), tokens).value.split(" to ")
    return float(low), float(high)


def test_bits_are_promised_by_what_counting_needs_and_what_more_text_brings():
    low, high = promise()
    assert low < high < 2 * low
    assert promise(ngram_bits=1.0, fifth=1.25)[1] < low
    assert promise(tokens=30_000_000) < promise(tokens=10_000_000) < (low, high)
    # Where more text brings counting nothing, it promises nothing.
    assert promise(fifth=2.0, tokens=10_000_000) == promise(fifth=2.0)


def test_what_is_promised_is_the_fit_to_the_runs_that_are_kept():
    runs = json.loads((RESULTS / "planner_fit.json").read_text(encoding="utf-8"))["result"]["runs"]
    assert fit_bits(runs)["coefficients"] == pytest.approx(planner._BITS, abs=1e-4)
    for run in runs:
        low, high = promise(ngram_bits=run["ngrams"][0], fifth=run["ngrams"][1], tokens=run["tokens"])
        assert run["tokens"] >= planner._FITTED_TOKENS and low <= run["bits_per_byte"] <= high


def test_nothing_is_promised_of_little_text_of_characters_or_of_text_read_again_and_again():
    assert is_predictable(10_000_000, train_tokens=1_000_000, train_bytes=4_000_000)
    assert not is_predictable(500_000, train_tokens=1_000_000, train_bytes=4_000_000)
    assert not is_predictable(10_000_000, train_tokens=1_000_000, train_bytes=1_000_000)
    assert not is_predictable(20_000_000, train_tokens=1_000_000, train_bytes=4_000_000)


def test_the_fit_finds_what_runs_were_made_by():
    truth = (0.1, 0.9, -1.5)
    runs = [
        {"ngrams": ngrams, "tokens": tokens, "bits_per_byte": math.exp(sum(map(operator.mul, truth, row)))}
        for ngrams in ((2.0, 2.4), (0.3, 0.45), (1.8, 2.3))
        for tokens in (10**6, 10**7)
        for row in [planner.describe_training(ngrams, tokens)]
    ]
    found = fit_bits(runs)
    assert found["coefficients"] == pytest.approx(truth)
    assert found["left_out_misses"] == pytest.approx([0] * 6, abs=1e-9)
