"""Files of test items, gzipped or not, come in; their lines or JSON records with their places go out."""

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prosa.errors import DataError


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(`path:line`, text) for each line of a text file, gzipped or not, that is not empty.

    A set of which a part cannot be read is not that set: DataError for a file that is damaged or has no such line.
    """
    is_empty = True
    try:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    is_empty = False
                    yield f"{path}:{number}", line
    except (OSError, EOFError, UnicodeDecodeError, zlib.error) as error:
        raise DataError(f"`{path}` cannot be read: {error}") from None
    if is_empty:
        raise DataError(f"`{path}` has no items")


def read_records(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """(`path:line`, record) for each line of a .jsonl or .jsonl.gz file; DataError naming the line that is none."""
    for place, line in read_lines(path):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(f"`{place}` is no JSON: {error}") from None
        if not isinstance(record, dict):
            raise DataError(f"`{place}` is no JSON object")
        yield place, record


def text_of(record: Mapping[str, Any], key: str, place: str) -> str:
    """The text under `key`; DataError if there is none."""
    value = record.get(key)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"`{place}`: `{key}` is {value!r}, not text")
    return value


def texts_of(record: Mapping[str, Any], key: str, place: str) -> tuple[str, ...]:
    """The two or more texts under `key`; DataError if they are something else."""
    values = record.get(key)
    if not isinstance(values, list) or len(values) < 2:
        raise DataError(f"`{place}`: `{key}` is not a list of two or more texts")
    return tuple(text_of({key: value}, key, place) for value in values)
