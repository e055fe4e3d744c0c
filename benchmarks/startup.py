"""How long a user waits: importing prosa, `prosa --help`, the first token of a model folder, the first training step.

Warm: files are in the system's memory. Cold: Python's and its packages' files were put out of it before each start
(Linux only; files that another process has open may stay), and what torch.compile kept was thrown away.
"""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measure import (
    REPO,
    BenchmarkFailed,
    make_parser,
    prosa_words,
    read_words,
    run_process,
    say,
    spread,
    write_result,
)

_SMALL_RUN = (
    "pretrain.steps=1",
    "pretrain.depth=4",
    "pretrain.context_length=256",
    "pretrain.batch_size=4",
    "tokenizer.vocab_size=2048",
)


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("startup", __doc__)
    parser.add_argument("--warm", type=int, default=10, help="warm starts of each (default: 10)")
    parser.add_argument("--cold", type=int, default=3, help="cold starts of each (default: 3)")
    chosen = read_words(parser, argv)
    n_warm, n_cold = (1, 0) if chosen.smoke else (chosen.warm, chosen.cold)
    with tempfile.TemporaryDirectory() as name:
        run, cache = Path(name) / "run", Path(name) / "cache"
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(cache)
        size = "200KB" if chosen.smoke else "1MB"
        train = prosa_words("pretrain", f"world:small,size={size}", *_SMALL_RUN, "--run", run)
        run_process(train)
        model = Path(name) / "model"
        shutil.copytree(run / "base" / "model", model)
        cases = {
            "python alone": [sys.executable, "-c", "pass"],
            "import prosa": [sys.executable, "-c", "import prosa"],
            "prosa --help": prosa_words("--help"),
            "import torch alone": [sys.executable, "-c", "import torch"],
            "first token": prosa_words("generate", model, "Era uma vez", "-m", "1"),
        }
        ways = {name: partial(time_whole, words) for name, words in cases.items()}
        for name, choice in (("first training step", "no"), ("first training step, compiled", "yes")):
            ways[name] = partial(time_first_step, [*train, f"pretrain.compile={choice}"], run / "base")
        result = {name: measure(name, start, cache, n_warm, n_cold) for name, start in ways.items()}
    write_result("startup", result, chosen)
    return 0


def measure(name: str, start: Callable[[], float], cache: Path, n_warm: int, n_cold: int) -> dict[str, Any]:
    """Seconds of starts; one uncounted start precedes the warm ones."""
    cold = []
    for _ in range(n_cold if hasattr(os, "posix_fadvise") else 0):
        forget_files()
        shutil.rmtree(cache, ignore_errors=True)
        cold.append(start())
    start()
    warm = [start() for _ in range(n_warm)]
    say(f"{name}: {sorted(warm)[len(warm) // 2]:.3f} s warm")
    return {"warm": spread(warm), "cold": spread(cold) if cold else None}


def time_whole(words: list[str]) -> float:
    """Wall time of a whole process."""
    return run_process(words).seconds


def time_first_step(words: list[str], stage: Path) -> float:
    """Seconds from the start of a process that trains anew in `stage` to the record of its first step."""
    shutil.rmtree(stage, ignore_errors=True)
    metrics = stage / "metrics.jsonl"
    started = time.perf_counter()
    with subprocess.Popen(words, cwd=REPO, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None:
                raise BenchmarkFailed(f"no training step came of {words}")
            time.sleep(0.005)
        return time.perf_counter() - started


def forget_files() -> None:
    """Asks the system to drop Python's library, all installed packages and this repository from its memory."""
    folders = {sysconfig.get_paths()["stdlib"], sysconfig.get_paths()["platstdlib"], *site.getsitepackages()}
    for folder in [*map(Path, folders), REPO / "prosa"]:
        for path in folder.rglob("*"):
            if path.suffix in (".py", ".pyc", ".so") or ".so." in path.name:
                with path.open("rb") as file:
                    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    sys.exit(main())
