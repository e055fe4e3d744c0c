"""Bytes of a file, opened, decompressed and cut into blocks that one worker can hold.

A path comes in; UTF-8 bytes come out with the line they begin at, whatever the file's size, compression or encoding.
Damaged, binary and empty files are counted in the report, never raised.
"""

import codecs
import gzip
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

from prosa.corpus.document import ReadReport

BLOCK_BYTES = 4_000_000
LINE_LIMIT_BYTES = 64_000_000
_CHUNK_BYTES = 1 << 18
_BYTE_ORDER_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f\x7f\x81\x8d\x8f\x90\x9d]")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file of a source; `name` is its path inside the source, with forward slashes."""

    path: Path
    name: str
    format: str
    compression: str
    n_bytes: int


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive whole lines of a file; `first_line` counts from 1, `index` is 0 for the file's first block."""

    data: bytes
    first_line: int
    index: int


def read_blocks(file: SourceFile, report: ReadReport, *, is_text: bool) -> Iterator[Block]:
    """The file in blocks of about BLOCK_BYTES, cut at line ends, for text at paragraph ends where there are some."""
    parts: list[bytes] = []
    size, wanted, line, index = 0, BLOCK_BYTES, 1, 0
    is_discarding = False
    for chunk in read_chunks(file, report):
        if is_discarding:
            end = chunk.find(b"\n") + 1
            if end == 0:
                continue
            chunk, line, is_discarding = chunk[end:], line + 1, False
        parts.append(chunk)
        size += len(chunk)
        if size < wanted:
            continue
        data = b"".join(parts)
        cut = _text_cut(data) if is_text else data.rfind(b"\n") + 1
        if cut == 0 and size < LINE_LIMIT_BYTES:
            parts, wanted = [data], 2 * size
            continue
        if cut == 0:
            report.rejected.add("line too long", f"{file.name}:{line}", f"over {LINE_LIMIT_BYTES} bytes")
            parts, size, wanted, is_discarding = [], 0, BLOCK_BYTES, True
            continue
        yield Block(data[:cut], line, index)
        line, index = line + data.count(b"\n", 0, cut), index + 1
        parts, size, wanted = [data[cut:]], len(data) - cut, BLOCK_BYTES
    if size:
        yield Block(b"".join(parts), line, index)


def read_whole(file: SourceFile, report: ReadReport, limit_bytes: int, *, is_text: bool = True) -> bytes | None:
    """All of a file that has to be seen as one; None, counted, if it is larger than the limit or unusable."""
    data = bytearray()
    for chunk in read_chunks(file, report, is_text=is_text):
        data += chunk
        if len(data) > limit_bytes:
            report.rejected.add("too large", file.name, f"over {limit_bytes / 1e6:.0f} MB in one piece")
            return None
    return bytes(data) or None


def read_chunks(file: SourceFile, report: ReadReport, *, is_text: bool = True) -> Iterator[bytes]:
    """The file's bytes, decompressed; of text a byte order mark is removed and UTF-16 and UTF-32 become UTF-8."""
    is_empty = True
    try:
        with _open(file) as stream:
            read = stream.read1 if isinstance(stream, gzip.GzipFile) else stream.read
            head = read(_CHUNK_BYTES)
            marks = _BYTE_ORDER_MARKS if is_text else ()
            mark, encoding = next((pair for pair in marks if head.startswith(pair[0])), (b"", "utf-8"))
            if encoding == "utf-8":
                if is_text and b"\0" in head[:8192]:
                    report.rejected.add("binary", file.name)
                    return
                chunk = head[len(mark) :]
                while chunk:
                    is_empty = False
                    yield chunk
                    chunk = read(_CHUNK_BYTES)
            else:
                decoder = codecs.getincrementaldecoder(encoding)("replace")
                report.repaired.add(f"read as {encoding.upper()}", file.name)
                while head:
                    is_empty = False
                    yield decoder.decode(head).encode()
                    head = read(_CHUNK_BYTES)
                yield decoder.decode(b"", True).encode()
    except (EOFError, OSError, zlib.error) as error:
        is_empty = False
        if isinstance(error, OSError) and error.errno is not None:
            report.rejected.add("unreadable", file.name, error.strerror or "")
        else:
            report.rejected.add("truncated or damaged compression", file.name, f"{error}".partition("\n")[0])
    if is_empty:
        report.rejected.add("empty", file.name)


def decode(data: bytes, where: str, report: ReadReport) -> str | None:
    """Text of UTF-8 bytes; never fatal, never silent.

    Mostly valid UTF-8 keeps its text with U+FFFD for the bad bytes; text of an older Western encoding is read as
    Windows-1252; both are counted as repaired. Anything else is rejected, and None comes back.
    """
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        first_bad = data.count(b"\n", 0, error.start)
    name, _, line = where.rpartition(":")
    if name and line.isdigit():
        where = f"{name}:{int(line) + first_bad}"
    text = data.decode("utf-8", "replace")
    n_bad = text.count("\ufffd") - data.count(b"\xef\xbf\xbd")
    n_good = sum(data.count(bytes([lead])) for lead in range(0xC2, 0xF5)) - n_bad
    if n_good > 10 * n_bad:
        report.repaired.add("undecodable bytes replaced", where, f"{n_bad} replaced by U+FFFD")
        return text
    n_high = len(data) - len(data.translate(None, bytes(range(0x80, 0x100))))
    if n_high <= len(data) / 3 and len(_CONTROL.findall(data)) <= len(data) / 1000:
        report.repaired.add("read as Windows-1252", where)
        return data.decode("cp1252", "replace")
    report.rejected.add("undecodable", where, f"{n_bad} byte sequences are not UTF-8")
    return None


def _open(file: SourceFile) -> IO[bytes]:
    if file.compression == "gz":
        return cast(IO[bytes], gzip.open(file.path, "rb"))
    if file.compression == "zst":
        import pyarrow

        return cast(IO[bytes], pyarrow.CompressedInputStream(pyarrow.OSFile(str(file.path)), "zstd"))
    return file.path.open("rb")


def _text_cut(data: bytes) -> int:
    """Where to end a block of text: after a paragraph, else a line, else a word, else a character."""
    half = len(data) // 2
    for mark in (b"\n\n", b"\n\r\n", b"\n", b" "):
        if (cut := data.rfind(mark, half)) >= 0:
            return cut + len(mark)
    cut = len(data) - 1
    while cut > len(data) - 4 and data[cut] & 0xC0 == 0x80:
        cut -= 1
    return cut
