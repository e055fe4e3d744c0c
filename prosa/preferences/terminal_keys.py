"""Keys pressed go in by name: single keys of a terminal, or characters from a pipe.

A name is the character itself, or enter, backspace, up, down, pageup, pagedown, home, end, escape, resize, quit.
"""

import codecs
import os
import select
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Protocol

_NAMES = {
    "\r": "enter",
    "\n": "enter",
    "\x7f": "backspace",
    "\b": "backspace",
    "\x1b": "escape",
    "\x03": "quit",
    "\x04": "quit",
}
_SEQUENCES = {
    "[A": "up",
    "[B": "down",
    "OA": "up",
    "OB": "down",
    "[5~": "pageup",
    "[6~": "pagedown",
    "[H": "home",
    "[F": "end",
    "OH": "home",
    "OF": "end",
    "[1~": "home",
    "[4~": "end",
}
_WINDOWS = {"H": "up", "P": "down", "I": "pageup", "Q": "pagedown", "G": "home", "O": "end"}
_ESCAPE_SECONDS = 0.05
_POLL_SECONDS = 0.5


class Keys(Protocol):
    def read(self) -> str:
        """The next key by name; "quit" at the end of the input."""


class PipeKeys:
    """Characters of a text stream, one key each."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def read(self) -> str:
        character = self._stream.read(1)
        return _NAMES.get(character, character) or "quit"


class TerminalKeys:
    """Keys of the terminal behind a file descriptor, which is in cbreak mode; polls, so that a resize is seen."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = ""
        self._size = shutil.get_terminal_size()

    def read(self) -> str:
        while not self._waiting:
            if not select.select([self._descriptor], [], [], _POLL_SECONDS)[0]:
                if (size := shutil.get_terminal_size()) != self._size:
                    self._size = size
                    return "resize"
                continue
            if not self._fill():
                return "quit"
        first, self._waiting = self._waiting[0], self._waiting[1:]
        return self._sequence() if first == "\x1b" else _NAMES.get(first, first)

    def _fill(self) -> bool:
        try:
            data = os.read(self._descriptor, 1024)
        except OSError:
            # The terminal is gone, as when a connection breaks.
            return False
        self._waiting += self._decoder.decode(data)
        return bool(data)

    def _sequence(self) -> str:
        """What follows an escape; sequences without a name are "escape" too, which does nothing anywhere."""
        if not self._waiting and select.select([self._descriptor], [], [], _ESCAPE_SECONDS)[0]:
            self._fill()
        if self._waiting[:1] not in ("[", "O"):
            return "escape"
        end = 1
        while end < len(self._waiting) and not "@" <= self._waiting[end] <= "~":
            end += 1
        sequence, self._waiting = self._waiting[: end + 1], self._waiting[end + 1 :]
        return _SEQUENCES.get(sequence, "escape")


class WindowsKeys:
    """Keys of the Windows console."""

    def read(self) -> str:
        if sys.platform == "win32":
            import msvcrt

            key = msvcrt.getwch()
            if key in ("\x00", "\xe0"):
                return _WINDOWS.get(msvcrt.getwch(), "escape")
            return "escape" if key == "\x1b" else _NAMES.get(key, key)
        raise AssertionError("not on Windows")


@contextmanager
def open_keys(stream: IO[str]) -> Iterator[Keys]:
    """The keys of a stream: if it is a terminal, one by one and without echo, and as it was again afterwards."""
    if not stream.isatty():
        yield PipeKeys(stream)
    elif sys.platform == "win32":
        import ctypes

        # Without this the older console shows escape sequences as text.
        ctypes.windll.kernel32.SetConsoleMode(ctypes.windll.kernel32.GetStdHandle(-11), 7)
        yield WindowsKeys()
    else:
        import termios
        import tty

        descriptor = stream.fileno()
        before = termios.tcgetattr(descriptor)
        try:
            # What was typed ahead is kept.
            tty.setcbreak(descriptor, termios.TCSADRAIN)
            yield TerminalKeys(descriptor)
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
