import pytest

from prosa.errors import ConfigError
from prosa.sft import SftSettings
from prosa.sft.planning import (
    SftShape,
    check_length,
    choose_context,
    choose_width,
    plan_rows,
    plan_steps,
)
from tests.sft.tiny_sft import MODEL


def steps_of(*, n_rows=100, step_seconds=0.5, shape=None, **settings):
    shape = shape or SftShape(context_length=96, batch_size=8, micro_batch=4, choices=())
    return plan_steps(
        SftSettings(**settings),
        shape,
        MODEL,
        n_rows=n_rows,
        step_seconds=step_seconds,
        seconds_spent=10.0,
    )[0]


def test_length_is_given_once_and_four_epochs_if_not():
    assert SftSettings().epochs == 4
    assert SftSettings(minutes=2).epochs == 0
    check_length(SftSettings(steps=3))
    for wrong in (SftSettings(epochs=1, steps=3), SftSettings(epochs=0)):
        with pytest.raises(ConfigError, match="once"):
            check_length(wrong)


def test_steps_from_epochs_minutes_and_steps():
    assert steps_of(epochs=2).steps == 25
    assert steps_of(epochs=0.01).steps == 1
    assert steps_of(minutes=2).steps == int(0.95 * 110 / 0.5)
    assert steps_of(steps=7).steps == 7


def test_rates_are_a_share_of_pretrainings_and_muon_leaves_adapters_alone():
    full = steps_of(epochs=1).optimizer
    assert full.matrix_learning_rate == pytest.approx(0.2 * 0.02) and full.weight_decay == 0
    assert full.learning_rate == pytest.approx(0.05 * 5e-3 * (256 / 64) ** 0.5)
    lora = steps_of(epochs=1, lora={"rank": 8}).optimizer
    assert lora.matrix_learning_rate == 0 and lora.learning_rate > full.learning_rate
    given = steps_of(epochs=1, learning_rate=0.1, matrix_learning_rate=0).optimizer
    assert (given.learning_rate, given.matrix_learning_rate) == (0.1, 0)


def test_schedule_covers_the_steps():
    for steps in (1, 2, 7, 500):
        fit = steps_of(steps=steps)
        assert fit.warmup_steps >= 1 and fit.warmup_steps + fit.cooldown_steps <= steps


@pytest.mark.parametrize("world_size", [1, 4])
def test_rows(world_size):
    shape = plan_rows(SftSettings(), MODEL, context_length=96, n_rows=4000, n_tokens=300_000, world_size=world_size)
    assert shape.context_length == 96 and shape.batch_size % (shape.micro_batch * world_size) == 0
    # 2 sqrt(1,200,000) tokens are about 2,048.
    assert shape.batch_size == 2048 // 96 // world_size * world_size
    few = plan_rows(SftSettings(), MODEL, context_length=96, n_rows=3, n_tokens=200, world_size=world_size)
    assert few.batch_size == world_size
    given = plan_rows(SftSettings(batch_size=12, micro_batch=5), MODEL, context_length=96, n_rows=3, n_tokens=200)
    assert (given.batch_size, given.micro_batch) == (12, 4)


def test_the_context_is_the_models_up_to_2048():
    long = MODEL.model_copy(update={"context_length": 8192})
    assert choose_context(SftSettings(), long) == 2048 and choose_context(SftSettings(), MODEL) == 96
    assert choose_context(SftSettings(context_length=4096), long) == 4096
    with pytest.raises(ConfigError, match="more than the model's 96"):
        choose_context(SftSettings(context_length=97), MODEL)


def test_rows_are_as_wide_as_the_longest_conversation_needs():
    long = MODEL.model_copy(update={"context_length": 1024})
    widths = [choose_width(SftSettings(), long, longest) for longest in (5, 128, 129, 1000, 1024)]
    assert widths == [128, 128, 192, 1024, 1024]
    assert choose_width(SftSettings(), MODEL, 90) == 96
    assert choose_width(SftSettings(context_length=512), long, 90) == 512
