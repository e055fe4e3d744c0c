"""What the model is taught, at a glance: rows of rendered conversations with learned and read tokens told apart.

Batches come in, rich text goes out. Where there is no colour, learned text stands between brackets.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal

import numpy as np
from rich.console import Console
from rich.text import Text

from prosa.sft.batches import SftBatch
from prosa.tokenizer import Tokenizer

_LEARNED, _READ, _CONTROL, _FILLED = "bold green", "", "magenta", "dim"
_OPEN, _CLOSE = "⟦", "⟧"

_PHRASES: dict[str, dict[Literal["pt", "en"], str]] = {
    "learned": {
        "en": "learned: the model is trained to write this",
        "pt": "aprendido: o modelo é treinado a escrever isto",
    },
    "read": {"en": "read: only given", "pt": "lido: apenas dado"},
    "control": {"en": "control token", "pt": "token de controle"},
    "row": {
        "en": "row {number}: {conversations} conversations, {full} of {width} tokens, {learned} learned",
        "pt": "linha {number}: {conversations} conversas, {full} de {width} tokens, {learned} aprendidos",
    },
    "row of one": {
        "en": "row {number}: 1 conversation, {full} of {width} tokens, {learned} learned",
        "pt": "linha {number}: 1 conversa, {full} de {width} tokens, {learned} aprendidos",
    },
}


def print_rows(
    console: Console, tokenizer: Tokenizer, batch: SftBatch, *, n_rows: int = 4, language: Literal["pt", "en"] = "en"
) -> None:
    """Prints the first rows of a batch below one legend; without colours (NO_COLOR, a file) with brackets instead."""
    has_marks = console.no_color or console.color_system is None
    console.print(render_legend(has_marks=has_marks, language=language))
    for number in range(min(n_rows, len(batch.ids))):
        console.print()
        row = (tensor[number].tolist() for tensor in batch)
        console.print(render_row(tokenizer, number, *row, has_marks=has_marks, language=language), soft_wrap=True)


def render_legend(*, has_marks: bool, language: Literal["pt", "en"] = "en") -> Text:
    """What the colours (or brackets) mean."""
    legend = Text()
    for name, style in (("learned", _LEARNED), ("read", _READ), ("control", _CONTROL)):
        words = _PHRASES[name][language]
        if name == "learned" and has_marks:
            words = f"{_OPEN}{words}{_CLOSE}"
        if name == "control":
            words = f"<|...|> {words}"
        legend.append(words, style=style).append("   ")
    legend.rstrip()
    return legend


def render_row(
    tokenizer: Tokenizer,
    number: int,
    ids: Sequence[int],
    targets: Sequence[int],
    segments: Sequence[int],
    *,
    has_marks: bool,
    language: Literal["pt", "en"] = "en",
) -> Text:
    """One row: a line about it, then its conversations with control tokens visible, an empty line between two."""
    conversations = list(_conversations(ids, targets, segments))
    words = _PHRASES["row of one" if len(conversations) == 1 else "row"][language]
    n_full = sum(len(conversation) - 1 for conversation in conversations)
    n_learned = sum(target != -100 for target in targets)
    words = words.format(
        number=number + 1, conversations=len(conversations), full=n_full, width=len(ids), learned=n_learned
    )
    text = Text().append(words, style=_FILLED)
    for conversation in conversations:
        text.append("\n\n")
        for is_learned, group in groupby(conversation, key=lambda pair: pair[1]):
            learned = Text(_OPEN if has_marks and is_learned else "")
            _append_tokens(learned, tokenizer, [id for id, _ in group], _LEARNED if is_learned else _READ)
            text.append_text(learned.append(_CLOSE if has_marks and is_learned else ""))
    return text


def _conversations(
    ids: Sequence[int], targets: Sequence[int], segments: Sequence[int]
) -> Iterator[list[tuple[int, bool]]]:
    """Each conversation of a row as pairs (id, is it learned), its last id, which is only a target, included."""
    learned = np.array(targets) != -100
    for segment in dict.fromkeys(segments):
        places = [place for place, other in enumerate(segments) if other == segment]
        if not learned[places].any():
            # What fills the row to its end.
            continue
        pairs = [(ids[places[0]], False)]
        pairs += [(ids[place + 1], bool(learned[place])) for place in places[:-1]]
        yield [*pairs, (targets[places[-1]], True)]


def _append_tokens(text: Text, tokenizer: Tokenizer, ids: Sequence[int], style: str) -> None:
    for is_control, group in groupby(ids, key=tokenizer.control_ids.__contains__):
        if is_control:
            text.append("".join(tokenizer.show(id) for id in group), style=style or _CONTROL)
        else:
            text.append(tokenizer.decode(list(group)), style=style)
