"""What a general compressor needs for the same text, as a line to hold a model's bits per byte against."""

import lzma
from collections.abc import Iterable

from prosa.errors import DataError


def xz_bits_per_byte(texts: Iterable[str]) -> float:
    """Bits per UTF-8 byte of `xz -9e` on all texts as one stream, in their order, container included."""
    compressor = lzma.LZMACompressor(preset=9 | lzma.PRESET_EXTREME)
    n_bytes = n_compressed = 0
    for text in texts:
        data = text.encode("utf-8")
        n_bytes += len(data)
        n_compressed += len(compressor.compress(data))
    if not n_bytes:
        raise DataError("there is no text to compress")
    return 8 * (n_compressed + len(compressor.flush())) / n_bytes
