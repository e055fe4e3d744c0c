"""Faults at chosen durable operations: `with faults(at(3, refuse(errno.ENOSPC))): save()`.

Every durable operation of Prosa calls `prosa.durable.fault_point` first; an action given to `faults` sees them all.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import prosa.durable

Action = Callable[[str, tuple[Path, ...]], None]


@contextmanager
def faults(action: Action) -> Iterator[None]:
    """Calls `action` before each durable operation of this process."""
    assert prosa.durable._on_fault is None, "faults do not nest"
    prosa.durable._on_fault = action
    try:
        yield
    finally:
        prosa.durable._on_fault = None


def at(k: int, action: Action, *, name: str = "") -> Action:
    """`action` at the k-th durable operation (from 1), of that name if one is given."""
    count = 0

    def act(found: str, paths: tuple[Path, ...]) -> None:
        nonlocal count
        if name in ("", found):
            count += 1
            if count == k:
                action(found, paths)

    return act


def die(name: str, paths: tuple[Path, ...]) -> None:
    """Ends the process as `kill -9` and a pulled plug do: nothing is flushed, nothing cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)


def refuse(number: int) -> Action:
    """The operation fails with this errno."""

    def act(name: str, paths: tuple[Path, ...]) -> None:
        raise OSError(number, os.strerror(number))

    return act


def operations(work: Callable[[], object]) -> list[tuple[str, tuple[Path, ...]]]:
    """The durable operations of a piece of work, in order."""
    found: list[tuple[str, tuple[Path, ...]]] = []
    with faults(lambda name, paths: found.append((name, paths))):
        work()
    return found
