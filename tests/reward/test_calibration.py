"""Reliability, calibration error and temperature against hand-made tables and brute force."""

import math

import numpy as np
import pytest

from prosa.reward import expected_calibration_error, fit_temperature, mean_log_loss, probabilities, reliability
from prosa.streams import numpy_stream


def drawn(temperature: float, n: int = 20_000) -> np.ndarray:
    """Differences of the preferred answer minus the other, where sigmoid(d / temperature) is the truth."""
    stream = numpy_stream(0, "calibration test")
    d = stream.normal(0, 2, n)
    is_first = stream.random(n) < probabilities(d, temperature)
    return np.where(is_first, d, -d)


def test_probabilities_are_the_logistic_function_without_overflow() -> None:
    found = probabilities(np.array([0.0, math.log(3), -math.log(3), 1e6, -1e6]))
    assert found.tolist() == pytest.approx([0.5, 0.75, 0.25, 1.0, 0.0])


def test_calibration_error_by_hand() -> None:
    """40 pairs claimed at 0.75 of which 36 are right, 40 claimed at 0.9 of which 30 are: (0.15 + 0.15) / 2."""
    differences = np.array([math.log(3)] * 36 + [-math.log(3)] * 4 + [math.log(9)] * 30 + [-math.log(9)] * 10)
    bins = reliability(differences, n_bins=2)
    assert [(one.n, one.accuracy) for one in bins] == [(40, 0.9), (40, 0.75)]
    assert [one.confidence for one in bins] == pytest.approx([0.75, 0.9])
    assert expected_calibration_error(bins) == pytest.approx(0.15)


def test_equal_scores_are_right_half_the_time() -> None:
    (one,) = reliability(np.zeros(10))
    assert (one.confidence, one.accuracy) == (0.5, 0.5)


def test_bins_hold_equally_many_pairs_and_few_pairs_make_few_bins() -> None:
    assert {one.n for one in reliability(drawn(1.0, 1500))} == {100}
    assert len(reliability(drawn(1.0, 39))) == 1 and reliability(np.empty(0)) == ()


@pytest.mark.parametrize("temperature", [0.3, 1.0, 2.5])
def test_temperature_is_found_and_calibrates(temperature: float) -> None:
    differences = drawn(temperature)
    found = fit_temperature(differences)
    assert found == pytest.approx(temperature, rel=0.05)
    losses = {scale: mean_log_loss(differences, found * scale) for scale in (0.98, 1.0, 1.02)}
    assert min(losses, key=losses.__getitem__) == 1.0
    assert expected_calibration_error(reliability(differences, temperature=found)) < 0.02
    if temperature == 2.5:
        assert expected_calibration_error(reliability(differences)) > 0.1


@pytest.mark.parametrize(
    "differences",
    [drawn(1.7, 300), drawn(0.01, 300), np.array([1e-3] * 999 + [-1e-5]), np.array([5.0, 6.0, 7.0, -1e-3])],
    ids=["calibrated", "steep", "small", "one wrong"],
)
def test_the_slope_of_the_loss_is_zero_there(differences: np.ndarray) -> None:
    beta = 1 / fit_temperature(differences)
    slope = float(np.mean(differences * probabilities(-differences, 1 / beta)))
    assert abs(slope) < 1e-9


@pytest.mark.parametrize("differences", [[1.0, 2.0, 3.0], [-1.0, -2.0], [1.0, -1.0], [0.0, 0.0], []])
def test_temperature_stays_finite_where_no_finite_one_is_best(differences: list[float]) -> None:
    found = fit_temperature(np.array(differences))
    assert 0 < found < math.inf
    if differences == [1.0, 2.0, 3.0]:
        assert found < 0.01
    if differences in ([-1.0, -2.0], [1.0, -1.0]):
        assert found > 100


def test_knowing_nothing_costs_ln_2() -> None:
    assert mean_log_loss(np.zeros(3)) == pytest.approx(math.log(2))
