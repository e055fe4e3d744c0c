"""What both comparisons with TRL share: whole processes with their time and memory, and what becomes of the numbers."""

import json
import statistics
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import BenchmarkFailed, make_parser, prosa_words, run_process, say, spread

TRL = "1.9.2"
# By what people call them: name of the number format, and the peer's flag for it.
PRECISIONS: dict[str, tuple[str, ...]] = {"float32": (), "bfloat16": ("--bf16",)}
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
# A child's peak begins with its parent's, so a small process stands between.
_WATCH = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w", encoding="utf-8") as note:
    note.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
_VERSIONS = "import json,transformers,trl;print(json.dumps([trl.__version__,transformers.__version__]))"


@dataclass(frozen=True, slots=True)
class Timed:
    """One training process: how long it took in all and in its steps, the most memory it held, how good the result is.

    `quality` is 0 until the judge has seen the folder.
    """

    seconds: float
    train_seconds: float
    peak_bytes: int
    steps: int
    folder: Path
    quality: float = 0.0


def make_peer_parser(name: str, description: str | None) -> ArgumentParser:
    """The options of both benchmarks."""
    parser = make_parser(name, description)
    parser.add_argument(
        "--peer-python", default=sys.executable, help=f"a Python that has trl {TRL} (default: this one, extra `peers`)"
    )
    parser.add_argument("--threads", type=int, default=0, help="threads of both programs (default: the cores)")
    return parser


def peer_versions(python: str) -> dict[str, str] | None:
    """Versions of TRL and transformers in that Python; None, after saying so, where it has not the right TRL."""
    try:
        done = run_process([python, "-c", _VERSIONS], environment=_OFFLINE)
        trl, transformers = json.loads(done.stdout)
    except (OSError, BenchmarkFailed, ValueError):
        trl, transformers = "", ""
    if trl == TRL:
        return {"trl": trl, "transformers": transformers}
    say(f"`{python}` has trl {trl or 'not at all'}, wanted {TRL}: nothing measured; `pip install prosa[peers]`")
    return None


def run_measured(words: Sequence[str | Path], *, threads: int) -> tuple[float, int, str]:
    """Seconds from start to exit, the most bytes of memory held, and what the program wrote to stdout.

    Raises BenchmarkFailed if it fails.
    """
    with tempfile.TemporaryDirectory() as name:
        note = Path(name) / "peak"
        watched = [sys.executable, "-I", "-c", _WATCH, str(note), *map(str, words)]
        done = run_process(watched, environment={**_OFFLINE, "OMP_NUM_THREADS": str(threads)})
        # macOS counts bytes, the others kilobytes.
        peak = int(note.read_text(encoding="utf-8")) * (1 if sys.platform == "darwin" else 1024)
    return done.seconds, peak, done.stdout


def run_peer(python: str, module: str, words: Sequence[str | Path], *, folder: Path, threads: int) -> Timed:
    """One training by TRL."""
    command = [python, "-m", module, *words, "--threads", str(threads)]
    seconds, peak, out = run_measured(command, threads=threads)
    said = json.loads(out.strip().splitlines()[-1])
    return Timed(seconds, said["train_seconds"], peak, said["steps"], folder / "model")


def run_prosa(words: Sequence[str | Path], *, stage: Path, threads: int) -> Timed:
    """One training by a verb of ours; seconds of the steps are those that its own metrics say."""
    seconds, peak, _ = run_measured(prosa_words(*words), threads=threads)
    lines = (stage / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [json.loads(line)["time"]["seconds"] for line in lines]
    return Timed(seconds, sum(steps), peak, len(steps), stage / "model")


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """A jsonl file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a jsonl file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def summarize(
    runs: Mapping[str, Mapping[str, Sequence[Timed]]],
    *,
    is_higher_better: bool,
    tolerance: float,
    n_learned: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """By precision: spreads of all programs, and seed by seed the time of `trl` as a multiple of that of `prosa`.

    n_learned: tokens that each program learns in a run, for its rate. The claim: at least twice as fast from start to
    end, as good on average (within `tolerance`, or two standard errors of the difference), memory not higher.
    """
    found: dict[str, Any] = {}
    for precision, programs in runs.items():
        ours, peers = programs["prosa"], programs["trl"]
        sign = 1 if is_higher_better else -1
        gains = [sign * (a.quality - b.quality) for a, b in zip(ours, peers, strict=True)]
        error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else 0.0
        ratios = {
            "whole": spread([b.seconds / a.seconds for a, b in zip(ours, peers, strict=True)]),
            "training": spread([b.train_seconds / a.train_seconds for a, b in zip(ours, peers, strict=True)]),
            "memory": spread([b.peak_bytes / a.peak_bytes for a, b in zip(ours, peers, strict=True)]),
        }
        is_as_good = statistics.fmean(gains) >= -max(tolerance, 2 * error)
        found[precision] = {
            "programs": {name: _spreads(timed, (n_learned or {}).get(name, 0)) for name, timed in programs.items()},
            "ratios": ratios,
            "mean_gain": statistics.fmean(gains),
            "gain_standard_error": error,
            "is_as_good": is_as_good,
            "is_met": is_as_good and ratios["whole"].median >= 2 and ratios["memory"].median >= 1,
        }
    return found


def _spreads(timed: Sequence[Timed], n_learned: int) -> dict[str, Any]:
    found: dict[str, Any] = {
        "seconds": spread([one.seconds for one in timed]),
        "train_seconds": spread([one.train_seconds for one in timed]),
        "peak_megabytes": spread([one.peak_bytes / 1e6 for one in timed]),
        "quality": spread([one.quality for one in timed]),
        "steps": timed[0].steps,
    }
    if n_learned:
        found["learned_tokens_per_second"] = spread([n_learned / one.train_seconds for one in timed])
    return found
