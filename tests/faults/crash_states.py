"""What a power cut may leave: every state in which unsynced bytes and unsynced names are partly lost.

After the idea of ALICE (Pillai et al., OSDI 2014): the operations of a save are recorded, then replayed on a model of
a file system that promises no more than POSIX does. Bytes are safe after the file's fsync, names after the folder's;
before that, any subset of the changes to a folder may have happened, and a file may be empty, cut, or full of zeros.
"""

import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.injection import faults

State = dict[str, bytes | None]  # path -> bytes of a file, None for a folder


@dataclass(eq=False)
class _File:
    latest: bytes = b""
    durable: bytes | None = None

    def variants(self) -> list[bytes]:
        if self.durable is not None:
            return [self.durable]
        size = len(self.latest)
        return [b"", self.latest[: size // 2], bytes(size), self.latest]


@dataclass(eq=False)
class _Folder:
    durable: dict[str, "_Node"] = field(default_factory=dict)
    # A change sets these names to these nodes, or removes a name (None).
    pending: list[dict[str, "_Node | None"]] = field(default_factory=list)

    def after(self, changes: list[dict[str, "_Node | None"]]) -> dict[str, "_Node"]:
        entries: dict[str, _Node | None] = {**self.durable}
        for change in changes:
            entries.update(change)
        return {name: node for name, node in entries.items() if node is not None}

    def current(self) -> dict[str, "_Node"]:
        return self.after(self.pending)


_Node = _File | _Folder


@dataclass(frozen=True)
class CrashState:
    """Files and folders that a power cut before operation number `time` may leave."""

    time: int
    files: State

    def write_to(self, root: Path) -> None:
        for name, data in sorted(self.files.items()):
            if data is None:
                (root / name).mkdir(parents=True, exist_ok=True)
            else:
                (root / name).write_bytes(data)


def crash_states(root: Path, work: Callable[[], object], *, limit: int, seed: int) -> list[CrashState]:
    """The different states a power cut during `work` (or just after it) may leave under `root`.

    At most `limit` of them, drawn at random, but always those of the last instant: what `work` promised by returning.
    """
    replay = _Replay(root)
    seen: dict[tuple[tuple[str, bytes | None], ...], CrashState] = {}
    snapshots: list[tuple[str, tuple[Path, ...], bytes]] = []

    def record(name: str, paths: tuple[Path, ...]) -> None:
        content = paths[0].read_bytes() if name == "fsync" else b""
        snapshots.append((name, paths, content))

    with faults(record):
        work()
    # A file's bytes are known at its fsync; those written and not yet synced are the same.
    for index, (name, paths, _) in enumerate(snapshots):
        if name == "write":
            later = (s[2] for s in snapshots[index:] if s[0] == "fsync" and s[1] == paths)
            snapshots[index] = (name, paths, next(later, b"never synced"))
    for time, (name, paths, content) in enumerate(snapshots):
        replay.apply(name, paths, content)
        for files in replay.states():
            seen[tuple(sorted(files.items()))] = CrashState(time + 1, files)
    states = list(seen.values())
    last = [state for state in states if state.time == len(snapshots)]
    rest = [state for state in states if state.time != len(snapshots)]
    random.Random(seed).shuffle(rest)
    return last + rest[: max(0, limit - len(last))]


class _Replay:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.top = _read_folder(root)

    def apply(self, name: str, paths: tuple[Path, ...], content: bytes) -> None:
        if name == "fsync_folder":
            folder = self._find(paths[0])
            assert isinstance(folder, _Folder)
            folder.durable, folder.pending = folder.current(), []
        elif name == "fsync":
            file = self._find(paths[0])
            assert isinstance(file, _File)
            file.latest = file.durable = content
        elif name == "rename":
            before, after = paths
            assert before.parent == after.parent
            self._parent(before).pending.append({before.name: None, after.name: self._find(before)})
        elif name == "remove":
            self._parent(paths[0]).pending.append({paths[0].name: None})
        else:
            node = _Folder() if name == "mkdir" else _File(content)
            assert name in ("mkdir", "write")
            self._parent(paths[0]).pending.append({paths[0].name: node})

    def states(self) -> Iterator[State]:
        yield from self._folder_states(self.top, "")

    def _folder_states(self, folder: _Folder, prefix: str) -> Iterator[State]:
        for mask in itertools.product((False, True), repeat=len(folder.pending)):
            changes = [change for change, happened in zip(folder.pending, mask, strict=True) if happened]
            parts: list[list[State]] = []
            for name, node in folder.after(changes).items():
                path = f"{prefix}{name}"
                if isinstance(node, _File):
                    parts.append([{path: data} for data in node.variants()])
                else:
                    parts.append([{path: None} | inner for inner in self._folder_states(node, f"{path}/")])
            for combination in itertools.product(*parts):
                yield {key: value for part in combination for key, value in part.items()}

    def _find(self, path: Path) -> "_Node":
        node: _Node = self.top
        for part in path.relative_to(self.root).parts:
            assert isinstance(node, _Folder)
            node = node.current()[part]
        return node

    def _parent(self, path: Path) -> _Folder:
        folder = self._find(path.parent)
        assert isinstance(folder, _Folder)
        return folder


def _read_folder(path: Path) -> _Folder:
    entries: dict[str, _Node] = {}
    for item in path.iterdir():
        entries[item.name] = _read_folder(item) if item.is_dir() else _File(item.read_bytes(), item.read_bytes())
    return _Folder(entries)
