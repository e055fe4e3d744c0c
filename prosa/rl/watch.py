"""Is the reward still worth following? What answers are really worth is watched beside the reward, step by step.

A reward model is a proxy: chased too far, it goes on rising while the truth falls (Gao et al. 2022, arXiv:2210.10760).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# Steps whose mean stands for one, against the noise of a step's few answers.
WINDOW = 5


@dataclass(frozen=True, slots=True)
class Peak:
    """Where the true worth was highest, as a mean over WINDOW steps that end with `step` (counted from 1)."""

    step: int
    gold: float
    reward: float
    kl: float


def find_peak(history: Sequence[dict[str, float]], column: str = "gold") -> Peak | None:
    """The best window of a history of steps; None before there is a whole one, or without the column."""
    best: Peak | None = None
    for end in range(WINDOW, len(history) + 1):
        window = history[end - WINDOW : end]
        if any(column not in numbers for numbers in window):
            return None
        gold, reward, kl = (_mean(window, name) for name in (column, "reward", "kl"))
        if best is None or gold > best.gold:
            best = Peak(end, gold, reward, kl)
    return best


def reason_to_stop(history: Sequence[dict[str, float]], *, patience: int) -> str:
    """Why training should end here, or "".

    The peak is `patience` steps ago, and the true worth lower by more than four standard errors of the difference
    (each step states its own, `gold_error`), while the reward is no lower than it was there. With three, one run of
    sixty steps in six would end by chance, as the highest of many windows is high by luck.
    """
    peak = find_peak(history)
    if peak is None or len(history) - peak.step < patience:
        return ""
    now = history[-WINDOW:]
    gold, reward = _mean(now, "gold"), _mean(now, "reward")
    windows = (*now, *history[peak.step - WINDOW : peak.step])
    error = sum(numbers["gold_error"] ** 2 for numbers in windows) ** 0.5 / WINDOW
    if peak.gold - gold > 4 * error and reward >= peak.reward:
        return (
            f"what answers are really worth fell from {peak.gold:.2f} at step {peak.step} to {gold:.2f} at step "
            f"{len(history)}, while the reward rose from {peak.reward:.2f} to {reward:.2f}"
        )
    return ""


def summarize(history: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The course of a run for its report: first and last window, and the peak if the truth is known."""
    peak = find_peak(history)
    names = [name for name in (history[0] if history else {}) if name != "step"]
    return {
        "steps": len(history),
        "first": {name: _mean(history[:WINDOW], name) for name in names},
        "last": {name: _mean(history[-WINDOW:], name) for name in names},
        "peak": None if peak is None else {"step": peak.step, "gold": peak.gold, "kl": peak.kl},
        "history": list(history),
    }


def _mean(window: Sequence[dict[str, float]], name: str) -> float:
    return sum(numbers[name] for numbers in window) / len(window)
