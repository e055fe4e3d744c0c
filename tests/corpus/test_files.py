import gzip
import os
import random
from pathlib import Path

import pyarrow
import pytest

from prosa.corpus import files
from prosa.corpus.document import ReadReport
from prosa.corpus.files import SourceFile, decode, read_blocks, read_chunks, read_whole
from prosa.corpus.tree import format_of

WORDS = ["era", "uma", "vez", "um", "açaí", "na", "foz", "do", "rio\n"]


def as_file(path: Path) -> SourceFile:
    format_name, compression = format_of(path)
    return SourceFile(path, path.name, format_name, compression, path.stat().st_size)


def sample(n_bytes: int, seed: int = 0) -> bytes:
    rng = random.Random(seed)
    text = ""
    while len(text) < n_bytes:
        text += " ".join(rng.choices(WORDS, k=20)) + rng.choice(["\n", "\n\n", " ", "\n\n\n"])
    return text.encode()


@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_blocks_joined_are_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_text: bool, suffix: str
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 5000)
    monkeypatch.setattr(files, "_CHUNK_BYTES", 700)
    data = sample(60_000)
    path = tmp_path / f"a.txt{suffix}"
    packed = {"": data, ".gz": gzip.compress(data), ".zst": pyarrow.compress(data, "zstd", asbytes=True)}[suffix]
    path.write_bytes(packed)
    report = ReadReport()
    blocks = list(read_blocks(as_file(path), report, is_text=is_text))
    assert b"".join(block.data for block in blocks) == data
    assert len(blocks) > 10 and max(len(block.data) for block in blocks) < 6000
    position = 0
    for index, block in enumerate(blocks):
        assert (block.index, block.first_line) == (index, 1 + data.count(b"\n", 0, position))
        assert block.data.endswith(b"\n") or index == len(blocks) - 1
        position += len(block.data)
    assert report.to_json() == ReadReport().to_json()


def test_text_without_any_line_is_still_cut_between_characters(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(files, "_CHUNK_BYTES", 64)
    data = ("ação€😀" * 900).encode()
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    blocks = [block.data for block in read_blocks(as_file(path), ReadReport(), is_text=True)]
    assert b"".join(blocks) == data and len(blocks) > 5
    assert "".join(block.decode() for block in blocks) == data.decode()


def test_a_line_beyond_the_limit_is_rejected_and_the_next_ones_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(files, "_CHUNK_BYTES", 100)
    monkeypatch.setattr(files, "LINE_LIMIT_BYTES", 4000)
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"n":1}\n' + b"x" * 20_000 + b'\n{"n":3}\n')
    report = ReadReport()
    blocks = list(read_blocks(as_file(path), report, is_text=False))
    assert b"".join(block.data for block in blocks).split() == [b'{"n":1}', b'{"n":3}']
    assert blocks[-1].first_line == 3
    assert report.rejected.counts == {"line too long": 1}
    assert report.rejected.examples["line too long"][0].startswith("a.jsonl:2")


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_truncated_archive_gives_what_it_holds_and_is_counted(tmp_path: Path, suffix: str) -> None:
    data = b"".join(b"line %d %d\n" % (number, number * 7919 % 10007) for number in range(300_000))
    packed = gzip.compress(data) if suffix == ".gz" else pyarrow.compress(data, "zstd", asbytes=True)
    path = tmp_path / f"a.txt{suffix}"
    path.write_bytes(packed[: len(packed) * 2 // 3])
    report = ReadReport()
    got = b"".join(read_chunks(as_file(path), report))
    assert len(got) > len(data) // 3 and data.startswith(got)
    assert report.rejected.counts == {"truncated or damaged compression": 1}
    path.write_bytes(b"this is no archive at all")
    report = ReadReport()
    assert list(read_chunks(as_file(path), report)) == []
    assert report.rejected.counts == {"truncated or damaged compression": 1}


def test_concatenated_archives_are_read_to_the_end(tmp_path: Path) -> None:
    pairs = {".gz": gzip.compress, ".zst": lambda data: pyarrow.compress(data, "zstd", asbytes=True)}
    for suffix, pack in pairs.items():
        path = tmp_path / f"a.txt{suffix}"
        path.write_bytes(pack(b"um\n" * 9000) + pack(b"dois\n" * 9000))
        assert b"".join(read_chunks(as_file(path), ReadReport())) == b"um\n" * 9000 + b"dois\n" * 9000


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks(tmp_path: Path, encoding: str) -> None:
    text = "São José 😀\n" * 50_000
    path = tmp_path / "a.txt"
    path.write_bytes(text.encode(encoding))
    report = ReadReport()
    assert b"".join(read_chunks(as_file(path), report)).decode() == text
    assert report.rejected.counts == {}
    assert bool(report.repaired.counts) == (encoding != "utf-8-sig")


@pytest.mark.parametrize(("data", "reason"), [(b"", "empty"), (b"ab\0cd", "binary")])
def test_unusable_files_are_counted(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(data)
    report = ReadReport()
    assert list(read_chunks(as_file(path), report)) == []
    assert report.rejected.counts == {reason: 1}


def test_a_file_that_cannot_be_opened_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"text")
    file = as_file(path)
    if os.name == "posix" and os.geteuid() != 0:
        path.chmod(0)
    else:
        path.unlink()
    report = ReadReport()
    assert list(read_chunks(file, report)) == []
    assert report.rejected.counts == {"unreadable": 1}


def test_a_file_too_large_to_be_seen_as_one_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"x" * 5000)
    report = ReadReport()
    assert read_whole(as_file(path), report, 4000) is None
    assert report.rejected.counts == {"too large": 1}
    assert read_whole(as_file(path), report, 5000) == b"x" * 5000


def test_utf8_with_a_few_bad_bytes_keeps_its_text_and_names_the_line() -> None:
    data = "linha um, não é?\nlinha dois, ação!\n".encode() * 40
    cut = data.index(b"dois") + 2
    report = ReadReport()
    text = decode(data[:cut] + b"\xff" + data[cut:], "a.txt:10", report)
    assert text == data[:cut].decode() + "\ufffd" + data[cut:].decode()
    assert report.repaired.examples["undecodable bytes replaced"][0].startswith("a.txt:11")


def test_western_text_is_read_as_windows_1252() -> None:
    report = ReadReport()
    words = "A “ação” do café — não é só isso… são €5."
    assert decode(words.encode("cp1252"), "a.txt:1", report) == words
    assert report.repaired.counts == {"read as Windows-1252": 1}


@pytest.mark.parametrize("data", [bytes(range(256)) * 4, "Привет, как дела".encode("cp1251"), b"\xff\xfe\xfd\x00\x01"])
def test_what_is_no_text_is_rejected(data: bytes) -> None:
    report = ReadReport()
    assert decode(data, "a.txt:1", report) is None
    assert report.rejected.counts == {"undecodable": 1}
