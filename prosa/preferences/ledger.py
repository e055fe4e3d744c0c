"""The rows of a preference store as a chain: each record holds the hash of the one before, so none can vanish unseen.

A record is kept twice, as a row of the database and as one line of a log beside it; either rebuilds the other.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prosa.durable import canonical_json, fault_point, storage_errors, sync_file, sync_folder

Kind = Literal["item", "judgment"]
_TAIL_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class Record:
    """number: from 1, without gaps; key: the item's id or the judgment's UUID; body: canonical JSON."""

    number: int
    kind: str
    key: str
    body: str
    previous: str
    """Hash of the record before, "" for the first."""
    hash: str

    @classmethod
    def after(cls, number: int, previous: str, kind: str, key: str, body: str) -> "Record":
        """The record that follows the one with this number and hash."""
        return cls(number + 1, kind, key, body, previous, _hash(number + 1, kind, key, body, previous))

    def is_intact(self) -> bool:
        # In a damaged database anything may stand where text was.
        is_text = all(isinstance(part, str) for part in (self.kind, self.key, self.body, self.previous))
        return is_text and self.hash == _hash(self.number, self.kind, self.key, self.body, self.previous)

    def line(self) -> bytes:
        """The one spelling in the log."""
        head = {"number": self.number, "kind": self.kind, "key": self.key}
        fields = {**head, "previous": self.previous, "hash": self.hash}
        return f'{json.dumps(fields, separators=(",", ":"))[:-1]},"body":{self.body}}}\n'.encode()


def parse_line(line: bytes) -> Record | None:
    """The record of a line, None unless every byte is as it was written."""
    try:
        value = json.loads(line)
        body = canonical_json(value["body"]).decode()
        record = Record(value["number"], value["kind"], value["key"], body, value["previous"], value["hash"])
        return record if record.is_intact() and record.line() == line else None
    except (ValueError, KeyError, TypeError, RecursionError):
        return None


def chain(entries: Iterable[tuple[str, str, str]]) -> list[Record]:
    """Records from 1 on, of (kind, key, body)."""
    records: list[Record] = []
    previous = ""
    for number, (kind, key, body) in enumerate(entries):
        records.append(Record.after(number, previous, kind, key, body))
        previous = records[-1].hash
    return records


class LedgerLog:
    """A file of one record a line, to which records are only ever added; who calls holds the database's write lock."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def n_bytes(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def append(self, records: Iterable[Record]) -> None:
        """Adds records durably; StorageError if the disk refuses, the file then ends where it did."""
        size = self.n_bytes()
        with storage_errors(self.path):
            try:
                fault_point("write", self.path)
                with self.path.open("ab") as file:
                    file.write(b"".join(record.line() for record in records))
                sync_file(self.path)
                if size == 0:
                    sync_folder(self.path.parent)
            except OSError:
                with contextlib.suppress(OSError):
                    self.cut(size)
                raise

    def cut(self, size: int) -> None:
        """Drops what stands after `size` bytes."""
        if self.n_bytes() > size:
            os.truncate(self.path, size)
            sync_file(self.path)

    def lines(self, start: int = 0) -> Iterator[tuple[int, bytes]]:
        """(byte at which it ends, line) from byte `start` on; the last line may be torn."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            end = file.seek(start)
            for line in file:
                end += len(line)
                yield end, line

    def last_line(self) -> bytes:
        """The line at the very end, b"" for an empty file."""
        size = self.n_bytes()
        if size == 0:
            return b""
        with self.path.open("rb") as file:
            span = _TAIL_BYTES
            while True:
                start = max(0, size - span)
                file.seek(start)
                tail = file.read(size - start)
                # The line end at the very end is the line's own.
                newline = tail.rfind(b"\n", 0, len(tail) - 1)
                if newline >= 0 or start == 0:
                    return tail[newline + 1 :]
                span *= 2


def _hash(number: int, kind: str, key: str, body: str, previous: str) -> str:
    return hashlib.sha256("\n".join([str(number), kind, key, previous, body]).encode()).hexdigest()
