"""How numbers, names and tables are written for people, in English and in Portuguese."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from rich.table import Table

Language = Literal["pt", "en"]


def show_number(value: float, digits: int, language: Language) -> str:
    """1,234.5 in English, 1.234,5 in Portuguese."""
    text = f"{value:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if language == "pt" else text


def show_percent(share: float, language: Language) -> str:
    """A share as a percentage with one digit after the point."""
    return show_number(100 * share, 1, language) + "%"


def show_interval(interval: Mapping[str, float], show: Callable[[float], str]) -> str:
    """The two ends, as `show` writes them, with a dash between."""
    return f"{show(interval['low'])}–{show(interval['high'])}"


def show_name(text: str) -> str:
    """A name from outside, with nothing in it that a terminal or rich would obey."""
    from rich.markup import escape

    return escape("".join(character if character.isprintable() else "\ufffd" for character in text))


def make_table(title: str, heads: Sequence[str]) -> "Table":
    """An empty table: labels on the left, numbers on the right.

    Numbers are never cut: where room is short, heads break after a word and labels fold.
    """
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", caption_justify="left", box=SIMPLE)
    for number, head in enumerate(heads):
        table.add_column(
            head.replace(" ", "\n", 1),
            justify="right" if number else "left",
            no_wrap=number > 0,
            overflow="fold",
            min_width=0 if number else 12,
        )
    return table
