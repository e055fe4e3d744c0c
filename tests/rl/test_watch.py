"""The detector of over-optimisation: noise does not end a run, a fall does, and only while the reward does not."""

import numpy as np
import pytest

from prosa.rl import find_peak, reason_to_stop

_ERROR = 0.08


def make_history(golds: np.ndarray, rewards: np.ndarray, seed: int) -> list[dict[str, float]]:
    """Steps whose true worth is seen with the error that they state."""
    seen = golds + np.random.default_rng(seed).normal(0, _ERROR, len(golds))
    return [
        {"gold": float(gold), "gold_error": _ERROR, "reward": float(reward), "kl": float(step)}
        for step, (gold, reward) in enumerate(zip(seen, rewards, strict=True))
    ]


def stopped_at(history: list[dict[str, float]], patience: int = 8) -> int:
    ends = (end for end in range(len(history) + 1) if reason_to_stop(history[:end], patience=patience))
    return next(ends, len(history))


def test_noise_alone_seldom_ends_a_run() -> None:
    rising = np.linspace(0, 1, 60)
    flat = sum(stopped_at(make_history(np.full(60, 0.7), rising, seed)) < 60 for seed in range(200))
    assert flat <= 10
    assert all(stopped_at(make_history(0.5 + 0.5 * rising, rising, seed)) == 60 for seed in range(50))


def test_a_fall_ends_it_near_the_peak() -> None:
    steps = np.arange(60)
    golds = 1 - np.abs(steps - 20) / 20
    for seed in range(50):
        history = make_history(golds, steps / 60, seed)
        end = stopped_at(history)
        peak = find_peak(history[:end])
        assert end < 45 and peak is not None and golds[peak.step - 3] > 0.8
        assert "worth fell" in reason_to_stop(history[:end], patience=8)


@pytest.mark.parametrize("n", [0, 3, 12])
def test_there_must_be_a_peak_and_patience(n: int) -> None:
    golds = np.linspace(1, -1, n)
    assert reason_to_stop(make_history(golds, np.linspace(0, 1, n), 0), patience=8) == ""


def test_a_falling_reward_is_no_over_optimisation() -> None:
    steps = np.arange(40)
    assert stopped_at(make_history(1 - steps / 40, 1 - steps / 40, 0)) == 40
