"""SIGTERM and SIGINT ask the loop to stop at the end of the step; asking twice changes nothing.

Windows has no SIGTERM from other processes; there Ctrl+C and Ctrl+Break do the same.
"""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass(slots=True)
class StopRequest:
    """Whether somebody asked this process to stop, and by which signal."""

    name: str = ""

    def __bool__(self) -> bool:
        return bool(self.name)


@contextmanager
def catch_stop_signals() -> Iterator[StopRequest]:
    """Turns stop signals into a StopRequest while the block runs; the former handlers come back afterwards."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(number: int, frame: FrameType | None) -> None:
        request.name = signal.Signals(number).name

    names = [name for name in ("SIGTERM", "SIGINT", "SIGBREAK") if hasattr(signal, name)]
    former = {name: signal.signal(getattr(signal, name), remember) for name in names}
    try:
        yield request
    finally:
        for name, handler in former.items():
            signal.signal(getattr(signal, name), handler)
