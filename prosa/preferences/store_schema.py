"""The SQLite file of a preference store: opened, made, brought to the present version, and what its errors mean.

One table of records that only grows (triggers refuse anything else), and two views of it for people.
"""

import contextlib
import secrets
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from prosa.errors import ConfigError, DataError, StorageError
from prosa.preferences.ledger import Record
from prosa.rundir import fault_point, make_folder, storage_errors, sync_file, sync_folder

APPLICATION_ID = 0x50525345
VERSION = 1

_TABLE = """
CREATE TABLE records (
  number INTEGER PRIMARY KEY,
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  body TEXT NOT NULL,
  previous TEXT NOT NULL,
  hash TEXT NOT NULL,
  UNIQUE (kind, key)
)"""
_ITEMS = """
CREATE VIEW items AS SELECT number, key AS id, json_extract(body, '$.source') AS source,
  json_extract(body, '$.language') AS language, json_extract(body, '$.messages') AS messages,
  json_extract(body, '$.answers') AS answers
FROM records WHERE kind = 'item' ORDER BY number"""
_JUDGMENTS = """
CREATE VIEW judgments AS SELECT number, key AS uuid, json_extract(body, '$.item_id') AS item_id,
  json_extract(body, '$.annotator') AS annotator, json_extract(body, '$.ranking.groups') AS ranking,
  json_extract(body, '$.is_all_bad') AS is_all_bad, json_extract(body, '$.seconds') AS seconds,
  json_extract(body, '$.comment') AS comment, json_extract(body, '$.is_simulated') AS is_simulated,
  json_extract(body, '$.retracts') AS retracts, json_extract(body, '$.created') AS created
FROM records WHERE kind = 'judgment' ORDER BY number"""
SCHEMA = (
    _TABLE,
    *(
        f"""
CREATE TRIGGER no_{event.lower()} BEFORE {event} ON records
BEGIN SELECT RAISE(ABORT, 'records are only added'); END"""
        for event in ("UPDATE", "DELETE")
    ),
    # An INSERT OR REPLACE deletes without a trigger.
    """
CREATE TRIGGER only_next BEFORE INSERT ON records
WHEN NEW.number != (SELECT coalesce(max(number), 0) + 1 FROM records)
  OR EXISTS (SELECT 1 FROM records WHERE kind = NEW.kind AND key = NEW.key)
BEGIN SELECT RAISE(ABORT, 'records are only added'); END""",
    _ITEMS,
    _JUDGMENTS,
)
# The statements that lead from each older version to the next; a change of the schema adds an entry, never edits one.
MIGRATIONS: dict[int, Sequence[str]] = {}

# EXTRA also syncs the folder after the journal is removed, so that a commit is not undone by a power cut.
_PRAGMAS = ("journal_mode = DELETE", "synchronous = EXTRA", "fullfsync = 1", "trusted_schema = 0")
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextlib.contextmanager
def database_errors(path: Path) -> Iterator[None]:
    """Turns what SQLite says into DataError for damage and StorageError where nothing could be written."""
    try:
        with storage_errors(path):
            yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _DAMAGED:
            raise damaged(path, str(error)) from error
        if code == sqlite3.SQLITE_BUSY:
            raise StorageError(f"`{path}` is in use by another program: nothing was saved", hint="try again") from error
        hint = "make room, or make the folder writable, then try again"
        raise StorageError(f"nothing was saved in `{path}`: {error}", hint=hint) from error


def damaged(path: Path, what: str) -> DataError:
    return DataError(
        f"`{path}` is damaged: {what}", hint="`prosa preferences restore RUN` rebuilds it from its log and backups"
    )


def open_database(path: Path, *, timeout_seconds: float) -> sqlite3.Connection:
    """The database, made if it is not there and brought to the present version, every commit durable.

    Raises DataError for a damaged or foreign file, ConfigError for one of a newer Prosa, StorageError.
    """
    make_folder(path.parent)
    with database_errors(path):
        database = connect(path, timeout_seconds=timeout_seconds)
        try:
            _bring_up_to_date(database, path)
        except BaseException:
            database.close()
            raise
    return database


def connect(path: Path, *, timeout_seconds: float = 10.0) -> sqlite3.Connection:
    """A connection without transactions of its own."""
    database = sqlite3.connect(path, timeout=timeout_seconds, isolation_level=None)
    for pragma in _PRAGMAS:
        database.execute(f"PRAGMA {pragma}").fetchall()
    return database


def insert(database: sqlite3.Connection, record: Record) -> None:
    database.execute(
        "INSERT INTO records (number, kind, key, body, previous, hash) VALUES (?, ?, ?, ?, ?, ?)",
        (record.number, record.kind, record.key, record.body, record.previous, record.hash),
    )


def select(database: sqlite3.Connection, where: str = "", values: Sequence[object] = ()) -> Iterator[Record]:
    """The records for which the condition holds, in order."""
    query = f"SELECT number, kind, key, body, previous, hash FROM records {where and 'WHERE ' + where} ORDER BY number"
    return (Record(*row) for row in database.execute(query, values))


def write_copy(database: sqlite3.Connection, path: Path) -> None:
    """A compact copy of the database, under its name only when it is whole and durable."""
    temporary = path.with_name(f".tmp-{path.name}-{secrets.token_hex(4)}")
    try:
        temporary.unlink(missing_ok=True)
        fault_point("write", temporary)
        database.execute("VACUUM INTO ?", (str(temporary),))
        sync_file(temporary)
        fault_point("rename", temporary, path)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def make_tables(database: sqlite3.Connection) -> None:
    """The present schema in an empty database; the caller has begun a transaction."""
    for statement in SCHEMA:
        database.execute(statement)
    database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    database.execute(f"PRAGMA user_version = {VERSION}")


def _bring_up_to_date(database: sqlite3.Connection, path: Path) -> None:
    version = _version(database, path)
    if version == VERSION:
        return
    if version:
        # A migration that turns out wrong can be taken back by hand.
        write_copy(database, path.with_name(f"{path.stem}-version-{version}{path.suffix}"))
    fault_point("migrate", path)
    database.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        version = _version(database, path)
        if version == 0:
            make_tables(database)
        for step in range(version, VERSION) if version else ():
            for statement in MIGRATIONS[step]:
                fault_point("migrate", path)
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {step + 1}")
        fault_point("commit", path)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _version(database: sqlite3.Connection, path: Path) -> int:
    """0 for an empty file."""
    [(application,)] = database.execute("PRAGMA application_id").fetchall()
    [(version,)] = database.execute("PRAGMA user_version").fetchall()
    [(n_tables,)] = database.execute("SELECT count(*) FROM sqlite_master").fetchall()
    if application != APPLICATION_ID and (application or version or n_tables):
        raise DataError(f"`{path}` is an SQLite file, but no store of preferences")
    if version < 0 or (version == 0) != (n_tables == 0):
        raise damaged(path, f"version {version} with {n_tables} tables")
    if version > VERSION:
        raise ConfigError(f"`{path}` has version {version}, this Prosa reads {VERSION}", hint="upgrade Prosa")
    return int(version)
