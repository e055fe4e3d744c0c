import errno
import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import prosa.rundir
from prosa.errors import CheckpointError, ConfigError, DataError, RunLocked, StorageError
from prosa.rundir import (
    commit_folder,
    hash_file,
    hash_json,
    is_complete,
    lock_run,
    make_folder,
    read_lineage,
    read_manifest,
    record_stage,
    remove_folder,
    remove_stale,
    stage_is_current,
    staging_folder,
    verify_folder,
    write_durably,
    write_json_durably,
)
from tests.faults.injection import at, faults, refuse

EMPTY_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def commit(final: Path, files: dict[str, bytes], description: dict[str, Any]) -> Path:
    temporary = staging_folder(final)
    for name, data in files.items():
        (temporary / name).parent.mkdir(parents=True, exist_ok=True)
        (temporary / name).write_bytes(data)
    commit_folder(temporary, final, description)
    return final


def test_the_public_names_are_sorted() -> None:
    assert prosa.rundir.__all__ == sorted(prosa.rundir.__all__)


# Files


def test_write_durably(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file.json"
    write_json_durably(path, {"olá": [1, 2.5, None]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"olá": [1, 2.5, None]}
    write_durably(path, b"")
    assert path.read_bytes() == b""
    assert names(path.parent) == ["file.json"]


def test_numbers_that_are_not_finite_are_no_json(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json_durably(path, 1)
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_durably(path, {"loss": float("nan")})
    assert path.read_bytes() == b"1\n"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "file" / "x", tmp_path / "file" / "x" / "y", tmp_path / ("n" * 300) / "x"):
        with pytest.raises(StorageError, match="cannot write") as caught:
            write_durably(path, b"")
        assert caught.value.hint == "choose a folder that you may write to"


@pytest.mark.skipif(sys.platform == "win32" or os.getuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(StorageError, match="Permission denied"):
        write_durably(tmp_path / "x", b"")


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    assert hash_file(tmp_path / "empty") == EMPTY_SHA256
    # sha256 of the bytes `{"a":1,"é":[2.5]}`
    assert hash_json({"é": (2.5,), "a": 1}) == "a2800de09ef74a260388d6e0e53804f9a8a170bad03fb9a7b59b199997374516"
    assert hash_json({"a": 1, "b": 2}) == hash_json({"b": 2, "a": 1}) != hash_json({"a": 1, "b": 3})


# Folders


def test_commit_and_verify(tmp_path: Path) -> None:
    files = {"a.bin": b"123", "deep/er/b.txt": "ção".encode(), "empty": b""}
    final = commit(tmp_path / "runs" / "x" / "corpus", files, {"kind": "corpus", "n": 3})
    assert is_complete(final)
    assert verify_folder(final) == {"kind": "corpus", "n": 3}
    assert names(final.parent) == ["corpus"]
    manifest = read_manifest(final)
    assert [entry["name"] for entry in manifest["files"]] == ["a.bin", "deep/er/b.txt", "empty"]
    assert [entry["bytes"] for entry in manifest["files"]] == [3, 5, 0]
    assert manifest["files"][2]["sha256"] == EMPTY_SHA256
    assert manifest["format"] == 1


def test_files_that_systems_add_are_not_damage(tmp_path: Path) -> None:
    final = commit(tmp_path / "x", {"a": b"1"}, {})
    (final / ".DS_Store").write_bytes(b"")
    assert verify_folder(final) == {}


def test_replacing_a_folder(tmp_path: Path) -> None:
    commit(tmp_path / "x", {"a": b"1", "gone": b""}, {"n": 1})
    final = commit(tmp_path / "x", {"a": b"2"}, {"n": 2})
    assert verify_folder(final) == {"n": 2}
    assert names(tmp_path) == ["x"]
    assert names(final) == ["a", "manifest.json"]


def test_a_folder_that_cannot_be_replaced_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    final = commit(tmp_path / "x", {"a": b"1"}, {"n": 1})
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.name.startswith(".tmp") and target == final and (path / "new").exists():
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(StorageError):
        commit(tmp_path / "x", {"new": b"2"}, {"n": 2})
    assert verify_folder(final) == {"n": 1}
    assert names(tmp_path) == ["x"]


@pytest.mark.parametrize("name", ["write", "fsync", "fsync_folder", "rename"])
def test_a_refused_commit_leaves_nothing(tmp_path: Path, name: str) -> None:
    with faults(at(1, refuse(errno.ENOSPC), name=name)), pytest.raises(StorageError, match="No space left"):
        temporary = staging_folder(tmp_path / "x")
        (temporary / "a").write_bytes(b"1")
        commit_folder(temporary, tmp_path / "x", {})
    assert names(tmp_path) == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, derandomize=True, deadline=None)
@given(description=st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), json_values, max_size=4))
def test_any_description_comes_back(tmp_path_factory: pytest.TempPathFactory, description: dict[str, Any]) -> None:
    try:
        json.dumps(description, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return
    final = commit(tmp_path_factory.mktemp("any") / "x", {"a": b"1"}, description)
    assert verify_folder(final) == description


def test_descriptions_are_read_as_json(tmp_path: Path) -> None:
    final = commit(tmp_path / "x", {}, {"shape": (1, 2), "by_step": {10: "a", 9: "b"}})
    assert verify_folder(final) == {"shape": [1, 2], "by_step": {"10": "a", "9": "b"}}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "a").unlink(), r"x/a` is missing"),
        (lambda folder: (folder / "a").write_bytes(b"12"), r"x/a` has 2 bytes, its manifest says 3"),
        (lambda folder: (folder / "a").write_bytes(b"124"), r"x/a` is damaged"),
        (lambda folder: ((folder / "a").unlink(), (folder / "a").mkdir()), r"x/a`"),
        (lambda folder: (folder / "manifest.json").unlink(), r"manifest\.json` is missing"),
        (lambda folder: (folder / "manifest.json").write_bytes(b""), r"manifest\.json` is damaged"),
        (lambda folder: (folder / "manifest.json").write_bytes(b"[" * 100_000), r"manifest\.json` is damaged"),
        (lambda folder: (folder / "manifest.json").write_bytes(b'{"files":0}'), r"manifest\.json` is damaged"),
        (lambda folder: (folder / "manifest.json").write_bytes(b" " * (9 << 20)), r"manifest\.json` is larger"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Any, message: str) -> None:
    final = commit(tmp_path / "x", {"a": b"123"}, {})
    damage(final)
    with pytest.raises(CheckpointError, match=message.replace("/", r"[/\\]")):
        verify_folder(final)


