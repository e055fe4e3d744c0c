import pytest

from prosa.training import divide_steps, learning_rate_factor

SHAPE = {"steps": 100, "warmup_steps": 10, "cooldown_steps": 40, "final_fraction": 0.1}


def test_warmup_is_linear():
    assert [learning_rate_factor(step, **SHAPE) for step in (1, 5, 10)] == [0.1, 0.5, 1.0]


def test_stable_between():
    assert {learning_rate_factor(step, **SHAPE) for step in range(10, 61)} == {1.0}


def test_cooldown_is_one_minus_root_down_to_the_final_fraction():
    assert learning_rate_factor(70, **SHAPE) == pytest.approx(0.1 + 0.9 * (1 - 0.5))
    assert learning_rate_factor(100, **SHAPE) == pytest.approx(0.1)


def test_never_rises_after_warmup():
    course = [learning_rate_factor(step, **SHAPE) for step in range(10, 101)]
    assert course == sorted(course, reverse=True)


def test_without_warmup_and_cooldown():
    factors = {
        learning_rate_factor(s, steps=5, warmup_steps=0, cooldown_steps=0, final_fraction=0) for s in range(1, 5)
    }
    assert factors == {1.0}


def test_a_run_is_looked_at_in_equal_parts_that_end_with_it():
    assert divide_steps(582, 145) == 146  # four times, not a fifth two steps before the end
    assert divide_steps(551, 10) == 12
    for steps in (1, 2, 19, 582, 2841):
        for every in (1, 5, 145, 500, 10_000):
            size = divide_steps(steps, every)
            assert min(every, steps) <= size <= min(1.5 * every + 2, steps)
            assert (steps - 1) % size + 1 >= 3 / 4 * size
