"""The store: rows are only added, a UUID counts once, several processes may write."""

import sqlite3
import threading
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from prosa.errors import ConfigError, DataError, StorageError
from prosa.preferences import Judgment, PreferenceStore, RankedAnswers, Ranking, check_store, store_schema
from prosa.preferences.store import log_path
from tests.faults.report import RecordProperty
from tests.preferences.conftest import PRAGMAS
from tests.preferences.rankings import make_item
from tests.preferences.stores import contents, fill, make_items, make_judgment


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "preferences.sqlite"


def test_what_is_added_is_there(path: Path) -> None:
    items = make_items(2)
    with PreferenceStore(path) as store:
        assert store.add_items(items) == 2
        assert store.add_items([items[1], *make_items(3)]) == 3
        judgment = make_judgment(items[0], 1)
        assert store.add_judgment(judgment)
    with PreferenceStore(path) as store:
        assert store.items()[:2] == items and store.item(items[1].id) == items[1]
        assert store.judgments() == store.all_rows() == [judgment]
        texts = tuple(answer.text for answer in items[0].answers)
        assert judgment.ranking is not None
        expected = RankedAnswers(items[0].id, items[0].messages, texts, judgment.ranking, "ana")
        assert store.ranked_answers() == [expected]
    assert check_store(path) == []


def test_a_uuid_counts_once(path: Path) -> None:
    [item] = make_items(1)
    with PreferenceStore(path) as store:
        store.add_items([item])
        assert [store.add_judgment(make_judgment(item, 1)) for _ in range(3)] == [True, False, False]
        with pytest.raises(DataError, match="other content"):
            store.add_judgment(make_judgment(item, 1, best=1))
        with pytest.raises(DataError, match="other content"):
            store.add_judgments([make_judgment(item, 2), make_judgment(item, 1, best=1)])
        assert store.all_rows() == [make_judgment(item, 1)]


def test_what_does_not_fit_is_refused(path: Path) -> None:
    [item] = make_items(1)
    with PreferenceStore(path) as store:
        with pytest.raises(DataError, match="no item"):
            store.add_judgment(make_judgment(item, 1))
        store.add_items([item])
        four = Ranking(((3,), (0,)))
        with pytest.raises(DataError, match="there are 3"):
            store.add_judgment(Judgment(str(uuid4()), item.id, "ana", four))
        with pytest.raises(DataError, match="once"):
            store.add_judgment(Judgment(str(uuid4()), item.id, "ana", None, order_shown=(0, 1, 1)))
        assert store.all_rows() == []


def test_an_undo_is_a_row(path: Path) -> None:
    items = make_items(2)
    first, second = (make_judgment(item, number) for number, item in enumerate(items))
    with PreferenceStore(path) as store:
        store.add_items(items)
        store.add_judgments([first, second])
        undoing = str(uuid4())
        assert store.retract(first.uuid, annotator="ana", retraction=undoing)
        assert not store.retract(first.uuid, annotator="ana", retraction=undoing)
        assert not store.retract(first.uuid, annotator="ana")
        assert store.judgments() == [second]
        assert [row.uuid for row in store.all_rows()] == [first.uuid, second.uuid, undoing]
        for uuid, annotator in ((second.uuid, "bia"), (undoing, "ana"), (str(uuid4()), "ana")):
            with pytest.raises(DataError, match="has no judgment"):
                store.retract(uuid, annotator=annotator)


def test_which_rankings_are_taken(path: Path) -> None:
    plain, gold = make_item("a"), make_item("b", gold=Ranking(((0,), (1,))))
    full = Ranking(((1,), (0,), (2, 3)))
    rows = [
        Judgment(str(uuid4()), plain.id, "ana", full),
        Judgment(str(uuid4()), plain.id, "bia", full),
        Judgment(str(uuid4()), plain.id, "skips", None),
        Judgment(str(uuid4()), plain.id, "all bad", Ranking(()), is_all_bad=True),
        Judgment(str(uuid4()), plain.id, "one place", Ranking(((1,),))),
        Judgment(str(uuid4()), plain.id, "robô", full, is_simulated=True),
        Judgment(str(uuid4()), gold.id, "ana", full),
    ]
    with PreferenceStore(path) as store:
        store.add_items([plain, gold])
        store.add_judgments(rows)

        def names(**chosen: object) -> list[str]:
            return [one.annotator for one in store.ranked_answers(**chosen)]  # type: ignore[arg-type]

        assert names() == ["ana", "bia", "robô", "ana"]
        assert names(has_simulated=False) == ["ana", "bia", "ana"]
        assert names(has_gold=False) == ["ana", "bia", "robô"]
        assert names(annotators={"bia"}) == ["bia"]
        assert [row.annotator for row in store.judgments(annotator="bia")] == ["bia"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET body = '{}'",
        "DELETE FROM records WHERE number = 1",
        "INSERT OR REPLACE INTO records SELECT number, kind, key, '{}', previous, hash FROM records WHERE number = 2",
        "INSERT OR REPLACE INTO records SELECT 9, kind, key, '{}', previous, hash FROM records WHERE number = 2",
        "INSERT INTO records VALUES (99, 'item', 'x', '{}', '', '')",
    ],
)
def test_other_programs_cannot_change_a_row(path: Path, statement: str) -> None:
    fill(path, 3)
    with sqlite3.connect(path) as database, pytest.raises(sqlite3.IntegrityError, match="only added"):
        database.execute(statement)
    database.close()


