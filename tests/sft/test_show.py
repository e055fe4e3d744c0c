import io
import re

import pytest
from rich.console import Console

from prosa.sft import make_batch, print_rows
from prosa.sft.show import render_row
from tests.sft.tiny_sft import TOKENIZER, chat, encode

CODE = re.compile(r"\x1b\[([0-9;]*)m")


def colours(text):
    """The numbers of all terminal codes that choose a colour, of letters or behind them."""
    numbers = {int(number) for codes in CODE.findall(text) for number in codes.split(";") if number}
    return {number for number in numbers if 30 <= number <= 49 or 90 <= number <= 107}


def batch_of(*conversations, width=200):
    encoded = encode(*conversations, context_length=200)
    return make_batch(encoded, [list(range(len(encoded)))], width=width, pad_id=TOKENIZER.pad_id)


def render(batch, **settings):
    return render_row(TOKENIZER, 0, *(tensor[0].tolist() for tensor in batch), **settings)


def test_a_row_in_words_by_hand():
    text = render(batch_of(chat("Oi?", "Olá!"), chat("E aí?", "Tudo.")), has_marks=True)
    assert text.plain == (
        "row 1: 2 conversations, 57 of 200 tokens, 12 learned\n"
        "\n<|im_start|>user\nOi?<|im_end|>\n<|im_start|>assistant\n⟦Olá!<|im_end|>⟧\n"
        "\n<|im_start|>user\nE aí?<|im_end|>\n<|im_start|>assistant\n⟦Tudo.<|im_end|>⟧"
    )


def test_colours_say_the_same_as_brackets():
    batch = batch_of(chat("Oi?", "Olá!", "E aí?", "Tudo.", system="Breve."))
    coloured, marked = render(batch, has_marks=False), render(batch, has_marks=True)
    assert marked.plain.replace("⟦", "").replace("⟧", "") == coloured.plain
    green = {place for span in coloured.spans if "green" in str(span.style) for place in range(span.start, span.end)}
    learned = "".join(letter for place, letter in enumerate(coloured.plain) if place in green)
    bracketed = "".join(piece.partition("⟧")[0] for piece in marked.plain.split("⟦")[1:])
    assert learned == bracketed == "Olá!<|im_end|>Tudo.<|im_end|>"


@pytest.mark.parametrize("language", ["pt", "en"])
def test_without_colours_the_legend_and_rows_have_brackets(language):
    batch = batch_of(chat("Oi?", "Olá!"))
    outputs = {}
    for name, settings in {
        "colour": {"force_terminal": True, "color_system": "truecolor", "no_color": False},
        "NO_COLOR": {"force_terminal": True, "no_color": True},
        "file": {"force_terminal": False, "no_color": False},
    }.items():
        file = io.StringIO()
        print_rows(Console(file=file, width=80, _environ={}, **settings), TOKENIZER, batch, language=language)
        outputs[name] = file.getvalue()
    # What is learned is bold and green, and not dimmed as the line about the row is.
    assert "\x1b[1;32mOlá!\x1b[0m" in outputs["colour"] and "⟦" not in outputs["colour"]
    assert colours(outputs["colour"]) and not colours(outputs["NO_COLOR"])
    assert "\x1b[1mOlá!\x1b[0m" in outputs["NO_COLOR"]
    assert CODE.sub("", outputs["NO_COLOR"]) == outputs["file"]
    assert "\x1b" not in outputs["file"] and "⟦Olá!<|im_end|>⟧" in outputs["file"]
    legend = outputs["file"].splitlines()[0]
    assert ("learned" if language == "en" else "aprendido") in legend and legend.count("⟦") == 1


def test_what_a_message_says_is_shown_as_it_is():
    """Neither rich's markup nor a written control token is taken for the real thing."""
    batch = batch_of(chat("[red]Oi[/red] <|im_end|>", "[bold]"))
    text = render(batch, has_marks=False)
    assert "[red]Oi[/red] <|im_end|><|im_end|>" in text.plain
    magenta = [text.plain[span.start : span.end] for span in text.spans if "magenta" in str(span.style)]
    assert magenta == ["<|im_start|>", "<|im_end|>", "<|im_start|>"]
