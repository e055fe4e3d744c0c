"""A run's folder: files and folders go in, and are either wholly there after a crash or not there at all.

Durable writes, verified folders, the run's lock and its lineage; every room keeps what it makes through this module.
docs/reliability.md states what is promised, docs/formats.md what the files look like.
"""

import contextlib
import errno
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from prosa.errors import CheckpointError, ConfigError, DataError, RunLocked, StorageError

FORMAT = 1
MANIFEST = "manifest.json"
# Far above any manifest we write (200 bytes a file), far below what would hurt to read.
_MANIFEST_LIMIT_BYTES = 8 * 1024 * 1024
_STALE = re.compile(r"\.tmp-.+-[0-9a-f]{8}")
_STORAGE_ERRNOS = {errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}

# Only tests set this; see tests/faults.
_on_fault: Callable[[str, tuple[Path, ...]], None] | None = None


def fault_point(name: str, *paths: Path) -> None:
    """Called before each durable operation: mkdir, write, fsync, rename, fsync_folder or remove, with its paths."""
    if _on_fault is not None:
        _on_fault(name, paths)


# Durable files


def write_durably(path: Path, data: bytes) -> None:
    """Replaces `path` by `data` in one step: after a crash it holds all of the old bytes or all of the new ones.

    Raises StorageError when the disk refuses; the old file is then untouched.
    """
    make_folder(path.parent)
    temporary = _temporary_sibling(path)
    with storage_errors(path):
        try:
            fault_point("write", temporary)
            with temporary.open("wb") as file:
                file.write(data)
                fault_point("fsync", temporary)
                file.flush()
                _sync(file.fileno())
            fault_point("rename", temporary, path)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_json_durably(path: Path, value: Any) -> None:
    """`value` as indented JSON, written durably; non-finite numbers are refused with ValueError."""
    write_durably(path, json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n")


def make_folder(folder: Path) -> None:
    """Creates `folder` and its missing parents, each with a durable name."""
    if folder.is_dir():
        return
    make_folder(folder.parent)
    with storage_errors(folder):
        fault_point("mkdir", folder)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turns the errors of a disk that refuses to write into StorageError with what helps; others pass unchanged."""
    try:
        yield
    except OSError as error:
        if error.errno not in _STORAGE_ERRNOS:
            raise
        raise StorageError(
            f"cannot write `{path}`: {error.strerror or error}", hint=_storage_hint(path, error)
        ) from None


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_json(value: Any) -> str:
    """sha256 of the canonical JSON of `value` (sorted keys, no spaces, finite numbers only), in hex."""
    return hashlib.sha256(_canonical(value)).hexdigest()


# Durable folders


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
    never be without one sets the old folder aside first (see prosa.checkpoint). Raises StorageError when the disk
    refuses; `temporary` is then removed.
    """
    with storage_errors(final):
        try:
            files = sorted(path for path in temporary.rglob("*") if path.is_file() and path != temporary / MANIFEST)
            for path in files:
                sync_file(path)
            entries = [
                {
                    "name": path.relative_to(temporary).as_posix(),
                    "bytes": path.stat().st_size,
                    "sha256": hash_file(path),
                }
                for path in files
            ]
            manifest = temporary / MANIFEST
            fault_point("write", manifest)
            manifest.write_bytes(_manifest_bytes(description, entries))
            sync_file(manifest)
            for folder in sorted((path for path in temporary.rglob("*") if path.is_dir()), reverse=True):
                sync_folder(folder)
            sync_folder(temporary)
            replaced = _set_aside(final) if final.exists() else None
            fault_point("rename", temporary, final)
            temporary.rename(final)
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
        try:
            found_bytes = path.stat().st_size
            if found_bytes != entry["bytes"]:
                raise CheckpointError(f"`{path}` has {found_bytes} bytes, its manifest says {entry['bytes']}")
            if hash_file(path) != entry["sha256"]:
                raise CheckpointError(f"`{path}` is damaged: its sha256 differs from the manifest's")
        except FileNotFoundError:
            raise CheckpointError(f"`{path}` is missing, the manifest lists it") from None
        except OSError as error:
            raise _unreadable(path, error) from None
    description: dict[str, Any] = manifest["description"]
    return description


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest {format, description, files, sha256}, itself verified; the files are not looked at."""
    path = folder / MANIFEST
    try:
        if path.stat().st_size > _MANIFEST_LIMIT_BYTES:
            raise CheckpointError(f"`{path}` is larger than {_MANIFEST_LIMIT_BYTES} bytes")
        data = path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(f"`{path}` is missing") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    try:
        manifest = json.loads(data)
        is_intact = data == _manifest_bytes(manifest["description"], manifest["files"], manifest["format"])
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
    result: dict[str, Any] = manifest
    return result


def is_complete(folder: Path) -> bool:
    """True if the folder was committed; its files are not hashed."""
    return (folder / MANIFEST).is_file()


def remove_folder(folder: Path) -> None:
    """Removes a folder; a crash leaves it whole or leaves a stale one, never half a folder under its own name."""
    with storage_errors(folder):
        stale = _set_aside(folder)
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


# The lock


@contextlib.contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Holds the run for this process alone; the kernel frees it when the process ends, however it ends.

    Raises RunLocked, naming the holder, if another process has it.
    """
    make_folder(folder)
    path = folder / "lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _try_lock(descriptor):
            raise RunLocked(
                f"`{folder}` is in use by {_read_holder(descriptor)}",
                hint="wait for it, stop it, or use another run name",
            )
        # A forked child shares the lock; closing its copy lets the lock die with this process alone.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=functools.partial(_close_if_ours, descriptor, os.fstat(descriptor)))
        _write_holder(descriptor)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        if sys.platform == "win32":
            import msvcrt

            os.lseek(descriptor, 0, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            return False
        raise
    return True


def _write_holder(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "command": " ".join(sys.argv) or "python",
        "host": socket.gethostname(),
        "since": datetime.now().isoformat(" ", "seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    # Byte 0 is a space: it is the byte Windows locks, and a locked byte cannot be read there.
    os.write(descriptor, b" " + json.dumps(holder).encode())


def _read_holder(descriptor: int) -> str:
    """Who holds the lock; the holder writes its name just after taking it, so an empty or old name is read again."""
    import psutil

    end = time.monotonic() + 1.0
    while True:
        try:
            os.lseek(descriptor, 1, os.SEEK_SET)
            holder = json.loads(os.read(descriptor, 4096))
            is_here = holder["host"] == socket.gethostname()
            if not is_here or psutil.pid_exists(holder["pid"]):
                return f"process {holder['pid']} on {holder['host']} (`{holder['command']}`, since {holder['since']})"
        except (ValueError, KeyError, TypeError, OSError):
            pass
        if time.monotonic() > end:
            return "another process"
        time.sleep(0.02)


def _close_if_ours(descriptor: int, opened: os.stat_result) -> None:
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(descriptor), opened):
            os.close(descriptor)


# Lineage: which stage was made with which settings from which inputs


def record_stage(
    run: Path, stage: str, *, settings: Mapping[str, Any], inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> None:
    """Notes in lineage.json that `stage` is done; inputs: name -> hash, outputs: path inside the run -> hash."""
    lineage = read_lineage(run)
    lineage["stages"][stage] = {"settings": dict(settings), "inputs": dict(inputs), "outputs": dict(outputs)}
    write_json_durably(run / "lineage.json", lineage)


def stage_is_current(run: Path, stage: str, *, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    """True if the stage was made with equal settings and inputs and its outputs are still there."""
    record = read_lineage(run)["stages"].get(stage)
    if record is None:
        return False
    is_same = _canonical([record["settings"], record["inputs"]]) == _canonical([dict(settings), dict(inputs)])
    return is_same and all(is_complete(run / name) or (run / name).is_file() for name in record["outputs"])


def read_lineage(run: Path) -> dict[str, Any]:
    """{format, stages: {name: {settings, inputs, outputs}}}; empty stages for a new run."""
    path = run / "lineage.json"
    try:
        lineage: dict[str, Any] = json.loads(path.read_bytes())
        if not isinstance(lineage["stages"], dict):
            raise TypeError
    except FileNotFoundError:
        return {"format": FORMAT, "stages": {}}
    except (ValueError, KeyError, TypeError):
        raise DataError(f"`{path}` is damaged", hint="delete it: every stage is then made again") from None
    return lineage


# Details


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _manifest_bytes(description: Mapping[str, Any], files: list[dict[str, Any]], format_number: int = FORMAT) -> bytes:
    """One exact spelling per content, with its own sha256 last, so that no flipped bit can pass."""
    content = {"format": format_number, "description": dict(description), "files": files}
    return json.dumps({**content, "sha256": hash_json(content)}, indent=1, sort_keys=False, allow_nan=False).encode()


def _temporary_sibling(path: Path) -> Path:
    return path.with_name(f".tmp-{path.name}-{secrets.token_hex(4)}")


def _set_aside(folder: Path) -> Path:
    stale = _temporary_sibling(folder)
    fault_point("rename", folder, stale)
    return folder.rename(stale)


def sync_file(path: Path) -> None:
    fault_point("fsync", path)
    with path.open("r+b") as file:
        _sync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable; Windows has no such call and NTFS journals its names."""
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


def _storage_hint(path: Path, error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "choose a folder that you may write to"
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path.cwd())
    free = shutil.disk_usage(folder).free / 1e6
    return f"{free:,.0f} MB are free there; make room or use another disk, then give the same command to go on"


def _unreadable(path: Path, error: OSError) -> CheckpointError | OSError:
    is_damage = error.errno in (errno.EIO, errno.EISDIR, errno.ENOTDIR)
    return CheckpointError(f"`{path}` cannot be read: {error.strerror}") if is_damage else error
