"""Numbers of a running job go in; metrics.jsonl, one progress bar and, if asked for, trackers come out.

metrics.jsonl is part of the result: but for the key "time" it is the same bytes for a run that was killed and resumed.
"""

import contextlib
import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import orjson

from prosa.errors import ConfigError, DataError
from prosa.rundir import fault_point, make_folder, storage_errors, sync_file, sync_folder, write_durably

if TYPE_CHECKING:
    from rich.console import Console
    from rich.live import Live
    from rich.progress import Progress as RichProgress

_PLAIN_LINE_SECONDS = 10.0


class MetricsLog:
    """An append-only file of one JSON object a line, in the order of steps.

    Opening drops what was written after `resume_step` (the steps after it are computed again) and a last line torn by
    a kill. Each record is handed to the system at once, so a kill loses at most the one being written; call `sync`
    before saving a checkpoint, so that a power cut cannot lose records of steps that the checkpoint has.
    """

    def __init__(self, path: Path, *, resume_step: int) -> None:
        self._path = path
        self._file: int | None = None
        make_folder(path.parent)
        if path.exists():
            _drop_after(path, resume_step)
        with storage_errors(path):
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o644)
            sync_folder(path.parent)
        self._bytes = os.fstat(self._file).st_size

    def write(self, step: int, values: Mapping[str, Any], *, timing: Mapping[str, float] | None = None) -> None:
        """Appends {"step": step, ...values by name, "time": timing}; a non-finite number becomes null.

        Raises StorageError if the disk refuses; the file then ends with the last whole record.
        """
        assert self._file is not None, "the log is closed"
        record: dict[str, Any] = {"step": step, **{key: values[key] for key in sorted(values)}}
        if timing is not None:
            record["time"] = dict(timing)
        line = orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_SERIALIZE_NUMPY)
        with storage_errors(self._path):
            try:
                fault_point("write", self._path)
                _write_all(self._file, line)
            except OSError:
                # Half a line in the middle would make the whole file unreadable.
                with contextlib.suppress(OSError):
                    os.ftruncate(self._file, self._bytes)
                raise
        self._bytes += len(line)

    def sync(self) -> None:
        """Makes all records so far durable."""
        with storage_errors(self._path):
            sync_file(self._path)

    def close(self) -> None:
        if self._file is not None:
            self.sync()
            os.close(self._file)
            self._file = None


def read_metrics(path: Path, *, with_time: bool = True) -> list[dict[str, Any]]:
    """The records of a log, also of one being written: a torn last line is left out.

    Raises DataError naming the line if another line is damaged.
    """
    records = [record for _, record in _records(path)]
    if not with_time:
        for record in records:
            record.pop("time", None)
    return records


def _drop_after(path: Path, resume_step: int) -> None:
    kept = b"".join(line for line, record in _records(path) if record["step"] <= resume_step)
    if len(kept) != path.stat().st_size:
        write_durably(path, kept)


def _records(path: Path) -> list[tuple[bytes, dict[str, Any]]]:
    lines = path.read_bytes().split(b"\n")
    # What follows the last line end is empty, or a line that a kill tore.
    lines.pop()
    records = []
    for line_number, line in enumerate(lines, start=1):
        try:
            record = orjson.loads(line)
            if not isinstance(record["step"], int):
                raise TypeError
        except (ValueError, KeyError, TypeError):
            hint = "move the file away: training goes on without this part of its history"
            raise DataError(f"`{path}:{line_number}` is not a record of this log", hint=hint) from None
        records.append((line + b"\n", record))
    return records


