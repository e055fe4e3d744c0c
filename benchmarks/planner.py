"""Whether `--minutes M` takes M minutes: pre-training by the planner on the town and on books, from text to model.

What counts is the stage itself, from its start to the finished model, compiling included.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.data_paths import DataMissing, settings_with_data
from benchmarks.measure import REPO, make_parser, prosa_words, run_process, say, write_result
from benchmarks.real_input import SMOKE
from benchmarks.run_facts import read_run

_CONFIGS = {"town": "quickstart.toml", "books": "livros.toml"}
_MINUTES = (1.0, 3.0, 10.0)


def run_once(corpus: str, minutes: float, seed: int, data: Path, *, is_smoke: bool) -> dict[str, Any]:
    """One pre-training; seconds of the stage alone, and what came out."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        changes: dict[str, Any] = {"pretrain.seed": seed, **(SMOKE if is_smoke else {"pretrain.minutes": minutes})}
        settings = settings_with_data(REPO / "configs" / _CONFIGS[corpus], data, folder / "job.toml", changes)
        run = folder / "run"
        run_process(prosa_words("run", settings, "--run", run, "--until", "tokens"))
        run_process(prosa_words("run", settings, "--run", run, "--until", "base"))
        facts, base = read_run(run), run / "base"
        # The stage takes its lock first and writes its model last; evaluation comes after it.
        seconds = (base / "model" / "config.json").stat().st_mtime - (base / "lock").stat().st_mtime
        return {
            "corpus": corpus,
            "minutes": minutes,
            "seed": seed,
            "seconds": seconds,
            "share": seconds / (60 * minutes),
            "steps": facts["training"]["steps"],
            "bits_per_byte": facts["evaluation"]["bits_per_byte"]["total"]["bits_per_byte"],
        }


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("planner", __doc__, needs_data=True)
    parser.set_defaults(seeds=1)
    parser.add_argument("--minutes", type=float, action="append", help="only these; may repeat (default: 1, 3, 10)")
    chosen = parser.parse_args(argv)
    runs: list[dict[str, Any]] = []
    for corpus in _CONFIGS:
        for minutes in chosen.minutes or (_MINUTES[:1] if chosen.smoke else _MINUTES):
            for seed in range(1 if chosen.smoke else chosen.seeds):
                try:
                    runs.append(run_once(corpus, minutes, seed, chosen.data, is_smoke=chosen.smoke))
                except DataMissing as error:
                    say(f"{corpus}: {error}")
                    continue
                say(f"{corpus}, {minutes:g} minutes: {runs[-1]['share']:.3f} of them")
    write_result(
        "planner",
        {"runs": runs},
        command="python -m benchmarks.planner --data DATA",
        folder=chosen.results,
        is_smoke=chosen.smoke,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
