"""Numbers and rows for Markdown pages."""

from collections.abc import Iterable, Sequence
from typing import Any


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column to the left, the others to the right."""
    marks = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, marks, *rows)) + "\n"


def show_spread(values: dict[str, Any] | None, digits: int, unit: str = "") -> str:
    """`median unit (low to high)`; a dash where nothing was measured."""
    if values is None:
        return "-"
    low, median, high = (f"{values[key]:,.{digits}f}" for key in ("low", "median", "high"))
    return f"{median}{unit}" + (f" ({low} to {high})" if len(values["values"]) > 1 else "")


def show_interval(value: float, interval: dict[str, float], digits: int = 3) -> str:
    """`value [low, high]`, the 95 % interval."""
    return f"{value:.{digits}f} [{interval['low']:.{digits}f}, {interval['high']:.{digits}f}]"


def verdict(is_met: bool, target: str) -> str:
    """A plain sentence on a target."""
    return f"**{'Met' if is_met else 'Missed'}**: {target}."
