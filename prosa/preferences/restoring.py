"""A preference store that was damaged: what is wrong with it, and the same store made anew from all that is left.

Left are the rows of the database that can still be read, the lines of the log, and the backups; each carries its own
hash, so whatever is taken is what was written.
"""

import secrets
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosa.errors import DataError
from prosa.preferences.judgments import Item, Judgment
from prosa.preferences.ledger import LedgerLog, Record, chain, parse_line
from prosa.preferences.rows import read_row
from prosa.preferences.store import backup_folder, log_path
from prosa.preferences.store_schema import (
    APPLICATION_ID,
    SCHEMA,
    VERSION,
    connect,
    database_errors,
    insert,
    make_tables,
    select,
)
from prosa.rundir import fault_point, staging_folder, storage_errors, sync_file, sync_folder

_MAX_PROBLEMS = 20


@dataclass(frozen=True, slots=True)
class Restored:
    """What a store was made of again; `lost`: the numbers of records of which nothing is left anywhere."""

    n_records: int
    n_from_log: int
    n_from_database: int
    n_from_backups: int
    lost: tuple[int, ...]
    set_aside: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "records": self.n_records,
            "from_log": self.n_from_log,
            "from_database": self.n_from_database,
            "from_backups": self.n_from_backups,
            "lost": list(self.lost),
            "set_aside": list(self.set_aside),
        }


def check_store(path: Path) -> list[str]:
    """What is wrong with the store, in words; nothing if every page, row and line is as it was written."""
    if not path.is_file():
        return [f"`{path}` is missing"]
    try:
        with closing(connect(path)) as database:
            problems = _page_problems(database) + _schema_problems(database)
            records = list(select(database))
    except sqlite3.Error as error:
        return [f"the database cannot be read: {error}"]
    problems += _chain_problems(records) + _log_problems(records, log_path(path)) + _content_problems(records)
    more = len(problems) - _MAX_PROBLEMS
    return [*problems[:_MAX_PROBLEMS], *([f"and {more} more"] if more > 0 else [])]


def restore_store(path: Path) -> Restored:
    """Makes database and log anew from what is left; the damaged files are kept as `*.damaged-NONCE`.

    No other process may be using the store. Killed at any point, it can be run again. Raises DataError if nothing is
    left, StorageError if the disk refuses; the files are then as they were.
    """
    with storage_errors(path):
        from_log = [record for _, line in LedgerLog(log_path(path)).lines() if (record := parse_line(line))]
        from_database = _salvage(path)
        backups = sorted(backup_folder(path).glob("?????????.sqlite"), reverse=True)
        from_backups = [record for backup in backups for record in _salvage(backup)]
    found: dict[tuple[str, str], Record] = {}
    n_known = []
    for source in (from_log, from_database, from_backups):
        for record in source:
            found.setdefault((record.kind, record.key), record)
        n_known.append(len(found))
    if not found:
        raise DataError(f"nothing is left of `{path}`: no row, no line of its log, no backup")
    kept = sorted(found.values(), key=lambda record: record.number)
    lost = sorted(set(range(1, kept[-1].number + 1)) - {record.number for record in kept})
    # Without a loss these are the same records with the same hashes.
    records = chain((record.kind, record.key, record.body) for record in kept)
    with storage_errors(path), database_errors(path):
        set_aside = _replace(path, records, has_new_numbers=records != kept)
    n_log, n_database, n_all = n_known
    return Restored(n_all, n_log, n_database - n_log, n_all - n_database, tuple(lost), tuple(set_aside))


def _replace(path: Path, records: list[Record], *, has_new_numbers: bool) -> list[str]:
    nonce = secrets.token_hex(4)
    log, backups = log_path(path), backup_folder(path)
    staging = staging_folder(path.with_name("restored"))
    try:
        with closing(connect(staging / path.name)) as database:
            database.execute("BEGIN IMMEDIATE")
            make_tables(database)
            for record in records:
                insert(database, record)
            database.execute("COMMIT")
        LedgerLog(staging / log.name).append(records)
        journal = path.with_name(f"{path.name}-journal")
        set_aside = []
        for old in (path, log, journal):
            if old.exists():
                copy = old.with_name(f"{old.name}.damaged-{nonce}")
                shutil.copyfile(old, copy)
                sync_file(copy)
                set_aside.append(copy.name)
        # A journal left by a killed writer would be applied to the new database.
        fault_point("remove", journal)
        journal.unlink(missing_ok=True)
        sync_folder(path.parent)
        for new in (log, path):
            fault_point("rename", staging / new.name, new)
            (staging / new.name).replace(new)
            sync_folder(path.parent)
        # Last, so that what they know is there until the new files have it.
        if has_new_numbers and backups.exists():
            fault_point("rename", backups)
            set_aside.append(backups.rename(backups.with_name(f"{backups.name}.damaged-{nonce}")).name)
            sync_folder(path.parent)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return set_aside


