"""Rankings made elsewhere enter a store once; stores are exported and brought together without loss."""

from pathlib import Path
from uuid import UUID

import pytest

from prosa.corpus import ReadReport
from prosa.errors import DataError
from prosa.preferences import PreferenceStore, add_rankings, check_store, export_store, import_file, merge_store
from prosa.preferences.store import log_path
from tests.faults.report import RecordProperty
from tests.preferences.rankings import make_ranked
from tests.preferences.stores import contents, fill, make_items, make_judgment


def test_adding_twice_changes_nothing(tmp_path: Path) -> None:
    ranked = [
        make_ranked([1, 2, None], prompt="p", annotator="ana"),
        make_ranked([1, 2, None], prompt="p", annotator="bia"),
        # Said twice by the same person, or by two who are not named.
        make_ranked([1, 1], prompt="q", annotator=""),
        make_ranked([1, 1], prompt="q", annotator=""),
    ]
    ranked = [type(one).make(one.messages, one.answers, one.ranking, annotator=one.annotator) for one in ranked]
    with PreferenceStore(tmp_path / "preferences.sqlite") as store:
        assert add_rankings(store, ranked, source="set") == (2, 4)
        assert add_rankings(store, ranked, source="set") == (0, 0)
        found = store.ranked_answers()
        assert [one.annotator for one in found] == ["ana", "bia", "set", "set"]
        assert [(one.item_id, one.answers, one.ranking) for one in found] == [
            (one.item_id, one.answers, one.ranking) for one in ranked
        ]
        assert {item.source for item in store.items()} == {"set"}


def test_export_and_merge_lose_nothing(tmp_path: Path, record_property: RecordProperty) -> None:
    path, other = tmp_path / "a" / "preferences.sqlite", tmp_path / "b" / "preferences.sqlite"
    fill(path, 5)
    with PreferenceStore(path) as store, PreferenceStore(other) as second:
        n = export_store(store, tmp_path / "all.jsonl")
        assert (tmp_path / "all.jsonl").read_bytes() == log_path(path).read_bytes()
        report = ReadReport()
        assert merge_store(second, tmp_path / "all.jsonl", report) == (5, 6) and n == 11
        assert merge_store(second, tmp_path / "all.jsonl", report) == (0, 0)
        assert report.rejected.counts == {}
        assert second.judgments() == store.judgments()
    assert contents(other) == contents(path)
    record_property("A7", 1)


def test_two_people_on_two_machines(tmp_path: Path) -> None:
    items = make_items(3)
    paths = {name: tmp_path / name / "preferences.sqlite" for name in ("ana", "bia")}
    for base, (name, path) in enumerate(paths.items()):
        with PreferenceStore(path) as store:
            store.add_items(items)
            store.add_judgments([make_judgment(item, 10 * base + n, annotator=name) for n, item in enumerate(items)])
    with PreferenceStore(paths["ana"]) as store:
        assert merge_store(store, log_path(paths["bia"]), ReadReport()) == (0, 3)
        assert [row.annotator for row in store.judgments()] == ["ana"] * 3 + ["bia"] * 3
    assert check_store(paths["ana"]) == []


def test_what_cannot_be_merged_is_counted(tmp_path: Path) -> None:
    path, other = tmp_path / "a" / "preferences.sqlite", tmp_path / "b" / "preferences.sqlite"
    items = fill(path, 3)
    with PreferenceStore(other) as store:
        store.add_items(items)
        # The same UUID as in the other store, with another ranking.
        store.add_judgment(make_judgment(items[1], 1, best=0))
        lines = log_path(path).read_bytes().splitlines(keepends=True)
        (tmp_path / "lines.jsonl").write_bytes(
            b"".join([*lines[1:], b"{}\n", lines[0].replace(b"a", b"b", 1), b"half"])
        )
        report = ReadReport()
        assert merge_store(store, tmp_path / "lines.jsonl", report) == (0, 3)
        assert report.rejected.counts == {"a damaged line": 3, "a UUID known with other content": 1}
        assert sorted(UUID(row.uuid).int for row in store.all_rows()) == [0, 1, 2, 10**6]
    with PreferenceStore(tmp_path / "c.sqlite") as empty:
        report = ReadReport()
        (tmp_path / "rows.jsonl").write_bytes(b"".join(lines[3:]))
        assert merge_store(empty, tmp_path / "rows.jsonl", report) == (0, 0)
        assert report.rejected.counts == {"a judgment of an unknown item": 4}
        with pytest.raises(DataError, match="cannot be read"):
            merge_store(empty, tmp_path / "none.jsonl", report)


def test_a_file_says_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "a" / "preferences.sqlite"
    fill(path, 2)
    (tmp_path / "pairs.jsonl").write_text('{"prompt": "p", "chosen": "c", "rejected": "r"}\n')
    (tmp_path / "none.jsonl").write_text('{"text": "a"}\n')
    with PreferenceStore(tmp_path / "b.sqlite") as store:
        assert import_file(store, log_path(path), ReadReport()) == (2, 3)
        assert import_file(store, tmp_path / "pairs.jsonl", ReadReport()) == (1, 1)
        assert store.judgments()[-1].annotator == "pairs.jsonl"
        with pytest.raises(DataError, match="1 a row of no known form"):
            import_file(store, tmp_path / "none.jsonl", ReadReport())
        with pytest.raises(DataError):
            import_file(store, tmp_path / "missing.jsonl", ReadReport())
