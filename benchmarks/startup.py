"""How long a user waits: importing prosa, `prosa --help`, and the first token of a model folder.

Warm: files are in the system's memory. Cold: Python's and its packages' files were put out of it before each start
(Linux only; files that another process has open may stay).
"""

import os
import site
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import REPO, make_parser, prosa_words, run_process, say, spread, write_result

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
    chosen = parser.parse_args(argv)
    n_warm, n_cold = (1, 0) if chosen.smoke else (chosen.warm, chosen.cold)
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        size = "200KB" if chosen.smoke else "1MB"
        run_process(prosa_words("pretrain", f"world:small,size={size}", *_SMALL_RUN, "--run", run))
        model = run / "base" / "model"
        cases = {
            "python alone": [sys.executable, "-c", "pass"],
            "import prosa": [sys.executable, "-c", "import prosa"],
            "prosa --help": prosa_words("--help"),
            "import torch alone": [sys.executable, "-c", "import torch"],
            "first token": prosa_words("generate", model, "Era uma vez", "-m", "1"),
        }
        result = {name: measure(name, words, n_warm, n_cold) for name, words in cases.items()}
    write_result(
        "startup", result, command="python -m benchmarks.startup", folder=chosen.results, is_smoke=chosen.smoke
    )
    return 0


def measure(name: str, words: list[str], n_warm: int, n_cold: int) -> dict[str, Any]:
    """Wall times of whole processes; one uncounted start precedes the warm ones."""
    cold = []
    for _ in range(n_cold if hasattr(os, "posix_fadvise") else 0):
        forget_files()
        cold.append(run_process(words).seconds)
    run_process(words)
    warm = [run_process(words).seconds for _ in range(n_warm)]
    say(f"{name}: {sorted(warm)[len(warm) // 2]:.3f} s warm")
    return {"warm": spread(warm), "cold": spread(cold) if cold else None}


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
