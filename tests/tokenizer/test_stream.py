"""The streaming decoder says what `decode` says, as early as it can."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.errors import TokenizerError
from prosa.tokenizer import Tokenizer

# Bytes around every edge of UTF-8, so that broken sequences are common.
_EDGES = [
    0x41,
    0x7F,
    0x80,
    0x8F,
    0x90,
    0x9F,
    0xA0,
    0xBF,
    0xC0,
    0xC2,
    0xC3,
    0xDF,
    0xE0,
    0xE2,
    0xED,
    0xEF,
    0xF0,
    0xF4,
    0xF5,
    0xFF,
]


@settings(derandomize=True, max_examples=400, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(_EDGES), st.integers(0, 699)), max_size=40))
def test_joined_it_equals_decode(tokenizer: Tokenizer, ids: list[int]) -> None:
    stream = tokenizer.stream()
    pieces = [stream.push(id) for id in ids]
    held = stream.finish()
    assert "".join(pieces) + held == tokenizer.decode(ids)
    assert len(held.encode("utf-8", "replace")) <= 3


def test_whole_characters_come_at_once_and_halves_wait() -> None:
    stream = Tokenizer([]).stream()
    assert [stream.push(byte) for byte in "é😀a".encode()] == ["", "é", "", "", "", "😀", "a"]
    assert stream.finish() == ""


def test_a_broken_byte_does_not_stall() -> None:
    stream = Tokenizer([]).stream()
    assert [stream.push(byte) for byte in b"\xf0\x9f\x41\xff\x80B"] == ["", "", "\ufffdA", "\ufffd", "\ufffd", "B"]
    assert stream.push(0xE2) == ""
    assert stream.finish() == "\ufffd"


def test_a_real_replacement_character_passes() -> None:
    stream = Tokenizer([]).stream()
    assert "".join(stream.push(byte) for byte in "a\ufffdb".encode()) == "a\ufffdb"


def test_control_tokens_are_silent_and_unknown_ids_refused(tokenizer: Tokenizer) -> None:
    stream = tokenizer.stream()
    assert stream.push(0xC3) + stream.push(tokenizer.im_end_id) + stream.push(0xA9) == "é"
    with pytest.raises(TokenizerError, match="700"):
        stream.push(700)
