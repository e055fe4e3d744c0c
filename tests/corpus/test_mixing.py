import pytest

from prosa.corpus import epochs_per_source, repeat_warnings, resolve_weights
from prosa.errors import ConfigError


@pytest.mark.parametrize(
    ("given", "sizes", "expected"),
    [
        ({"a": 0, "b": 0}, {"a": 30, "b": 10}, {"a": 0.75, "b": 0.25}),
        ({"a": 3, "b": 1}, {"a": 1, "b": 99}, {"a": 0.75, "b": 0.25}),
        ({"a": 0.5, "b": 0, "c": 0}, {"a": 1, "b": 30, "c": 10}, {"a": 0.5, "b": 0.375, "c": 0.125}),
        ({"a": 0, "b": 0}, {"a": 30}, {"a": 1.0}),
        ({}, {}, {}),
    ],
)
def test_weights(given: dict[str, float], sizes: dict[str, int], expected: dict[str, float]) -> None:
    assert resolve_weights(given, sizes) == pytest.approx(expected)


def test_shares_must_leave_room() -> None:
    with pytest.raises(ConfigError, match="`b`") as error:
        resolve_weights({"a": 1.0, "b": 0}, {"a": 5, "b": 5})
    assert "hint" in str(error.value)


def test_epochs_and_warnings() -> None:
    epochs = epochs_per_source({"small": 1000, "large": 100_000, "none": 0}, {"small": 0.5, "large": 0.5}, 20_000)
    assert epochs == {"small": 10.0, "large": 0.1}
    warnings = repeat_warnings(epochs)
    assert len(warnings) == 1 and "`small`" in warnings[0] and "10.0 times" in warnings[0]
    assert repeat_warnings({"a": 4.0}) == []
