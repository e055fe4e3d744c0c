"""A5: whatever is flipped in database or log is found, and the store is made again without loss."""

import random
import shutil
from pathlib import Path

import pytest

from prosa.errors import DataError, StorageError
from prosa.preferences import PreferenceStore, check_store, restore_store
from prosa.preferences.store import backup_folder, log_path
from tests.faults.injection import at, faults, operations, refuse
from tests.faults.report import RecordProperty
from tests.preferences.stores import contents, fill, make_judgment


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "original" / "preferences.sqlite"
    # Bodies of more than a page, and pages inside the tree.
    fill(path, 30, words=60)
    fill(path, 4, words=900, base=500)
    return path


def flip(file: Path, chance: random.Random) -> int:
    data = bytearray(file.read_bytes())
    place = chance.randrange(len(data))
    data[place] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    return place


def copy_of(original: Path, folder: Path) -> Path:
    return shutil.copytree(original.parent, folder) / original.name


def check_flips(original: Path, folder: Path, n: int, seed: int) -> tuple[int, int]:
    """How many flips in database and log were found; those that were not must be harmless."""
    before, chance = contents(original), random.Random(seed)
    found = [0, 0]
    for number in range(n):
        path = copy_of(original, folder / f"{number}")
        is_log = number % 2
        place = flip(log_path(path) if is_log else path, chance)
        if check_store(path):
            found[is_log] += 1
            restored = restore_store(path)
            assert restored.lost == () and restored.n_records == len(before)
            assert check_store(path) == [], place
        assert contents(path) == before, place
        shutil.rmtree(path.parent)
    return found[0], found[1]


def test_flips(path: Path, tmp_path: Path, record_property: RecordProperty) -> None:
    in_database, in_log = check_flips(path, tmp_path / "flipped", 80, seed=5)
    assert in_database > 20 and in_log == 40
    record_property("A5", 80)


@pytest.mark.torture
@pytest.mark.timeout(3000)
def test_many_flips(path: Path, tmp_path: Path, record_property: RecordProperty) -> None:
    _, in_log = check_flips(path, tmp_path / "flipped", 2000, seed=6)
    assert in_log == 1000
    record_property("A5", 2000)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.5, 0.9, 0.999])
def test_a_database_that_was_cut(path: Path, share: float) -> None:
    before = contents(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert check_store(path)
    restore_store(path)
    assert check_store(path) == [] and contents(path) == before


def test_pages_of_zeros(path: Path, tmp_path: Path) -> None:
    before, data = contents(path), path.read_bytes()
    for page in range(0, len(data) // 4096, 5):
        copy = copy_of(path, tmp_path / str(page))
        copy.write_bytes(data[: page * 4096] + bytes(4096) + data[(page + 1) * 4096 :])
        if check_store(copy):
            restore_store(copy)
        assert contents(copy) == before
        assert check_store(copy) == []


def test_a_page_of_the_database_and_a_line_of_the_log(path: Path) -> None:
    """Both are damaged: the backup fills the gap."""
    before = contents(path)
    with PreferenceStore(path) as store:
        store.back_up()
    damage_both(path, line=3)
    restored = restore_store(path)
    assert restored.lost == () and restored.n_from_backups > 0
    assert contents(path) == before and check_store(path) == []


def test_what_is_lost_is_said(path: Path) -> None:
    """No backup: what neither has is named, all else is there, and the store can be used."""
    before = contents(path)
    damage_both(path, line=3)
    restored = restore_store(path)
    assert 3 in restored.lost and restored.n_records == len(before) - len(restored.lost)
    kept = [entry for number, entry in enumerate(before, start=1) if number not in restored.lost]
    assert contents(path) == kept
    assert not [problem for problem in check_store(path) if "damaged" in problem or "follow" in problem]
    with PreferenceStore(path) as store:
        assert store.add_judgment(make_judgment(store.items()[0], 99))
        assert store.ranked_answers()
    assert {name.split(".damaged")[0] for name in restored.set_aside} == {"preferences.sqlite", "preferences.jsonl"}


def test_old_backups_do_not_come_back_after_a_loss(path: Path) -> None:
    with PreferenceStore(path) as store:
        store.back_up()
    for backup in backup_folder(path).iterdir():
        backup.write_bytes(b"x" * 5000)
    damage_both(path, line=3)
    assert "preferences.backups" in {name.split(".damaged")[0] for name in restore_store(path).set_aside}
    assert not backup_folder(path).exists()


def test_nothing_left(tmp_path: Path) -> None:
    path = tmp_path / "preferences.sqlite"
    assert check_store(path) == [f"`{path}` is missing"]
    with pytest.raises(DataError, match="nothing is left"):
        restore_store(path)
    path.write_bytes(b"x" * 5000)
    assert "cannot be read" in check_store(path)[0]
    with pytest.raises(DataError, match="nothing is left"):
        restore_store(path)
    assert path.read_bytes() == b"x" * 5000


def test_a_damaged_store_says_how_to_mend_it(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"Pergunta 7")] ^= 1
    path.write_bytes(data)
    with PreferenceStore(path) as store, pytest.raises(DataError, match="not what was written") as caught:
        store.items()
    assert "prosa preferences restore" in caught.value.hint


def test_restoring_is_refused_at_every_operation(path: Path, tmp_path: Path) -> None:
    before = contents(path)
    path.write_bytes(path.read_bytes()[:9000])
    n = len(operations(lambda: restore_store(copy_of(path, tmp_path / "counted"))))
    for k in range(1, n + 1):
        copy = copy_of(path, tmp_path / str(k))
        with faults(at(k, refuse(28))), pytest.raises(StorageError):
            restore_store(copy)
        # Given again, it works.
        restore_store(copy)
        assert contents(copy) == before and check_store(copy) == []


def damage_both(path: Path, line: int) -> None:
    """Cuts all of the database but its first pages, and changes one line of the log."""
    path.write_bytes(path.read_bytes()[:4096])
    lines = log_path(path).read_bytes().splitlines(keepends=True)
    lines[line - 1] = lines[line - 1].replace(b"Pergunta", b"Perfunta")
    log_path(path).write_bytes(b"".join(lines))
