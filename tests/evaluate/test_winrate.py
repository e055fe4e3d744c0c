"""Win rates by hand, with judges of known likings, and how often the interval holds the truth."""

import json
from itertools import product

import numpy as np
import pytest

from prosa.errors import DataError
from prosa.evaluate import sign_flip_test, wilson_interval, win_rate


def prompts(n: int) -> list[list[dict[str, str]]]:
    return [[{"role": "user", "content": str(number)}] for number in range(n)]


def longer(_messages, a: str, b: str) -> float:
    return 0.5 if len(a) == len(b) else float(len(a) > len(b))


def test_counts_and_rate_by_hand() -> None:
    first, second = ["aaa", "a", "xx", "same", "aa"], ["b", "bb", "yy", "same", "b"]
    result = win_rate(prompts(5), first, second, longer)
    assert result.outcomes.tolist() == [1, 0, 0.5, 0.5, 1]
    assert (result.n_wins, result.n_ties, result.n_losses, result.n) == (2, 2, 1, 5)
    assert result.win_rate == pytest.approx(0.6) and result.n_unsteady == 0 and result.first_place == 0.5
    assert result.interval.low <= wilson_interval(3, 5).low and result.interval.high >= wilson_interval(3, 5).high
    assert "outcomes" not in json.loads(json.dumps(result.to_json()))
    # Swapped sides give the mirror image.
    other = win_rate(prompts(5), second, first, longer)
    assert other.win_rate == pytest.approx(0.4) and other.p_value == result.p_value
    assert other.interval.low == pytest.approx(1 - result.interval.high, abs=0.03)


def test_the_p_value_is_that_of_all_sign_patterns() -> None:
    # Outcomes 1, 1, 1, 0.5 and 0, so that the halves sum to 1.
    result = win_rate(prompts(5), ["aa", "aa", "aa", "x", "a"], ["b", "b", "b", "y", "bb"], longer)
    halves = [0.5, 0.5, 0.5, 0.0, -0.5]
    sums = [abs(sum(s * h for s, h in zip(signs, halves, strict=True))) for signs in product((1, -1), repeat=5)]
    assert result.p_value == pytest.approx(np.mean([total >= 1.0 for total in sums]))
    assert result.p_value == sign_flip_test(result.outcomes - 0.5, seed=0)


def test_the_judge_sees_both_orders_and_the_conversation() -> None:
    seen = []

    def judge(messages, a: str, b: str) -> float:
        seen.append((messages[0]["content"], a, b))
        return 0.5

    win_rate(prompts(2), ["a", "same"], ["b", "same"], judge)
    assert seen == [("0", "a", "b"), ("0", "b", "a")]


def test_a_judge_who_likes_the_first_place_gives_ties() -> None:
    result = win_rate(prompts(20), ["a"] * 20, ["b"] * 20, lambda _messages, _a, _b: 1.0)
    assert (result.n_ties, result.win_rate, result.n_unsteady, result.first_place) == (20, 0.5, 20, 1.0)
    assert result.p_value == 1.0
    # No spread, and yet not certain.
    assert result.interval.low < 0.35 and result.interval.high > 0.65


def test_a_half_steady_judge_gives_quarters() -> None:
    result = win_rate(prompts(1), ["a"], ["b"], lambda _messages, a, _b: 1.0 if a == "a" else 0.5)
    assert result.outcomes.tolist() == [0.75] and (result.n_wins, result.n_unsteady) == (1, 1)


def test_winning_always_is_not_certainty() -> None:
    result = win_rate(prompts(10), ["aa"] * 10, ["b"] * 10, longer)
    assert result.win_rate == 1 and result.interval == wilson_interval(10, 10)
    assert result.p_value == pytest.approx(2 / 2**10)


@pytest.mark.parametrize("ties", [0.0, 0.5])
def test_the_interval_holds_the_truth(ties: float) -> None:
    n_held, n_significant, n_trials, n = 0, 0, 100, 60
    for trial in range(n_trials):
        random = np.random.default_rng(trial)
        verdict = np.where(random.random(n) < ties, 0.5, random.random(n) < 0.5)

        def judge(messages, a: str, _b: str, verdict=verdict) -> float:
            outcome = float(verdict[int(messages[0]["content"])])
            return outcome if a == "a" else 1 - outcome

        result = win_rate(prompts(n), ["a"] * n, ["b"] * n, judge, seed=trial)
        n_held += result.interval.low <= 0.5 <= result.interval.high
        n_significant += result.p_value < 0.05
    assert n_held >= 0.93 * n_trials and n_significant <= 0.09 * n_trials


@pytest.mark.parametrize("verdict", [2, -1, 0.4, float("nan"), None, "A"])
def test_other_verdicts_are_refused(verdict: object) -> None:
    with pytest.raises(DataError, match="the judge said") as caught:
        win_rate(prompts(1), ["a"], ["b"], lambda *_: verdict)  # type: ignore[arg-type,return-value]
    assert "0.5: a tie" in caught.value.hint


def test_lists_must_match() -> None:
    for conversations, first, second in (
        (prompts(2), ["a"], ["b", "c"]),
        (prompts(1), ["a"], ["b", "c"]),
        ([], [], []),
    ):
        with pytest.raises(DataError, match="there must be one of each"):
            win_rate(conversations, first, second, longer)