def _write_all(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


class Progress:
    """One progress bar on stderr; where that is not a terminal, a plain line about every ten seconds and at the end.

    NO_COLOR is respected. `total` None shows what is done without a share or a time left.
    """

    def __init__(self, description: str, total: int | None, *, unit: str = "step", is_shown: bool = True) -> None:
        self._description = description
        self._total = total
        self._unit = unit if unit.endswith("s") else f"{unit}s"
        self._is_shown = is_shown
        self._console: Console | None = None
        self._bar: RichProgress | None = None
        self._live: Live | None = None
        self._columns: dict[str, str] = {}
        self._completed = self._first_completed = 0
        self._started = self._first_updated = self._last_line = 0.0
        self._is_updated = self._is_printed = False

    def __enter__(self) -> Self:
        self._started = self._last_line = time.monotonic()
        if self._is_shown:
            from rich.console import Console

            self._console = Console(stderr=True, highlight=False)
            if self._console.is_interactive:
                self._start_bar(self._console)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        elif self._is_updated and not self._is_printed:
            self._print_line()

    def update(self, completed: int, **columns: str) -> None:
        """Shows that `completed` of the total are done, with `columns` as names and values."""
        now = time.monotonic()
        if not self._is_updated:
            # A resumed job starts far from zero: its rate counts from here.
            self._is_updated, self._first_completed, self._first_updated = True, completed, now
        self._completed, self._columns, self._is_printed = completed, columns, False
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=completed, done=self._done())
        elif now - self._last_line >= _PLAIN_LINE_SECONDS:
            self._print_line()

    def print(self, *renderables: Any) -> None:
        """Prints above the bar; a plain string is shown as it is, without markup."""
        if self._console is not None:
            self._console.print(*renderables, markup=False)

    def _start_bar(self, console: "Console") -> None:
        from rich.console import Group
        from rich.live import Live
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress
        from rich.text import Text

        columns = [TextColumn("{task.description}"), BarColumn(None), TextColumn("{task.fields[done]}", markup=False)]
        columns += [TimeElapsedColumn()]
        columns += [TextColumn("[dim]left[/]"), TimeRemainingColumn()] if self._total else []
        bar = self._bar = RichProgress(*columns, console=console, expand=True, speed_estimate_period=60)
        bar.add_task(self._description, total=self._total, done=self._done())

        def render() -> Group:
            free = Text("  ")
            for name, value in self._columns.items():
                free.append(f"{name.replace('_', ' ')} ", style="dim").append(f"{value}  ")
            return Group(bar, free) if self._columns else Group(bar)

        # Standard output carries data: it goes through the bar only where both are the same terminal.
        self._live = Live(
            get_renderable=render, console=console, refresh_per_second=4, redirect_stdout=sys.stdout.isatty()
        )
        self._live.start()

    def _print_line(self) -> None:
        now = self._last_line = time.monotonic()
        self._is_printed = True
        parts = [self._done(), *(f"{name.replace('_', ' ')} {value}" for name, value in self._columns.items())]
        parts.append(f"{_clock(now - self._started)} elapsed")
        n_since = self._completed - self._first_completed
        if self._total and n_since > 0 and self._completed < self._total:
            seconds_each = (now - self._first_updated) / n_since
            parts.append(f"{_clock((self._total - self._completed) * seconds_each)} left")
        if self._console is not None:
            self._console.print(f"{self._description}: " + ", ".join(parts), markup=False, soft_wrap=True)

    def _done(self) -> str:
        if not self._total:
            return f"{self._completed:,} {self._unit}"
        return f"{self._completed:,}/{self._total:,} {self._unit} {self._completed / self._total:4.0%}"


def _clock(seconds: float) -> str:
    minutes, seconds_left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds_left:02}"


class Trackers:
    """Optional copies of the metrics for TensorBoard ("tensorboard") and Weights & Biases ("wandb").

    Raises ConfigError for an unknown name or one whose package is not installed.
    """

    def __init__(
        self,
        names: Sequence[str],
        folder: Path,
        *,
        run_name: str = "",
        settings: Mapping[str, Any] | None = None,
        resume_step: int = 0,
    ) -> None:
        unknown = sorted(set(names) - {"tensorboard", "wandb"})
        if unknown:
            raise ConfigError(f"unknown tracker `{unknown[0]}`", hint="known trackers: tensorboard, wandb")
        self._tensorboard: Any = None
        self._wandb: Any = None
        if "tensorboard" in names:
            with _explain_missing("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter
            self._tensorboard = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1)
        if "wandb" in names:
            with _explain_missing("wandb"):
                import wandb
            name = run_name or folder.resolve().name
            self._wandb = wandb.init(project="prosa", name=name, dir=str(folder), config=dict(settings or {}))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Sends the finite numbers among `values`; the rest stays in metrics.jsonl alone."""
        numbers = {key: float(value) for key, value in values.items() if _is_finite_number(value)}
        if self._tensorboard is not None:
            for key, value in numbers.items():
                self._tensorboard.add_scalar(key, value, step)
        if self._wandb is not None:
            self._wandb.log(numbers, step=step)

    def close(self) -> None:
        if self._tensorboard is not None:
            self._tensorboard.close()
        if self._wandb is not None:
            self._wandb.finish()


def _is_finite_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@contextlib.contextmanager
def _explain_missing(name: str) -> Iterator[None]:
    try:
        yield
    except ImportError:
        raise ConfigError(f"the tracker `{name}` is not installed", hint=f"pip install 'prosa[{name}]'") from None
