"""A whole answer explained: its steps come in, its tokens in the colours of their probabilities go out."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from prosa.generate.explain import Candidate, ExplainedStep

if TYPE_CHECKING:
    from rich.console import Group
    from rich.text import Text

from prosa.wording import Language

_HEADS: dict[str, dict[Language, str]] = {
    "probability": {"en": "probability", "pt": "probabilidade"},
    "likeliest": {"en": "the ten likeliest", "pt": "os dez mais prováveis"},
}
# From which probability on a token has which colour.
_COLOURS = ((0.9, "bold green"), (0.5, "green"), (0.2, "yellow"), (0.05, "dark_orange3"), (0.0, "red"))


def render_answer(steps: Sequence[ExplainedStep], language: Language = "en") -> "Group":
    """An answer with every token in the colour of its probability, then a row for each with what could have come."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    answer = Text()
    for step in steps:
        answer.append(step.chosen.text, style=_colour(step.chosen.probability))
    bounds = [f"≥ {bound:.0%}" for bound, _ in _COLOURS[:-1]] + [f"< {_COLOURS[-2][0]:.0%}"]
    legend = Text("  ").join(Text(bound, style=colour) for bound, (_, colour) in zip(bounds, _COLOURS, strict=True))
    table = Table(box=None, padding=(0, 1), header_style="dim")
    table.add_column("", justify="right", style="dim")
    table.add_column("token")
    table.add_column(_HEADS["probability"][language], justify="right")
    table.add_column(_HEADS["likeliest"][language], overflow="fold")
    for step in steps:
        chosen = step.chosen
        likeliest = Text("  ").join(_show_candidate(candidate, chosen.id) for candidate in step.candidates)
        style = _colour(chosen.probability)
        table.add_row(str(step.step), Text(chosen.text, style=style), _percent(chosen.probability), likeliest)
    return Group(answer, legend, table)


def _show_candidate(candidate: Candidate, chosen_id: int) -> "Text":
    from rich.text import Text

    is_chosen = candidate.id == chosen_id
    text = Text(candidate.text, style="bold" if is_chosen else "")
    return text.append(f" {_percent(candidate.probability)}", style="" if is_chosen else "dim")


def _colour(probability: float) -> str:
    return next(colour for bound, colour in _COLOURS if probability >= bound)


def _percent(probability: float) -> str:
    return f"{probability:.0%}" if probability >= 0.005 else "<1%"