def _salvage(path: Path) -> list[Record]:
    """The intact records of a database that may be damaged, read from a copy of it."""
    if not path.is_file():
        return []
    staging = staging_folder(path.with_name("salvage"))
    found: dict[int, Record] = {}
    try:
        copy = staging / path.name
        for suffix in ("", "-journal"):
            if path.with_name(path.name + suffix).exists():
                shutil.copyfile(path.with_name(path.name + suffix), copy.with_name(copy.name + suffix))
        with suppress(sqlite3.Error), closing(connect(copy)) as database:
            # Text that is no UTF-8 any more must not end the reading.
            database.text_factory = lambda data: data.decode(errors="replace")
            for order in ("number", "number DESC", "kind, key"):
                for record in _readable(database, order):
                    found[record.number] = record
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return list(found.values())


def _readable(database: sqlite3.Connection, order: str) -> Iterator[Record]:
    """Intact records up to the first page that cannot be read."""
    query = f"SELECT number, kind, key, body, previous, hash FROM records ORDER BY {order}"
    with suppress(sqlite3.Error):
        for row in database.execute(query):
            if (record := Record(*row)).is_intact():
                yield record


def _page_problems(database: sqlite3.Connection) -> list[str]:
    found = [row[0] for row in database.execute(f"PRAGMA integrity_check({_MAX_PROBLEMS})")]
    return [] if found == ["ok"] else [f"integrity: {line}" for line in found]


def _schema_problems(database: sqlite3.Connection) -> list[str]:
    numbers = [database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")]
    statements = {row[0] for row in database.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
    if numbers != [APPLICATION_ID, VERSION]:
        return [f"application_id and user_version are {numbers}"]
    expected = {statement.strip() for statement in SCHEMA}
    return [] if statements == expected else ["the schema is not the one this version of Prosa makes"]


def _chain_problems(records: list[Record]) -> list[str]:
    problems, previous = [], ""
    for number, record in enumerate(records, start=1):
        if not record.is_intact():
            problems.append(f"record {record.number} is not what was written")
        elif (record.number, record.previous) != (number, previous):
            problems.append(f"record {record.number} does not follow the one before it")
            break
        previous = record.hash
    return problems


def _log_problems(records: list[Record], log: Path) -> list[str]:
    """The log has every record, and may be ahead: of a writer at work, or one that was killed."""
    lines = [line for _, line in LedgerLog(log).lines()]
    if len(lines) < len(records):
        return [f"{log.name} has {len(lines)} lines, the database {len(records)} records"]
    last = records[-1] if records else None
    for number, line in enumerate(lines, start=1):
        record = parse_line(line)
        if number <= len(records):
            if record != records[number - 1]:
                return [f"{log.name}:{number} is not the record of the database"]
        elif record is None and number == len(lines):
            continue
        elif record is None or record.previous != (last.hash if last else ""):
            return [f"{log.name}:{number} does not follow the line before it"]
        else:
            last = record
    return []


def _content_problems(records: list[Record]) -> list[str]:
    """Rows that are as they were written and yet say nothing that can be: the mark of a mistake of ours."""
    problems: list[str] = []
    n_answers: dict[str, int] = {}
    uuids: set[str] = set()
    for record in records:
        try:
            if record.kind == "item":
                n_answers[record.key] = len(read_row(Item, record.body).answers)
                continue
            judgment = read_row(Judgment, record.body)
            judgment.check(n_answers.get(judgment.item_id, 0))
            if judgment.retracts and judgment.retracts not in uuids:
                problems.append(f"record {record.number} undoes a judgment that is not there")
            uuids.add(judgment.uuid)
        except DataError as error:
            problems.append(f"record {record.number}: {error}")
    return problems
