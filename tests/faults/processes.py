"""Processes that cost milliseconds, to be killed often: forked from a server that has imported torch once.

Functions given to these must be importable (top level of a module). A process that fails an assertion ends with 1.
"""

import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from multiprocessing.synchronize import Event
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext

_PRELOADED = [
    "torch",
    "torch._dynamo",
    "prosa.checkpoint",
    "prosa.metrics",
    "prosa.preferences",
    "tests.faults.one_thread",
]

needs_fork = pytest.mark.skipif(
    "forkserver" not in multiprocessing.get_all_start_methods(), reason="no fork on this system"
)


def make_event() -> Event:
    """A flag that processes given it can wait for."""
    return _context().Event()


def start(work: Callable[..., object], *args: Any) -> BaseProcess:
    """Runs `work(*args)` in a process of its own and does not wait for it.

    Nothing is fsynced there: a kill loses nothing that the system was given, and a busy disk would make tests slow.
    """
    process = _context().Process(target=_work_without_fsync, args=(work, *args), daemon=True)
    process.start()
    return process


def finish(process: BaseProcess, *, seconds: float = 60.0) -> int:
    """Waits for the end; the exit code, negative for a signal."""
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
        raise AssertionError(f"still running after {seconds} s")
    return process.exitcode


def run(work: Callable[..., object], *args: Any, seconds: float = 60.0) -> int:
    """Runs `work(*args)` to its end; the exit code."""
    return finish(start(work, *args), seconds=seconds)


def run_and_kill(work: Callable[..., object], *args: Any, after_seconds: float) -> bool:
    """Runs `work(*args)` and kills it after that time; False if it had ended well before. A failure is an error."""
    process = start(work, *args)
    time.sleep(after_seconds)
    process.kill()
    code = finish(process)
    assert code in (0, -signal.SIGKILL), f"ended with exit code {code} by itself"
    return code != 0


def kill_often(work: Callable[..., object], *args: Any, kills: int, longest_seconds: float, seed: int) -> int:
    """Starts `work(*args)` again and again, killing it at random microseconds, then lets it end; the kills that hit.

    `work` must go on where it was stopped. Times are drawn up to `longest_seconds`, half of them much shorter.
    """
    chance = random.Random(seed)
    hits = 0
    for _ in range(kills):
        share = chance.random() if chance.random() < 0.5 else chance.random() ** 4
        hits += run_and_kill(work, *args, after_seconds=share * longest_seconds)
    assert run(work, *args) == 0
    return hits


def _work_without_fsync(work: Callable[..., object], *args: Any) -> None:
    os.fsync = lambda descriptor: None
    work(*args)


def _context() -> "ForkServerContext":
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context
