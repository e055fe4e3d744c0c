"""A run's folder: one process works in it at a time, and it remembers what was made from what.

The kernel's lock and the lineage are here; the durable writes that every room uses (prosa.durable) are re-exported.
"""

import contextlib
import errno
import functools
import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from prosa.durable import (
    FORMAT,
    canonical_json,
    commit_folder,
    fault_point,
    hash_file,
    hash_json,
    is_complete,
    make_folder,
    read_manifest,
    remove_folder,
    remove_stale,
    staging_folder,
    storage_errors,
    sync_file,
    sync_folder,
    verify_folder,
    write_durably,
    write_json_durably,
)
from prosa.errors import DataError, RunLocked

__all__ = [
    "commit_folder",
    "fault_point",
    "hash_file",
    "hash_json",
    "is_complete",
    "lock_run",
    "make_folder",
    "read_lineage",
    "read_manifest",
    "record_stage",
    "remove_folder",
    "remove_stale",
    "stage_is_current",
    "staging_folder",
    "storage_errors",
    "sync_file",
    "sync_folder",
    "verify_folder",
    "write_durably",
    "write_json_durably",
]

_HOLDER_WAIT_SECONDS = 1.0
_RECORD_KEYS = ("settings", "inputs", "outputs")


@contextlib.contextmanager
def lock_run(folder: Path) -> Iterator[None]:
    """Holds the run for this process alone; the kernel frees it when the process ends, however it ends.

    Raises RunLocked, naming the holder, if another process has it.
    """
    make_folder(folder)
    with storage_errors(folder / "lock"):
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    close = functools.partial(_close_if_same, descriptor, os.fstat(descriptor))
    try:
        with storage_errors(folder / "lock"):
            _take_lock(descriptor, folder)
        # A forked child shares the lock; closing its copy lets the lock end with this process alone.
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=close)
        # A full disk must not stop a run from starting: the name is for people, the lock is the kernel's.
        with contextlib.suppress(OSError):
            _write_holder(descriptor)
        yield
    finally:
        close()


def _take_lock(descriptor: int, folder: Path) -> None:
    """Takes the lock or says who has it.

    One that is dead is about to lose it, and one that has just taken it is about to write its name: both get a moment.
    """
    end = time.monotonic() + _HOLDER_WAIT_SECONDS
    while not _try_lock(descriptor):
        holder = _read_holder(descriptor)
        if holder or time.monotonic() > end:
            hint = "wait for it, stop it, or use another run"
            raise RunLocked(f"`{folder}` is in use by {holder or 'another process'}", hint=hint)
        time.sleep(0.02)


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
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK):
            raise
        return False
    return True


def _write_holder(descriptor: int) -> None:
    holder = {
        "pid": os.getpid(),
        "command": " ".join(sys.argv),
        "host": socket.gethostname(),
        "since": datetime.now().isoformat(" ", "seconds"),
    }
    os.ftruncate(descriptor, 0)
    os.lseek(descriptor, 0, os.SEEK_SET)
    # Byte 0 is a space: Windows locks that byte, and nobody else can read a locked byte there.
    os.write(descriptor, b" " + json.dumps(holder).encode())


def _read_holder(descriptor: int) -> str:
    """The living process that took the lock last, or "" if there is none or it has not written its name."""
    with contextlib.suppress(ValueError, KeyError, TypeError, OSError):
        os.lseek(descriptor, 1, os.SEEK_SET)
        holder = json.loads(os.read(descriptor, 1 << 16))
        if holder["host"] != socket.gethostname() or _is_alive(holder["pid"]):
            return f"process {holder['pid']} on {holder['host']} (`{holder['command']}`, since {holder['since']})"
    return ""


def _is_alive(pid: int) -> bool:
    if sys.platform == "win32":
        import psutil

        return bool(psutil.pid_exists(pid))
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _close_if_same(descriptor: int, opened: os.stat_result) -> None:
    with contextlib.suppress(OSError):
        if os.path.samestat(os.fstat(descriptor), opened):
            os.close(descriptor)


def record_stage(
    run: Path, stage: str, *, settings: Mapping[str, Any], inputs: Mapping[str, str], outputs: Mapping[str, str]
) -> None:
    """Notes in lineage.json that `stage` is done; inputs: name -> hash, outputs: path inside the run -> hash."""
    lineage = read_lineage(run)
    lineage["stages"][stage] = {"settings": dict(settings), "inputs": dict(inputs), "outputs": dict(outputs)}
    write_json_durably(run / "lineage.json", lineage)


def stage_is_current(run: Path, stage: str, *, settings: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    """True if the stage was made with equal settings and inputs, and its outputs (not verified here) are there."""
    record = read_lineage(run)["stages"].get(stage)
    if record is None:
        return False
    is_same = canonical_json([record["settings"], record["inputs"]]) == canonical_json([dict(settings), dict(inputs)])
    return is_same and all(is_complete(run / name) or (run / name).is_file() for name in record["outputs"])


def read_lineage(run: Path) -> dict[str, Any]:
    """{format, stages: {name: {settings, inputs, outputs}}}; no stages for a new run. DataError if it is damaged."""
    path = run / "lineage.json"
    try:
        lineage: dict[str, Any] = json.loads(path.read_bytes())
        if not all(isinstance(record[key], dict) for record in lineage["stages"].values() for key in _RECORD_KEYS):
            raise TypeError
    except FileNotFoundError:
        return {"format": FORMAT, "stages": {}}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise DataError(f"`{path}` is damaged", hint="delete it: every stage is then made again") from None
    return lineage