def rewrite_manifest(folder: Path, **changes: Any) -> None:
    """A manifest whose own sha256 is right, whatever it says: as a malicious or a later program would write it."""
    content = {key: value for key, value in read_manifest(folder).items() if key != "sha256"} | changes
    text = json.dumps({**content, "sha256": hash_json(content)}, indent=1)
    (folder / "manifest.json").write_bytes(text.encode() + b"\n")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../secret", "C:\\secret", "..\\secret"])
def test_manifests_cannot_point_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret").write_bytes(b"")
    final = commit(tmp_path / "x", {}, {})
    rewrite_manifest(final, files=[{"name": name, "bytes": 0, "sha256": EMPTY_SHA256}])
    with pytest.raises(CheckpointError, match="outside its folder"):
        verify_folder(final)


def test_a_later_format_is_no_damage(tmp_path: Path) -> None:
    final = commit(tmp_path / "x", {}, {})
    rewrite_manifest(final, format=2)
    with pytest.raises(ConfigError, match="format 2") as caught:
        verify_folder(final)
    assert caught.value.hint == "upgrade Prosa"


def test_removing(tmp_path: Path) -> None:
    remove_folder(commit(tmp_path / "x", {"deep/a": b"1"}, {}))
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    kept = commit(tmp_path / "base" / "checkpoints" / "step-1", {"a": b"1"}, {})
    (tmp_path / ".tmp-mine").write_bytes(b"a file of the user's own")
    stale = staging_folder(tmp_path / "base" / "checkpoints" / "step-2")
    (stale / "half").write_bytes(b"")
    (tmp_path / ".tmp-lineage.json-0123abcd").write_bytes(b"")
    expected = [".tmp-lineage.json-0123abcd", f"base/checkpoints/{stale.name}"]
    assert remove_stale(tmp_path) == expected
    assert remove_stale(tmp_path) == []
    assert names(tmp_path) == [".tmp-mine", "base"]
    assert verify_folder(kept) == {}


# The lock (see also tests/faults/test_two_trainers.py)


def test_lock(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "x"
    with lock_run(folder):
        with (
            pytest.raises(RunLocked, match=f"in use by process {os.getpid()} on .*since 20") as caught,
            lock_run(folder),
        ):
            pass
        assert caught.value.exit_code == 73
        with lock_run(tmp_path / "other"):
            pass
    with pytest.raises(ZeroDivisionError), lock_run(folder):
        raise ZeroDivisionError
    with lock_run(folder):
        pass


# Lineage


def test_stages(tmp_path: Path) -> None:
    made: dict[str, Any] = {"settings": {"size": (1, 2), "rate": 0.5}, "inputs": {"corpus": "abc"}}
    assert not stage_is_current(tmp_path, "tokenizer", **made)
    commit(tmp_path / "tokenizer", {"tokenizer.json": b"{}"}, {})
    write_durably(tmp_path / "report.html", b"")
    outputs = {"tokenizer": "def", "report.html": "0"}
    record_stage(tmp_path, "tokenizer", **made, outputs=outputs)
    record_stage(tmp_path, "other", settings={}, inputs={}, outputs={})
    assert stage_is_current(tmp_path, "tokenizer", **made)
    assert read_lineage(tmp_path)["stages"]["tokenizer"] == {
        "settings": {"size": [1, 2], "rate": 0.5},
        "inputs": {"corpus": "abc"},
        "outputs": outputs,
    }
    assert not stage_is_current(tmp_path, "tokenizer", settings=made["settings"], inputs={"corpus": "abd"})
    assert not stage_is_current(tmp_path, "tokenizer", settings={"size": (1, 2)}, inputs=made["inputs"])
    (tmp_path / "report.html").unlink()
    assert not stage_is_current(tmp_path, "tokenizer", **made)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"stages": 1}', '{"stages": {"x": {}}}', '{"stages": {"x": 1}}']
)
def test_damaged_lineage(tmp_path: Path, text: str) -> None:
    (tmp_path / "lineage.json").write_text(text)
    with pytest.raises(DataError, match=r"lineage\.json` is damaged") as caught:
        read_lineage(tmp_path)
    assert "made again" in caught.value.hint


def test_missing_parents_are_made_once(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
