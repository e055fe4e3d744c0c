"""Answers of a training step token by token, with what each token earned: green was reinforced, red discouraged.

Records of `samples.jsonl` come in, rich text goes out; without colours the numbers alone.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from prosa.wording import Language, make_table, show_name, show_number

_SAID: dict[str, dict[Language, str]] = {
    "step": {"en": "step {step}: score {score}", "pt": "passo {step}: nota {score}"},
    "gold": {"en": ", really worth {gold}", "pt": ", vale de fato {gold}"},
    "token": {"en": "token", "pt": "token"},
    "probability": {"en": "probability", "pt": "probabilidade"},
    "reward": {"en": "reward", "pt": "recompensa"},
    "kl": {"en": "KL", "pt": "KL"},
    "value": {"en": "value", "pt": "valor"},
    "advantage": {"en": "advantage", "pt": "vantagem"},
}


def render_record(record: Mapping[str, Any], language: Language = "en") -> Group:
    """One answer: the prompt, the answer coloured by advantage, and a row of numbers for each token."""
    score = show_number(record["score"], 2, language)
    said = _SAID["step"][language].format(step=record.get("step", ""), score=score)
    if record["gold"] is not None:
        said += _SAID["gold"][language].format(gold=show_number(record["gold"], 2, language))
    return Group(
        Text(said, style="bold"),
        Text(record["prompt"].strip(), style="dim"),
        colour_answer(record["tokens"], record["advantage"]),
        token_table(record, language),
    )


def colour_answer(tokens: Sequence[str], advantages: Sequence[float]) -> Text:
    """The answer, each token on green where it was reinforced and on red where it was discouraged."""
    text = Text()
    largest = max((abs(value) for value in advantages), default=0.0) or 1.0
    for token, value in zip(tokens, advantages, strict=True):
        depth = round(120 * abs(value) / largest)
        colour = f"rgb(0,{depth},0)" if value > 0 else f"rgb({depth},0,0)"
        text.append(token, style=f"white on {colour}" if depth > 8 else "")
    return text


def token_table(record: Mapping[str, Any], language: Language = "en") -> Table:
    """A row for each token: its probability when it was drawn, reward, distance, expected score and advantage."""
    columns = ("token", "probability", "reward", "kl", "value", "advantage")
    table = make_table("", [_SAID[name][language] for name in columns])
    for number, token in enumerate(record["tokens"]):
        probability = math.exp(record["logprob"][number])
        cells = [show_number(record[name][number], 3, language) for name in ("reward", "kl", "value", "advantage")]
        table.add_row(show_name(repr(token)[1:-1]), f"{show_number(100 * probability, 1, language)}%", *cells)
    return table
