"""A file far larger than memory allows is read in blocks: the peak does not grow with the file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# One process, so that its own peak is the whole of it.
MEASURE = """
import sys
from pathlib import Path
from benchmarks.measure import peak_bytes
from prosa.corpus import CorpusSettings, ReadReport, SourceSettings, build_corpus, read_source
source = SourceSettings(path=sys.argv[1], language="en")
if sys.argv[2] == "read":
    n_bytes = sum(len(document.text) for document in read_source(source, ReadReport()))
else:
    corpus = build_corpus(CorpusSettings(sources=(source,)), Path(sys.argv[2]), workers=1)
    n_bytes = corpus.n_bytes("train") + corpus.n_bytes("validation")
print(n_bytes, peak_bytes() // 1024)
"""


def write_large(path: Path, n_bytes: int) -> int:
    """Text without repeats, so that nothing leaves as a duplicate; its size."""
    number = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        while file.tell() < n_bytes:
            numbers = range(number, number + 2000)
            file.write(
                "".join(f"Line {n} of a long book, in which {n * 7919 % 10007} things happen.\n\n" for n in numbers)
            )
            number += 2000
    return path.stat().st_size


def write_large_jsonl(path: Path, n_bytes: int) -> int:
    number = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        while file.tell() < n_bytes:
            numbers = range(number, number + 2000)
            file.write(
                "".join(f'{{"text": "Document {n} says {n * 7919 % 10007} {"words " * 160}."}}\n' for n in numbers)
            )
            number += 2000
    return path.stat().st_size


def measure(path: Path, what: str) -> tuple[int, int]:
    """(bytes of text, peak in MB)."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(path), what], capture_output=True, text=True, check=True, env=environment
    )
    n_bytes, peak = map(int, done.stdout.split())
    return n_bytes, peak // 1024


@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("write", [write_large, write_large_jsonl])
def test_reading_does_not_grow_with_the_file(tmp_path: Path, write: object) -> None:
    assert callable(write)
    peaks = []
    for size in (20_000_000, 120_000_000):
        path = tmp_path / ("a.txt" if write is write_large else "a.jsonl")
        n_written = write(path, size)
        n_bytes, peak = measure(path, "read")
        assert n_bytes > 0.9 * n_written
        peaks.append(peak)
        path.unlink()
    assert peaks[1] - peaks[0] < 40, peaks
    assert peaks[1] < 300


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform == "win32", reason="needs the resource module")
@pytest.mark.parametrize("write", [write_large, write_large_jsonl])
def test_two_gigabytes_become_a_corpus_under_600_mb(tmp_path: Path, write: object) -> None:
    assert callable(write)
    path = tmp_path / ("a.txt" if write is write_large else "a.jsonl")
    n_written = write(path, 2_000_000_000)
    n_bytes, peak = measure(path, str(tmp_path / "corpus"))
    assert n_bytes > 0.9 * n_written
    assert peak < 600, peak
