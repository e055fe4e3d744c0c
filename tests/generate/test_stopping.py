from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.generate.stopping import StopText

TEXTS = st.text("abc", max_size=12)
STOPS = st.lists(st.text("abc", min_size=1, max_size=4), max_size=3)


def reference(text: str, stops: list[str]) -> str:
    """Reads letter by letter and ends before the longest stop string that the text so far ends with."""
    for end in range(1, len(text) + 1):
        found = [stop for stop in stops if text[:end].endswith(stop)]
        if found:
            return text[: end - len(max(found, key=len))]
    return text


@settings(max_examples=1000, derandomize=True, deadline=None, database=None)
@given(st.lists(TEXTS, max_size=6), STOPS)
def test_the_text_ends_where_a_stop_string_begins_however_it_is_cut(pieces: list[str], stops: list[str]) -> None:
    stop_text, whole, released = StopText(stops), "".join(pieces), ""
    for number, piece in enumerate(pieces):
        released += stop_text.push(piece)
        read = "".join(pieces[: number + 1])
        # What was released can never be taken back, and nothing is held that could not begin a stop string.
        assert reference(whole, stops).startswith(released)
        if not stop_text.is_stopped:
            held = read[len(released) :]
            assert held == "" or any(stop.startswith(held) and stop != held for stop in stops)
    assert released + stop_text.finish() == reference(whole, stops)
    assert stop_text.is_stopped == (reference(whole, stops) != whole)


def test_without_stop_strings_nothing_is_held() -> None:
    assert StopText(()).push("abc") == "abc"
