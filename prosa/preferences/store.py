"""Items and judgments of a run, kept so that what was acknowledged is never lost: one SQLite file and its log.

A row is written to the log and to the database, both synced, before the call returns; rows are only added, an undo is
a row. Several processes may use one store. docs/preferences.md has the promises and their limits.
"""

import sqlite3
import uuid as uuids
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from prosa.errors import DataError
from prosa.preferences.judgments import Item, Judgment, RankedAnswers
from prosa.preferences.ledger import LedgerLog, Record, parse_line
from prosa.preferences.rows import read_row, write_row
from prosa.preferences.store_schema import damaged, database_errors, insert, open_database, select, write_copy
from prosa.rundir import fault_point, make_folder

_KEPT_BACKUPS = 7


class PreferenceStore:
    """The store in the file `path` (`preferences.sqlite`), made if it is not there, with `preferences.jsonl` beside it.

    Raises DataError if it is damaged (then `restore_store` helps), StorageError if nothing can be written there.
    """

    def __init__(self, path: Path, *, timeout_seconds: float = 10.0) -> None:
        self.path = path
        self._log = LedgerLog(log_path(path))
        # How far log and database are known to agree: bytes of the log, number and hash of the last record.
        self._agreed = (0, 0, "")
        self._database = open_database(path, timeout_seconds=timeout_seconds)
        try:
            with self._writing():
                self._catch_up()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    # Adding

    def add_items(self, items: Sequence[Item]) -> int:
        """Adds those that are not there yet, all or none; how many were new."""
        return self._add([("item", item.id, write_row(item)) for item in items])

    def add_judgment(self, judgment: Judgment) -> bool:
        """True when it is durable; False if a judgment with this UUID and content is there already.

        Raises DataError for an unknown item, a ranking of answers the item does not have, or a known UUID with other
        content; StorageError if it was not saved.
        """
        return self.add_judgments([judgment]) == 1

    def add_judgments(self, judgments: Sequence[Judgment]) -> int:
        """Adds those whose UUID is not there yet, all or none; how many were new. Raises as `add_judgment` does."""
        for judgment in judgments:
            self._check(judgment)
        return self._add([("judgment", judgment.uuid, write_row(judgment)) for judgment in judgments])

    def retract(self, uuid: str, *, annotator: str, retraction: str = "", created: str = "") -> bool:
        """Undoes an annotator's own judgment by a further row, with the UUID `retraction`; False if it was undone.

        Raises DataError if there is no such judgment of this annotator.
        """
        rows = self.all_rows()
        judgment = next((row for row in rows if row.uuid == uuid and not row.retracts), None)
        if judgment is None or judgment.annotator != annotator:
            raise DataError(f"{annotator} has no judgment {uuid}")
        if any(row.retracts == uuid for row in rows):
            return False
        undoing = Judgment(
            uuid=retraction or str(uuids.uuid4()),
            item_id=judgment.item_id,
            annotator=annotator,
            ranking=None,
            is_simulated=judgment.is_simulated,
            retracts=uuid,
            created=created,
        )
        return self.add_judgment(undoing)

    # Reading

    def items(self) -> list[Item]:
        """All items, in the order they came."""
        return [read_row(Item, record.body) for record in self.records("kind = 'item'")]

    def item(self, item_id: str) -> Item:
        """Raises DataError if there is no such item."""
        found = self.records("kind = 'item' AND key = ?", [item_id])
        if not found:
            raise DataError(f"there is no item {item_id} in `{self.path}`")
        return read_row(Item, found[0].body)

    def all_rows(self) -> list[Judgment]:
        """Every judgment ever taken, undone ones and the rows that undo them included, in the order they came."""
        return [read_row(Judgment, record.body) for record in self.records("kind = 'judgment'")]

    def judgments(self, *, annotator: str | None = None) -> list[Judgment]:
        """The judgments that hold: neither undone nor undoing, skips included, of one annotator or of all."""
        return [row for row in effective(self.all_rows()) if annotator in (None, row.annotator)]

    def ranked_answers(
        self, *, annotators: Collection[str] | None = None, has_simulated: bool = True, has_gold: bool = True
    ) -> list[RankedAnswers]:
        """The rankings that say something (two answers or more have a place), one for each judgment.

        `has_simulated`, `has_gold`: with the judgments of simulated annotators, and those of items that test people.
        """
        items = {item.id: item for item in self.items()}
        ranked = []
        for judgment in self.judgments():
            item, ranking = items.get(judgment.item_id), judgment.ranking
            if item is None or ranking is None or len(ranking.ranked) < 2:
                continue
            is_wanted = annotators is None or judgment.annotator in annotators
            if is_wanted and (has_simulated or not judgment.is_simulated) and (has_gold or item.gold is None):
                answers = tuple(answer.text for answer in item.answers)
                ranked.append(RankedAnswers(item.id, item.messages, answers, ranking, judgment.annotator))
        return ranked

    def records(self, where: str = "", values: Sequence[object] = ()) -> list[Record]:
        """The records, or those for which an SQL condition holds, in order. Raises DataError for a damaged one."""
        with database_errors(self.path):
            # Fetched at once: an open cursor would keep others from writing.
            records = list(select(self._database, where, values))
        for record in records:
            if not record.is_intact():
                raise damaged(self.path, f"record {record.number} is not what was written")
        return records

    # Keeping

    def back_up(self) -> Path | None:
        """A compact copy of the database in `preferences.backups/`, unless its newest has the same records.

        The seven newest are kept. They are named by their number of records; no clock decides which is newer.
        """
        folder = backup_folder(self.path)
        with database_errors(self.path):
            number, _ = self._last()
            target = folder / f"{number:09d}.sqlite"
            if number == 0 or target.exists():
                return None
            make_folder(folder)
            write_copy(self._database, target)
            for old in sorted(folder.glob("?????????.sqlite"))[:-_KEPT_BACKUPS]:
                old.unlink()
        return target

    def _check(self, judgment: Judgment) -> None:
        judgment.check(len(self.item(judgment.item_id).answers))

    def _last(self) -> tuple[int, str]:
        """Number and hash of the newest record in the database."""
        newest = self._database.execute("SELECT number, hash FROM records ORDER BY number DESC LIMIT 1").fetchone()
        return newest or (0, "")

    def _add(self, entries: Sequence[tuple[str, str, str]]) -> int:
        with self._writing():
            self._catch_up()
            n_bytes, number, previous = self._agreed
            new: list[Record] = []
            for kind, key, body in entries:
                found = next(select(self._database, "kind = ? AND key = ?", [kind, key]), None)
                if found is None:
                    record = Record.after(number, previous, kind, key, body)
                    insert(self._database, record)
                    number, previous = record.number, record.hash
                    new.append(record)
                elif kind == "judgment" and found.body != body:
                    raise DataError(f"judgment {key} is there already with other content: nothing was changed")
            if new:
                self._log.append(new)
                try:
                    self._commit()
                except BaseException:
                    self._withdraw(n_bytes, new)
                    raise
                self._agreed = (self._log.n_bytes(), number, previous)
        return len(new)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Holds the write lock; whatever was not committed is taken back."""
        with database_errors(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            try:
                yield
            finally:
                if self._database.in_transaction:
                    self._database.execute("ROLLBACK")

    def _commit(self) -> None:
        fault_point("commit", self.path)
        self._database.execute("COMMIT")

    def _withdraw(self, n_bytes: int, records: Sequence[Record]) -> None:
        """Takes lines out of the log whose rows the database refused, if nobody has added to it or read them since.

        Where that cannot be had they stay, and the next writer adds the rows: they are then saved though it was not
        said so, and giving them again changes nothing.
        """
        with suppress(sqlite3.Error, OSError):
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            self._database.execute("BEGIN IMMEDIATE")
            is_last = self._log.n_bytes() == n_bytes + sum(len(record.line()) for record in records)
            if is_last and self._last()[0] < records[0].number:
                self._log.cut(n_bytes)

    def _catch_up(self) -> None:
        """Brings log and database to the same last record, under the write lock.

        A process killed between the two leaves a row in the log alone: it is added here. A line torn by a kill is cut,
        nobody was told that it was saved. Lines that are missing, as when the log was deleted, are written again.
        """
        n_bytes, agreed, previous = self._agreed
        number, newest = self._last()
        if (self._log.n_bytes(), number) == (n_bytes, agreed):
            return
        if number and self._log_ends_with(number, newest):
            self._agreed = (self._log.n_bytes(), number, newest)
            return
        lines = [(end, parse_line(line)) for end, line in self._log.lines(n_bytes)]
        intact = [(end, record) for end, record in lines if record is not None]
        if any(record is None for _, record in lines[: len(intact)]):
            raise damaged(self._log.path, f"the line of record {agreed + len(intact)} or one before it")
        for end, record in intact:
            if (record.number, record.previous) != (agreed + 1, previous):
                raise damaged(self._log.path, f"after record {agreed} comes record {record.number} of another history")
            if record.number > number:
                insert(self._database, record)
            elif record.hash != self._hash_of(record.number):
                raise damaged(self.path, f"record {record.number} is not the one in the log")
            n_bytes, agreed, previous = end, record.number, record.hash
        self._log.cut(n_bytes)
        missing = list(select(self._database, "number > ?", [agreed]))
        if missing:
            self._log.append(missing)
            n_bytes, agreed, previous = self._log.n_bytes(), missing[-1].number, missing[-1].hash
        if agreed > number:
            self._commit()
            self._database.execute("BEGIN IMMEDIATE")
        self._agreed = (n_bytes, agreed, previous)

    def _log_ends_with(self, number: int, digest: str) -> bool:
        record = parse_line(self._log.last_line())
        return record is not None and (record.number, record.hash) == (number, digest)

    def _hash_of(self, number: int) -> str:
        return next((record.hash for record in select(self._database, "number = ?", [number])), "")


def effective(rows: Sequence[Judgment]) -> list[Judgment]:
    """Those that hold: neither undone nor undoing another."""
    undone = {row.retracts for row in rows}
    return [row for row in rows if not row.retracts and row.uuid not in undone]


def log_path(path: Path) -> Path:
    """The log beside a database."""
    return path.with_suffix(".jsonl")


def backup_folder(path: Path) -> Path:
    return path.with_suffix(".backups")
