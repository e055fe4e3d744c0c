"""Bytes and folders go in; after a crash each is wholly on disk or not there at all, and damage is found on reading.

The commit protocol: everything is written aside, each file fsynced, a manifest with every sha256 written last, the
folder fsynced, one rename, the parent fsynced. docs/reliability.md states the promises, docs/formats.md the manifest.
"""

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from prosa.errors import CheckpointError, ConfigError, StorageError

FORMAT = 1
MANIFEST = "manifest.json"
# Far above any manifest we write (200 bytes a file), far below what would hurt to read.
_MANIFEST_LIMIT_BYTES = 8 * 1024 * 1024
_STALE = re.compile(r"\.tmp-.+-[0-9a-f]{8}")

# Only tests set this; see tests/faults.
_on_fault: Callable[[str, tuple[Path, ...]], None] | None = None


def fault_point(name: str, *paths: Path) -> None:
    """Called before each durable operation: mkdir, write, fsync, rename, fsync_folder or remove, with its paths."""
    if _on_fault is not None:
        _on_fault(name, paths)


# Files


def write_durably(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` in one step: after a crash it holds all of the old bytes or all of the new ones.

    Raises StorageError when the disk refuses; the old file is then untouched.
    """
    make_folder(path.parent)
    temporary = _temporary_sibling(path)
    with storage_errors(path):
        try:
            fault_point("write", temporary)
            temporary.write_bytes(data)
            sync_file(temporary)
            fault_point("rename", temporary, path)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json_durably(path: Path, value: Any) -> None:
    """`value` as indented JSON, written durably; ValueError for a number that is not finite."""
    write_durably(path, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n")


def make_folder(folder: Path) -> None:
    """Creates `folder` and its missing parents, each with a durable name."""
    with storage_errors(folder):
        if folder.is_dir():
            return
        make_folder(folder.parent)
        fault_point("mkdir", folder)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns an OSError met while writing `path` into a StorageError that says what helps."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write `{path}`: {error.strerror or error}", hint=_hint(path, error)) from error


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """sha256 of the canonical JSON of `value`, in hex."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value: sorted keys, no spaces, UTF-8; ValueError for a number that is not finite."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


# Folders


def staging_folder(final: Path) -> Path:
    """An empty folder beside `final`, to be filled and then given to `commit_folder`."""
    make_folder(final.parent)
    temporary = _temporary_sibling(final)
    with storage_errors(temporary):
        fault_point("mkdir", temporary)
        temporary.mkdir()
    return temporary


def commit_folder(temporary: Path, final: Path, description: Mapping[str, Any]) -> None:
    """Makes the filled folder `temporary` durable under the name `final`, with a manifest of every file's sha256.

    A folder already called `final` is replaced; a crash between the two renames leaves neither, so a caller who must
    never be without one sets the old folder aside first (as prosa.checkpoint does). Raises StorageError when the disk
    refuses: `temporary` is then removed and `final` is as it was.
    """
    with storage_errors(final):
        try:
            _write_manifest(temporary, description)
            for folder in sorted((path for path in temporary.rglob("*") if path.is_dir()), reverse=True):
                sync_folder(folder)
            sync_folder(temporary)
            replaced = set_aside(final) if final.exists() else None
            try:
                fault_point("rename", temporary, final)
                temporary.rename(final)
            except OSError:
                if replaced is not None:
                    replaced.rename(final)
                raise
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        sync_folder(final.parent)
        if replaced is not None:
            shutil.rmtree(replaced, ignore_errors=True)


def verify_folder(folder: Path) -> dict[str, Any]:
    """The description given to `commit_folder`, after every file was compared with the manifest.

    Raises CheckpointError naming the file and what differs, ConfigError if a newer Prosa wrote the folder.
    """
    manifest = read_manifest(folder)
    for entry in manifest["files"]:
        path = folder / entry["name"]
        with _read_errors(path):
            found_bytes = path.stat().st_size
            if found_bytes != entry["bytes"]:
                raise CheckpointError(f"`{path}` has {found_bytes} bytes, its manifest says {entry['bytes']}")
            if hash_file(path) != entry["sha256"]:
                raise CheckpointError(f"`{path}` is damaged: its sha256 is not the manifest's")
    description: dict[str, Any] = manifest["description"]
    return description


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest {format, description, files, sha256}, itself verified; the files are not looked at."""
    path = folder / MANIFEST
    with _read_errors(path):
        if path.stat().st_size > _MANIFEST_LIMIT_BYTES:
            raise CheckpointError(f"`{path}` is larger than {_MANIFEST_LIMIT_BYTES} bytes")
        data = path.read_bytes()
    try:
        manifest: dict[str, Any] = json.loads(data)
        is_intact = data == _manifest_bytes(manifest["format"], manifest["description"], manifest["files"])
    except (ValueError, KeyError, TypeError, RecursionError):
        is_intact = False
    if not is_intact:
        raise CheckpointError(f"`{path}` is damaged: its own sha256 differs")
    if manifest["format"] != FORMAT:
        raise ConfigError(f"`{path}` has format {manifest['format']}, this Prosa reads {FORMAT}", hint="upgrade Prosa")
    for entry in manifest["files"]:
        name = PurePosixPath(entry["name"])
        if name.is_absolute() or ".." in name.parts or "\\" in entry["name"] or ":" in entry["name"]:
            raise CheckpointError(f"`{path}` names a file outside its folder: {entry['name']!r}")
    return manifest


def is_complete(folder: Path) -> bool:
    """True if the folder was committed; its files are not hashed."""
    return (folder / MANIFEST).is_file()


def remove_folder(folder: Path) -> None:
    """Removes a folder; a crash leaves it whole or leaves a stale one, never half a folder under its own name."""
    with storage_errors(folder):
        stale = set_aside(folder)
        fault_point("remove", stale)
        shutil.rmtree(stale)


def remove_stale(folder: Path) -> list[str]:
    """Removes what a killed process left half-made anywhere under `folder`, whose lock the caller holds; its names."""
    stale = [path for path in folder.rglob(".tmp-*") if _STALE.fullmatch(path.name)]
    for path in stale:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return sorted(path.relative_to(folder).as_posix() for path in stale)


def set_aside(folder: Path) -> Path:
    """Renames a folder to a stale name, under which it counts as gone."""
    stale = _temporary_sibling(folder)
    fault_point("rename", folder, stale)
    return folder.rename(stale)


def sync_file(path: Path) -> None:
    """Makes the bytes of a file durable."""
    fault_point("fsync", path)
    with path.open("r+b") as file:
        _sync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable; Windows has no such call, there the file system's journal has to do."""
    if sys.platform == "win32":
        return
    fault_point("fsync_folder", folder)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        _sync(descriptor)
    finally:
        os.close(descriptor)


def _sync(descriptor: int) -> None:
    if sys.platform == "darwin":
        import fcntl

        # On macOS fsync leaves the data in the drive's cache; this call does not.
        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _write_manifest(folder: Path, description: Mapping[str, Any]) -> None:
    """Makes every file of the folder durable, then the list of them."""
    manifest = folder / MANIFEST
    files = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file() and path != manifest):
        sync_file(path)
        name = path.relative_to(folder).as_posix()
        files.append({"name": name, "bytes": path.stat().st_size, "sha256": hash_file(path)})
    # Through JSON once, so that what is hashed is what will be read: tuples become lists, keys strings.
    plain = json.loads(json.dumps(dict(description), allow_nan=False))
    fault_point("write", manifest)
    manifest.write_bytes(_manifest_bytes(FORMAT, plain, files))
    sync_file(manifest)


def _manifest_bytes(number: int, description: Mapping[str, Any], files: list[dict[str, Any]]) -> bytes:
    """One exact spelling per content, ending with its own sha256, so that no flipped bit can pass."""
    content = {"format": number, "description": description, "files": files}
    return json.dumps({**content, "sha256": hash_json(content)}, indent=1, allow_nan=False).encode() + b"\n"


def _temporary_sibling(path: Path) -> Path:
    return path.with_name(f".tmp-{path.name}-{secrets.token_hex(4)}")


@contextlib.contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """A missing file or a failing disk is damage; other errors (permissions, too many open files) are not."""
    try:
        yield
    except FileNotFoundError:
        raise CheckpointError(f"`{path}` is missing") from None
    except OSError as error:
        if error.errno not in (errno.EIO, errno.EISDIR, errno.ENOTDIR):
            raise
        raise CheckpointError(f"`{path}` cannot be read: {error.strerror}") from error


def _hint(path: Path, error: OSError) -> str:
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
        return "choose a folder that you may write to"
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path.cwd())
    free = shutil.disk_usage(folder).free / 1e6
    return f"{free:,.0f} MB are free there; make room or use another disk, then give the same command to go on"
