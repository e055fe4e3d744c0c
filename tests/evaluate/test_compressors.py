"""xz -9e of texts in pieces equals xz of the whole."""

import lzma

import pytest

from prosa.errors import DataError
from prosa.evaluate import xz_bits_per_byte


def test_equals_the_library_on_the_whole_text() -> None:
    texts = [f"linha {i}: não há nada {i % 13}\n" for i in range(500)]
    data = "".join(texts).encode()
    expected = 8 * len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)) / len(data)
    assert xz_bits_per_byte(texts) == expected


def test_nothing_to_compress() -> None:
    with pytest.raises(DataError, match="no text"):
        xz_bits_per_byte([""])
