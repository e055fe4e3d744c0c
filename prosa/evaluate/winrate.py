"""Which of two models answers better, in a judge's eyes: two answers to each prompt come in, a win rate goes out.

The judge is any function: a person, a reward model, a check of known truth. It sees every pair in both orders, so that
a liking for the first place cancels out, and is reported.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from prosa.errors import DataError
from prosa.evaluate.statistics import Interval, bootstrap_ratio, sign_flip_test, wilson_interval

# Conversation, first answer, second answer -> 1 if the first is better, 0 if the second is, 0.5 for a tie.
Judge = Callable[[Sequence[Mapping[str, str]], str, str], float]


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often the first model's answer wins, a tie counting half.

    outcomes: of each prompt, the mean over both orders: 1, 0.75, 0.5, 0.25 or 0; above 0.5 is a win. p_value: of no
    difference, by random signs of outcome - 0.5. n_unsteady: prompts whose verdict changed with the order;
    first_place: how often the answer shown first won, 0.5 for a judge who does not mind.
    """

    win_rate: float
    interval: Interval
    p_value: float
    n: int
    n_wins: int
    n_ties: int
    n_losses: int
    n_unsteady: int
    first_place: float
    outcomes: Float[np.ndarray, " n"]

    def to_json(self) -> dict[str, Any]:
        """Everything but the single prompts."""
        return {name: value for name, value in asdict(self).items() if name != "outcomes"}


def win_rate(
    conversations: Sequence[Sequence[Mapping[str, str]]],
    first: Sequence[str],
    second: Sequence[str],
    judge: Judge,
    *,
    seed: int = 0,
) -> WinRate:
    """How often `judge` prefers the answers in `first` to those in `second`, prompt by prompt.

    The 95 % interval is the wider of a bootstrap over prompts and of Wilson's, which stays honest where all outcomes
    are the same; the test is paired (`sign_flip_test`). Equal answers are ties, unseen by the judge. Raises DataError
    for lists of different lengths or none, or a verdict other than 1, 0.5 and 0.
    """
    n = len(conversations)
    if not n == len(first) == len(second) or not n:
        raise DataError(f"{n} prompts, {len(first)} and {len(second)} answers: there must be one of each, and some")
    verdicts = np.full((n, 2), 0.5)
    for number, (messages, a, b) in enumerate(zip(conversations, first, second, strict=True)):
        if a != b:
            verdicts[number] = _ask(judge, messages, a, b), _ask(judge, messages, b, a)
    # The second column is the verdict on `second` shown in the first place.
    outcomes = (verdicts[:, 0] + 1 - verdicts[:, 1]) / 2
    total = float(outcomes.sum())
    resampled = bootstrap_ratio(outcomes, np.ones(n), seed=seed)
    low, high = wilson_interval(int(np.floor(total)), n).low, wilson_interval(int(np.ceil(total)), n).high
    return WinRate(
        win_rate=total / n,
        interval=Interval(min(low, resampled.low), max(high, resampled.high)),
        p_value=sign_flip_test(outcomes - 0.5, seed=seed),
        n=n,
        n_wins=int((outcomes > 0.5).sum()),
        n_ties=int((outcomes == 0.5).sum()),
        n_losses=int((outcomes < 0.5).sum()),
        n_unsteady=int((verdicts.sum(1) != 1).sum()),
        first_place=float(verdicts.mean()),
        outcomes=outcomes,
    )


def _ask(judge: Judge, messages: Sequence[Mapping[str, str]], a: str, b: str) -> float:
    verdict = judge(messages, a, b)
    if verdict not in (0, 0.5, 1):
        raise DataError(f"the judge said {verdict!r}", hint="1: the first is better, 0: the second, 0.5: a tie")
    return float(verdict)
