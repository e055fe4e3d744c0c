"""What the screen shows: everything, in its width and height, and nothing that a terminal would obey."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from prosa.preferences import Answer, Item
from prosa.preferences.ranking_screen import (
    LABELS,
    Draft,
    View,
    clean_text,
    item_lines,
    order_line,
    render,
    render_text,
    wrap,
)
from prosa.preferences.ranking_texts import TEXTS, Language

OWN_CODES = re.compile(r"\x1b\[[0127]m")
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
HOSTILE = [
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "\x9b31m",
    "\x1b]52;c;c2VjcmV0\x07",
    "a\rb\x08c\x7f",
    "\u202etxet",
    "\x1b\\\x90q\x9c",
    "\x00\x05\x0e",
]
TEXT = st.one_of(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.sampled_from(HOSTILE))
LANGUAGES: list[Language] = ["pt", "en"]


def make_draft(*texts: str, prompt: str = "Quem?") -> Draft:
    item = Item.make([{"role": "user", "content": prompt}], [Answer(text) for text in texts])
    return Draft(item, tuple(range(len(texts))))


@pytest.mark.parametrize("text", HOSTILE)
def test_no_escape_code_of_a_model_reaches_the_terminal(text: str) -> None:
    assert not OBEYED.search(clean_text(text))
    draft = make_draft(text, "b", prompt=text)
    draft.comment = text
    for lines in (
        [OWN_CODES.sub("", line) for line in render(draft, View("pt", message=""), 80, 24)],
        item_lines(draft, 60, "en", is_styled=False),
    ):
        assert not OBEYED.search("".join(lines)), lines


def test_roles_are_cleaned_too() -> None:
    messages = [{"role": "\x1b[2Jhacker", "content": "a"}, {"role": "user", "content": "b"}]
    draft = Draft(Item.make(messages, [Answer("a"), Answer("b")]), (0, 1))
    assert not OBEYED.search("".join(item_lines(draft, 60, "en", is_styled=False)))


def test_signs_instead_of_codes() -> None:
    assert clean_text("\x1b[1m\r\n\t\x7f\x9bé😀") == "␛[1m\n    \ufffd\ufffdé😀"


@settings(max_examples=200, deadline=None, derandomize=True)
@given(TEXT, st.integers(4, 40))
def test_wrapping_loses_nothing_but_space_at_breaks(text: str, width: int) -> None:
    lines = wrap(text, width)
    assert all(cell_len(line) <= width for line in lines)
    assert re.sub(r"\s", "", "".join(lines)) == re.sub(r"\s", "", clean_text(text))


def test_code_keeps_its_indentation() -> None:
    assert wrap("def f():\n\treturn 1\n\nx", 40) == ["def f():", "    return 1", "", "x"]
    assert wrap("um dois três", 8) == ["um dois", "três"]
    assert wrap("abcdefghij", 4) == ["abcd", "efgh", "ij"]
    assert wrap("日本語です", 4) == ["日本", "語で", "す"]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(TEXT, min_size=2, max_size=9), st.integers(22, 200), st.integers(4, 60), st.sampled_from(LANGUAGES))
def test_a_screen_fits_and_scrolling_shows_all(texts: list[str], width: int, height: int, language: Language) -> None:
    draft, view = make_draft(*texts), View(language, "1 de 9", 0.1)
    shown: set[str] = set()
    for _ in range(10_000):
        lines = render(draft, view, width, height)
        assert len(lines) <= height and all(cell_len(OWN_CODES.sub("", line)) <= width for line in lines)
        shown.update(lines)
        if view.has_all_been_seen:
            break
        view.scroll("down")
    assert view.has_all_been_seen
    if height > 14:
        columns = min(width, 110) - 3
        assert set(item_lines(draft, columns, language, is_styled=True)) <= shown


def test_a_long_answer_must_be_scrolled_to_its_end() -> None:
    draft, view = make_draft("\n".join(map(str, range(100))), "b"), View("en")
    render(draft, view, 80, 24)
    assert not view.has_all_been_seen
    view.scroll("end")
    screen = render(draft, view, 80, 24)
    assert view.has_all_been_seen and any("b" in line for line in screen)
    view.scroll("home")
    assert "Prompt" in render(draft, view, 80, 24)[3] and view.has_all_been_seen
    for key in ("pageup", "up", "b"):
        view.scroll(key)
        render(draft, view, 80, 24)
        assert view.top == 0
    view.scroll(" ")
    render(draft, view, 80, 24)
    assert view.top == view.n_shown - 1


def test_choosing() -> None:
    draft = make_draft("a", "b", "c", "d")
    assert draft.press("2") and draft.press("4") and draft.groups == [[1], [3]]
    assert not draft.press("5") and not draft.press("x") and not draft.press("enter")
    assert draft.tie() and draft.groups == [[1, 3]]
    assert draft.press("1") and draft.tie() and draft.groups == [[1, 3, 0]]
    assert draft.tie() and draft.groups == [[1, 3], [0]], "again parts it"
    assert order_line(draft, "pt") == "Ordem: 2 = 4 > 1   (3 fica por último)"
    assert draft.press("4") and draft.groups == [[1], [0]], "again takes the place away"
    draft.take_back()
    assert draft.groups == [[1]] and not draft.tie()
    draft.take_back()
    draft.take_back()
    assert draft.groups == [] and order_line(draft, "en") == "Order: begin with the best"


def test_labels_follow_the_order_shown() -> None:
    draft = make_draft("a", "b", "c")
    draft.order = (2, 0, 1)
    draft.press("1")
    assert draft.groups == [[2]] and draft.label(0) == "2"
    assert [line for line in item_lines(draft, 40, "en", is_styled=False) if line.startswith(" 1 ")] == [" 1   #1"]


def test_nothing_says_where_an_answer_is_from() -> None:
    answers = [Answer("a", model="modelo-secreto", sampling={"temperature": 0.123}), Answer("b", model="outro")]
    item = Item.make([{"role": "user", "content": "?"}], answers, source="fonte-secreta", task_id="tarefa-secreta")
    shown = "".join(render(Draft(item, (0, 1)), View("pt"), 100, 40))
    assert not re.search("secret|outro|0.123", shown)


def test_the_languages_say_the_same() -> None:
    fields = {name: set(re.findall(r"\{\w+\}", text)) for name, text in TEXTS["pt"].items()}
    assert fields == {name: set(re.findall(r"\{\w+\}", text)) for name, text in TEXTS["en"].items()}
    assert len(set(LABELS)) == len(LABELS) and not set(LABELS) & set("abcdefghijklmnopqrstuvwxyz=-? ")
    for language in LANGUAGES:
        assert len(render_text(TEXTS[language]["help"], 80, 24)) == 24
        # The help fits a terminal of the usual size.
        assert len(wrap(TEXTS[language]["help"], 79)) <= 24


def test_a_small_screen_is_for_the_text() -> None:
    for language in LANGUAGES:
        screen = render(make_draft("um", "dois", "três"), View(language), 40, 12)
        text = "\n".join(OWN_CODES.sub("", line) for line in screen)
        assert "um" in text and "q " in screen[-1] and "? " in screen[-1]
