"""R11: of any number of trainers on one run folder exactly one works, and a dead one is in nobody's way."""

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from prosa.errors import RunLocked
from prosa.rundir import lock_run
from tests.faults.processes import finish, make_event, needs_fork, start
from tests.faults.report import RecordProperty

pytestmark = needs_fork


def try_to_own(folder: Path, answers: Path, begin: Event) -> None:
    """Takes the lock at the instant `begin`, notes what came of it, and holds what it got for good."""
    begin.wait()
    began = time.monotonic()
    try:
        with lock_run(folder):
            (answers / f"{os.getpid()}.won").write_text("")
            time.sleep(600)
    except RunLocked as error:
        seconds = time.monotonic() - began
        answer = answers / f"{os.getpid()}.writing"
        answer.write_text(json.dumps({"seconds": seconds, "message": str(error), "code": error.exit_code}))
        answer.rename(answer.with_suffix(".lost"))


def wait_for(folder: Path, pattern: str, n: int, *, seconds: float) -> list[Path]:
    end = time.monotonic() + seconds
    while len(found := list(folder.glob(pattern))) < n:
        assert time.monotonic() < end, f"{len(found)} of {n} after {seconds} s"
        time.sleep(0.01)
    return found


def try_many_times(n: int, folder: Path, answers: Path, begin: Event) -> None:
    """`n` processes in a group of their own, all of which try to own the run at the instant `begin`."""
    os.setsid()
    (answers / "group").write_text(str(os.getpid()))
    for _ in range(n - 1):
        if os.fork() == 0:
            break
    else:
        (answers / "forked").write_text("")
    try_to_own(folder, answers, begin)


def test_a_hundred_at_once(tmp_path: Path, record_property: RecordProperty) -> None:
    record_property("R11", 100)
    begin = make_event()
    first = start(try_many_times, 100, tmp_path / "run", tmp_path, begin)
    try:
        wait_for(tmp_path, "forked", 1, seconds=60)
        begin.set()
        lost = wait_for(tmp_path, "*.lost", 99, seconds=60)
        (won,) = tmp_path.glob("*.won")
        holder = int(won.stem)
        for path in lost:
            answer = json.loads(path.read_text())
            assert answer["seconds"] <= 2.0
            assert f"process {holder} on " in answer["message"]
            assert answer["code"] == 73
        with pytest.raises(RunLocked), lock_run(tmp_path / "run"):
            pass
        os.kill(holder, signal.SIGKILL)
        began = time.monotonic()
        while True:
            try:
                with lock_run(tmp_path / "run"):
                    break
            except RunLocked:
                assert time.monotonic() - began < 2.0, "still locked after kill -9"
    finally:
        os.killpg(int((tmp_path / "group").read_text()), signal.SIGKILL)
        finish(first)


def own_with_a_child(folder: Path, answers: Path) -> None:
    with lock_run(folder):
        if os.fork() == 0:
            (answers / f"{os.getpid()}.child").write_text("")
            time.sleep(600)
        time.sleep(600)


def test_a_surviving_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    owner = start(own_with_a_child, tmp_path / "run", tmp_path)
    (child,) = wait_for(tmp_path, "*.child", 1, seconds=10)
    try:
        with pytest.raises(RunLocked, match=f"process {owner.pid}"), lock_run(tmp_path / "run"):
            pass
        owner.kill()
        finish(owner)
        os.kill(int(child.stem), 0)  # still alive
        with lock_run(tmp_path / "run"):
            pass
    finally:
        os.kill(int(child.stem), signal.SIGKILL)


def test_the_name_of_a_dead_holder_is_not_given(tmp_path: Path) -> None:
    """The one who holds the lock has not written its name yet; the old name in the file is of a dead process."""
    code = (
        "import sys, time; from prosa.rundir import lock_run\nwith lock_run(__import__('pathlib').Path(sys.argv[1])): 0"
    )
    dead = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    assert dead.wait() == 0
    import fcntl

    descriptor = os.open(tmp_path / "lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    assert str(dead.pid) in (tmp_path / "lock").read_text()
    began = time.monotonic()
    with pytest.raises(RunLocked, match="another process"), lock_run(tmp_path):
        pass
    assert time.monotonic() - began < 2.0
    os.close(descriptor)


def test_the_lock_needs_no_torch(tmp_path: Path) -> None:
    code = "import sys; from prosa.rundir import lock_run; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