def test_people_can_read_the_views(path: Path) -> None:
    items = fill(path, 2)
    with sqlite3.connect(path) as database:
        assert database.execute("SELECT id FROM items").fetchall() == [(item.id,) for item in items]
        rows = database.execute("SELECT annotator, ranking, seconds FROM judgments").fetchall()
    database.close()
    assert rows[1] == ("ana", "[[1],[0],[2]]", 1.5)


def test_every_commit_is_synced(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_schema, "_PRAGMAS", PRAGMAS)
    with PreferenceStore(path) as store:
        # 3 is EXTRA.
        assert store._database.execute("PRAGMA synchronous").fetchone() == (3,)
        assert store._database.execute("PRAGMA journal_mode").fetchone() == ("delete",)


def test_two_stores_on_one_file(path: Path) -> None:
    items = make_items(6)
    with PreferenceStore(path) as one, PreferenceStore(path) as other:
        for number, item in enumerate(items):
            store = (one, other)[number % 2]
            assert store.add_items([item]) == 1 and store.add_judgment(make_judgment(item, number))
            assert not (other, one)[number % 2].add_judgment(make_judgment(item, number))
        assert one.all_rows() == other.all_rows() and len(one.all_rows()) == 6
    assert check_store(path) == []


def test_double_clicks_and_two_annotators(path: Path, record_property: RecordProperty) -> None:
    """A4: two tabs of each of two annotators send the same judgments; each is there once, both opinions are."""
    n, failures = 250, list[BaseException]()
    items = make_items(10)
    with PreferenceStore(path) as store:
        store.add_items(items)

    def click(annotator: str, base: int) -> None:
        try:
            with PreferenceStore(path, timeout_seconds=60) as store:
                for number in range(n):
                    store.add_judgment(make_judgment(items[number % 10], base + number, annotator=annotator))
        except BaseException as error:
            failures.append(error)

    tabs = [threading.Thread(target=click, args=tab) for tab in (("ana", 0), ("ana", 0), ("bia", n), ("bia", n))]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert failures == []
    with PreferenceStore(path) as store:
        assert sorted(UUID(row.uuid).int for row in store.all_rows()) == list(range(2 * n))
    assert check_store(path) == []
    record_property("A4", 4 * n)


def test_a_locked_database_is_said_and_nothing_is_written(path: Path, record_property: RecordProperty) -> None:
    items = fill(path, 3)
    before, log = contents(path), log_path(path).read_bytes()
    with PreferenceStore(path, timeout_seconds=0.01) as store:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="in use"):
            store.add_judgment(make_judgment(items[0], 99))
        other.execute("ROLLBACK")
        # A reader keeps the commit waiting, after the log was written.
        other.execute("BEGIN")
        other.execute("SELECT count(*) FROM records").fetchall()
        with pytest.raises(StorageError, match="in use"):
            store.add_judgment(make_judgment(items[0], 99))
        other.close()
        assert log_path(path).read_bytes() == log
        assert contents(path) == before
        assert store.add_judgment(make_judgment(items[0], 99))
    assert check_store(path) == []
    record_property("A3", 2)


def test_a_log_that_is_gone_is_written_again(path: Path) -> None:
    fill(path, 3)
    log = log_path(path).read_bytes()
    log_path(path).unlink()
    assert check_store(path) == ["preferences.jsonl has 0 lines, the database 7 records"]
    contents(path)
    assert log_path(path).read_bytes() == log
    log_path(path).write_bytes(b"".join(log.splitlines(keepends=True)[:3]) + b'{"number":4,"ki')
    contents(path)
    assert log_path(path).read_bytes() == log


def test_a_database_that_is_gone_is_made_of_the_log(path: Path) -> None:
    fill(path, 3)
    before = contents(path)
    path.unlink()
    assert contents(path) == before
    assert check_store(path) == []


def test_an_older_database_takes_what_the_log_knows(path: Path) -> None:
    items = fill(path, 3)
    old = path.read_bytes()
    with PreferenceStore(path) as store:
        store.add_judgment(make_judgment(items[0], 50))
    after = contents(path)
    path.write_bytes(old)
    assert contents(path) == after


def test_a_log_of_another_history_is_refused(path: Path, tmp_path: Path) -> None:
    fill(path, 3)
    fill(tmp_path / "other.sqlite", 4)
    log_path(path).write_bytes(log_path(tmp_path / "other.sqlite").read_bytes())
    with pytest.raises(DataError, match="damaged") as caught:
        PreferenceStore(path)
    assert "prosa preferences restore" in caught.value.hint


def test_backups(path: Path) -> None:
    items = make_items(10)
    with PreferenceStore(path) as store:
        assert store.back_up() is None
        for number, item in enumerate(items, start=1):
            store.add_items([item])
            target = store.back_up()
            assert target is not None and target.name == f"{number:09d}.sqlite"
            assert store.back_up() is None
        kept = sorted(path.parent.glob("preferences.backups/*"))
        assert [int(one.stem) for one in kept] == list(range(4, 11))
    with PreferenceStore(kept[0]) as store:
        assert store.items() == items[:4]


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text, foreign, newer = (tmp_path / name for name in ("text.sqlite", "foreign.sqlite", "newer.sqlite"))
    text.write_text("no database, but long enough to be taken for one " * 40)
    with sqlite3.connect(foreign) as database:
        database.execute("CREATE TABLE t (a)")
    database.close()
    fill(newer, 1)
    with sqlite3.connect(newer) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    for file, error, words in (
        (text, DataError, "damaged"),
        (foreign, DataError, "no store"),
        (newer, ConfigError, "version 99"),
    ):
        before = file.read_bytes()
        with pytest.raises(error, match=words):
            PreferenceStore(file)
        assert file.read_bytes() == before


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        PreferenceStore(tmp_path / "file" / "preferences.sqlite")
