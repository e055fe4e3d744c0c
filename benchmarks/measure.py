"""What every benchmark shares: timed processes, medians with their spread, and results that say where they come from.

A benchmark hands in its numbers; `results/NAME.json` with command, machine, versions, commit and date goes out.
"""

import argparse
import json
import os
import platform
import re
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

REPO = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results"
DATA_HELP = "folder with the data sets that configs/*.toml call data/... (default: data)"
_PACKAGES = ("prosa", "torch", "transformers", "tokenizers", "tiktoken", "numpy")


@dataclass(frozen=True, slots=True)
class Spread:
    """Several measurements of one thing."""

    median: float
    low: float
    high: float
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Finished:
    """A process that ended well: its wall time from start to exit, and what it wrote to stdout."""

    seconds: float
    stdout: str


class BenchmarkFailed(Exception):
    """A measured process ended with an error; the message ends with what it said."""


def spread(values: Sequence[float]) -> Spread:
    """Median, lowest and highest of at least one value."""
    return Spread(statistics.median(values), min(values), max(values), tuple(values))


def run_process(words: Sequence[str], *, environment: Mapping[str, str] | None = None) -> Finished:
    """Runs a program in the repository and times it; raises BenchmarkFailed if it fails."""
    started = time.perf_counter()
    done = subprocess.run(
        list(words), cwd=REPO, env={**os.environ, **(environment or {})}, capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - started
    if done.returncode:
        raise BenchmarkFailed(f"{shlex.join(words)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return Finished(seconds, done.stdout)


def peak_bytes() -> int:
    """The most memory that this process had, not the one that started it, with which `ru_maxrss` begins on Linux."""
    status = Path("/proc/self/status")
    if status.is_file():
        return 1024 * int(status.read_text().split("VmHWM:")[1].split()[0])
    import resource

    # macOS counts bytes, the others kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def prosa_words(*words: str | Path) -> list[str]:
    """The command line of a `prosa` verb in this Python."""
    return [sys.executable, "-m", "prosa", *map(str, words)]


def make_parser(name: str, description: str | None, *, needs_data: bool = False) -> argparse.ArgumentParser:
    """The options that all benchmarks have: --results, --smoke, --seeds, and --data where texts are needed."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=description)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON of the results")
    parser.add_argument("--seeds", type=int, default=3, help="how many runs, each with its own seed (default: 3)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does it run at all? measures nothing")
    if needs_data:
        parser.add_argument("--data", type=Path, default=REPO / "data", help=DATA_HELP)
    return parser


def read_words(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The options, with the `command` that repeats them; a path goes by its option's name in capitals."""
    given = sys.argv[1:] if argv is None else argv
    chosen = parser.parse_args(given)
    # `--data=DATA` as `--data DATA`.
    words = [part for word in given for part in (word.split("=", 1) if word.startswith("--") else [word])]
    shown = [parser.prog]
    for option, word in zip(["", *words], words, strict=False):
        if "--results" not in (option, word):
            shown.append(option.strip("-").upper() if "/" in word else word)
    chosen.command = " ".join(shown)
    return chosen


def write_result(name: str, result: Mapping[str, Any], chosen: argparse.Namespace) -> Path:
    """`NAME.json` in the folder of results; a smoke result is marked as such, so that no page ever shows it.

    chosen: the options, by `read_words`.
    """
    record = {
        "benchmark": name,
        "command": chosen.command,
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "commit": describe_commit(),
        "machine": describe_machine(),
        "versions": describe_versions(),
        "is_smoke": chosen.smoke,
        "result": dict(result),
    }
    chosen.results.mkdir(parents=True, exist_ok=True)
    path = chosen.results / f"{name}.json"
    text = json.dumps(record, indent=1, ensure_ascii=False, default=_to_json)
    # Numbers of one list on one line; a line never ends within a text.
    text = re.sub(
        r"\[\n[\s\d.,e+-]+\]", lambda found: " ".join(found[0].split()).replace("[ ", "[").replace(" ]", "]"), text
    )
    path.write_text(text + "\n", encoding="utf-8")
    say(f"wrote {path}")
    return path


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, system and what products take, without any name of the machine."""
    import psutil
    import torch

    from prosa.device import measure_matmul

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.system(),
        "gflops": {name: round(measure_matmul("cpu", getattr(torch, name)) / 1e9) for name in ("float32", "bfloat16")},
        "load_at_the_end": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def describe_versions() -> dict[str, str]:
    """Python and the packages that the numbers depend on."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def describe_commit() -> str:
    """The commit of this checkout, with `+changes` when the program differs from it, or `` where there is no git."""
    # Results are left out, since each benchmark writes one.
    program = ["prosa", "configs", "benchmarks/*.py"]
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"], cwd=REPO, capture_output=True, text=True, check=True
        )
        changes = subprocess.run(
            ["git", "diff", "--name-only", "HEAD", "--", *program], cwd=REPO, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return commit.stdout.strip() + ("+changes" if changes.stdout else "")


def say(text: str) -> None:
    """A line for whoever waits."""
    print(text, file=sys.stderr, flush=True)


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _to_json(value: Any) -> Any:
    if isinstance(value, Spread):
        return asdict(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
