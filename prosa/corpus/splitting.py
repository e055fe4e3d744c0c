"""Which text goes where: long texts into pieces, duplicates out, some to validation, rows into parts.

Texts come in one by one for the cutting; for the rest only their ids and lengths, as arrays, so that a corpus is
planned without its text in memory.
"""

import re
import zlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_PARAGRAPH = re.compile(rb"\n\n+")
_LINE = re.compile(rb"\n")
_NEAR_CHARS = 2000


def cut_pieces(data: bytes, limit_bytes: int) -> list[bytes]:
    """Consecutive pieces of UTF-8 text, each at most `limit_bytes`, which joined are `data`.

    A piece ends after a paragraph, else a line, else a character. Of the paragraph ends between half the limit and
    the limit the one whose following bytes hash lowest is taken (content-defined chunking, Muthitacharoen et al.,
    "A Low-bandwidth Network File System", 2001), so that an edit shifts the pieces around it and not all after it.
    """
    pieces, start = [], 0
    while len(data) - start > limit_bytes:
        low = start + limit_bytes // 2
        # The last piece should not be a scrap.
        high = min(start + limit_bytes, len(data) - limit_bytes // 8)
        end = _lowest_boundary(data, low, high)
        pieces.append(data[start:end])
        start = end
    return [*pieces, data[start:]]


def _lowest_boundary(data: bytes, low: int, high: int) -> int:
    for mark in (_PARAGRAPH, _LINE):
        ends = [match.end() for match in mark.finditer(data, low, high)]
        if ends:
            return min(ends, key=lambda end: (zlib.crc32(data[end : end + 64]), end))
    while data[high] & 0xC0 == 0x80:
        high -= 1
    return high


def first_occurrences(ids: "NDArray[np.uint64]") -> "NDArray[np.bool_]":
    """True where a row of `ids` (n, 2) is the first of its value; sorting 16 bytes a row, no set of objects."""
    import numpy as np

    order = np.lexsort((ids[:, 1], ids[:, 0]))
    is_same = np.ones(max(len(ids) - 1, 0), dtype=bool)
    for column in (0, 1):
        ordered = ids[order, column]
        is_same &= ordered[1:] == ordered[:-1]
    is_first = np.ones(len(ids), dtype=bool)
    is_first[order[1:][is_same]] = False
    return is_first


def is_validation(ids: "NDArray[np.uint64]", fraction: float, seed: int) -> "NDArray[np.bool_]":
    """Chosen by each document's own id alone, so that no other document's coming or going moves it."""
    import numpy as np

    from prosa.streams import derive_seed

    # Ids are hashes, hence uniform; the seed turns the circle on which the chosen arc lies.
    turned = ids[:, 0] + np.uint64(derive_seed(seed, "validation"))
    return turned < np.uint64(int(fraction * 2**64))


def tail_start(n_chars: int, fraction: float) -> int:
    """The first character of validation in a document of `n_chars`: int(n * (1 - fraction)), safe from rounding."""
    # 1 - 0.1 is a little over 0.9 in binary; what counts is that 0.9 * n cuts where people expect it.
    return int(n_chars * round(1 - fraction, 12))


def tail_cut(text: str, wanted: int, how: Literal["line", "exact"]) -> int:
    """Where to cut `text` near `wanted`: exactly there, or after the next paragraph or line that ends nearby."""
    if how == "exact":
        return wanted
    for mark in ("\n\n", "\n"):
        found = text.find(mark, max(wanted - len(mark), 0), wanted + _NEAR_CHARS)
        if 0 <= found < len(text) - len(mark):
            return found + len(mark)
    return wanted


def fill_parts(n_bytes: "NDArray[np.int32]", limit_bytes: int) -> list[tuple[int, int]]:
    """Consecutive row ranges (start, stop), each as long as fits in `limit_bytes` and at least one row."""
    import numpy as np

    ends = np.cumsum(n_bytes, dtype=np.int64)
    ranges, start = [], 0
    while start < len(n_bytes):
        before = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, before + limit_bytes, side="right")), start + 1)
        ranges.append((start, stop))
        start = stop
    return ranges
