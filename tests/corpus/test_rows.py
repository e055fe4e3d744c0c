"""Records as they are; that files are opened as for documents is tested with those (test_files, test_reading)."""

import gzip
import json

import pyarrow
import pyarrow.parquet
import pytest

from prosa.corpus import ReadReport, read_rows, rows
from prosa.errors import DataError

RECORDS = [{"a": 1, "b": {"c": ["x", "é"]}}, {"a": 2, "b": {"c": []}}]


def read(path):
    report = ReadReport()
    return list(read_rows(str(path), report)), report


def test_every_field_is_kept_in_every_format(tmp_path):
    lines = "".join(json.dumps(record) + "\n\n" for record in RECORDS).encode()
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "c.json").write_text(json.dumps(RECORDS, indent=1))
    (tmp_path / "d.json").write_text(json.dumps({"version": 1, "data": RECORDS}))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), tmp_path / "e.parquet")
    (tmp_path / "f.parquet.gz").write_bytes(gzip.compress((tmp_path / "e.parquet").read_bytes()))
    found, report = read(tmp_path)
    assert [record for record, _ in found] == 6 * RECORDS
    places = [where for _, where in found]
    assert places[:4] == ["a.jsonl:1", "a.jsonl:3", "b.jsonl.gz:1", "b.jsonl.gz:3"]
    assert places[8:] == ["e.parquet:1", "e.parquet:2", "f.parquet.gz:1", "f.parquet.gz:2"]
    assert report.rejected.counts == {}


def test_what_cannot_be_read_is_counted(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n{"a": \n"\\ud800"\n')
    (tmp_path / "b.parquet").write_bytes(b"PAR1 and no more")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 1000)[:-20])
    (tmp_path / "d.txt").write_text("words")
    found, report = read(tmp_path)
    assert ({"a": 1}, "a.jsonl:1") in found and ("\ud800", "a.jsonl:3") in found
    assert report.rejected.counts["malformed JSON"] >= 1 and report.rejected.counts["damaged parquet"] == 1
    assert report.rejected.counts["truncated or damaged compression"] == 1
    assert report.skipped.examples == {"no file of records": ["d.txt"]}


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "hub_records", lambda address: iter([({"a": address}, "hub")]))
    assert read("hf:owner/name")[0] == [({"a": "hf:owner/name"}, "hub")]
    with pytest.raises(DataError, match="does not exist"):
        read(tmp_path / "nowhere")
