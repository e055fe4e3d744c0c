"""What the progress bar says: a step's numbers come in, its columns and a line for each sample go out."""

from collections.abc import Mapping
from typing import Any

from rich.text import Text


def name_columns(
    numbers: Mapping[str, Any], evaluation: Mapping[str, float], tokens_per_second: float, matmul_share: float
) -> dict[str, str]:
    """Loss, the first number of the last evaluation, and speed."""
    loss = numbers["loss"]
    columns = {"loss": loss if isinstance(loss, str) else f"{loss:.3f}"}
    if evaluation:
        name, value = next(iter(evaluation.items()))
        columns[name] = f"{value:.3f}"
    return columns | {"tokens/s": f"{tokens_per_second:,.0f}", "of matmul rate": f"{matmul_share:.0%}"}


def render_sample(step: int, record: Mapping[str, Any]) -> Text:
    """A prompt and what was written to it, on one line."""
    text = Text(f"  step {step}  ", style="dim")
    text.append(str(record["prompt"]), style="bold")
    text.append(str(record["text"]).replace("\n", " "), style="not dim")
    return text
