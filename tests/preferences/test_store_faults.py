"""A3, A6: a disk that refuses, a process that dies, at every operation: saved once, or not at all and said so."""

import errno
import shutil
from pathlib import Path

import pytest

from prosa.errors import StorageError
from prosa.preferences import PreferenceStore, check_store, store_schema
from prosa.preferences.store import log_path
from tests.faults.injection import at, die, faults, operations, refuse
from tests.faults.processes import needs_fork, run
from tests.faults.report import RecordProperty
from tests.preferences.stores import contents, fill, make_judgment


def add_one(path: Path) -> None:
    with PreferenceStore(path) as store:
        store.add_judgment(make_judgment(store.items()[0], 99))


def back_up(path: Path) -> None:
    with PreferenceStore(path) as store:
        store.back_up()


def copy_of(original: Path, folder: Path) -> Path:
    return shutil.copytree(original.parent, folder) / original.name


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_every_operation_of_an_addition_is_refused(
    tmp_path: Path, number: int, record_property: RecordProperty
) -> None:
    original = tmp_path / "original" / "preferences.sqlite"
    fill(original, 3)
    before, log = contents(original), log_path(original).read_bytes()
    n = len(operations(lambda: add_one(copy_of(original, tmp_path / "counted"))))
    assert n == 3, "the log written and synced, the commit"
    for k in range(1, n + 1):
        path = copy_of(original, tmp_path / f"refused-{k}")
        with PreferenceStore(path) as store:
            judgment = make_judgment(store.items()[0], 99)
            with faults(at(k, refuse(number))), pytest.raises(StorageError) as caught:
                store.add_judgment(judgment)
            assert caught.value.exit_code == 75 and caught.value.hint
            assert log_path(path).read_bytes() == log
            assert contents(path) == before
            # The disk has room again: the same judgment is taken.
            assert store.add_judgment(judgment)
        assert check_store(path) == [] and len(contents(path)) == len(before) + 1
    record_property("A3", n)


def add_with_a_full_disk(path: Path, limit_bytes: int) -> None:
    import resource

    with PreferenceStore(path) as store:
        items, n_rows = store.items(), len(store.records())
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, resource.RLIM_INFINITY))
        for number in range(100, 200):
            try:
                store.add_judgment(make_judgment(items[0], number))
            except StorageError:
                break
        else:
            raise AssertionError("nothing was refused")
        assert len(store.records()) == n_rows + number - 100
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        assert store.add_judgment(make_judgment(items[0], number))
    assert check_store(path) == []


@needs_fork
def test_files_may_not_grow(tmp_path: Path, record_property: RecordProperty) -> None:
    original = tmp_path / "original" / "preferences.sqlite"
    fill(original, 3)
    sizes = [original.stat().st_size, log_path(original).stat().st_size]
    # In the log, in the database, in its journal.
    for number, limit in enumerate([0, 100, sizes[1], sizes[1] + 700, sizes[0], sizes[0] + 1]):
        assert run(add_with_a_full_disk, copy_of(original, tmp_path / str(number)), limit) == 0
    record_property("A3", 6)


def add_and_die(path: Path, k: int) -> None:
    with faults(at(k, die)):
        add_one(path)


def back_up_and_die(path: Path, k: int) -> None:
    with faults(at(k, die)):
        back_up(path)


@needs_fork
def test_killed_at_every_operation_of_an_addition(tmp_path: Path, record_property: RecordProperty) -> None:
    original = tmp_path / "original" / "preferences.sqlite"
    fill(original, 3)
    before = contents(original)
    for k in range(1, 4):
        path = copy_of(original, tmp_path / str(k))
        assert run(add_and_die, path, k) < 0
        assert check_store(path) == []
        # Not acknowledged: there at most once; it is when the log had it.
        assert len(contents(path)) == len(before) + (k > 1)
        add_one(path)
        assert len(contents(path)) == len(before) + 1 and check_store(path) == []
    record_property("A1", 3)


@needs_fork
def test_a_backup_is_whole_or_not_there(tmp_path: Path) -> None:
    original = tmp_path / "original" / "preferences.sqlite"
    fill(original, 3)
    n = len(operations(lambda: back_up(copy_of(original, tmp_path / "counted"))))
    for k in range(1, n + 1):
        path = copy_of(original, tmp_path / str(k))
        assert run(back_up_and_die, path, k) < 0
        for found in path.parent.glob("preferences.backups/*.sqlite"):
            assert not found.name.startswith(".tmp") and contents(found) == contents(path)
        back_up(path)
        assert len(list(path.parent.glob("preferences.backups/0*.sqlite"))) == 1


# A6: the next version's migration, as it might be.
_NEXT = ("CREATE TABLE extra (a TEXT)", "CREATE INDEX by_kind ON records (kind)", "INSERT INTO extra VALUES ('x')")


def migrate(path: Path) -> None:
    store_schema.VERSION, store_schema.MIGRATIONS = 2, {1: _NEXT}
    with PreferenceStore(path) as store:
        assert store._database.execute("SELECT a FROM extra").fetchall() == [("x",)]


def migrate_and_die(path: Path, k: int) -> None:
    with faults(at(k, die)):
        migrate(path)


@needs_fork
def test_killed_at_every_operation_of_a_migration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: RecordProperty
) -> None:
    original = tmp_path / "original" / "preferences.sqlite"
    fill(original, 3)
    before = contents(original)
    k = 0
    while True:
        k += 1
        path = copy_of(original, tmp_path / str(k))
        if run(migrate_and_die, path, k) == 0:
            break
        # The old schema, as the old version sees it; nothing in between.
        assert check_store(path) == [] and contents(path) == before
        with monkeypatch.context() as later:
            later.setattr(store_schema, "VERSION", 2)
            later.setattr(store_schema, "MIGRATIONS", {1: _NEXT})
            migrate(path)
    assert k > 6
    # The copy made before is a whole store of the old version.
    assert contents(path.with_name("preferences-version-1.sqlite")) == before
    record_property("A6", k - 1)


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "preferences.sqlite"
    fill(path, 3)
    before = contents(path)
    with monkeypatch.context() as later:
        later.setattr(store_schema, "VERSION", 2)
        later.setattr(store_schema, "MIGRATIONS", {1: (*_NEXT, "this is no SQL")})
        with pytest.raises(StorageError, match="syntax error"):
            PreferenceStore(path)
    assert contents(path) == before and check_store(path) == []
