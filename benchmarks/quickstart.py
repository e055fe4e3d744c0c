"""The quickstart's base model as a new user trains it, with several seeds: wall time, quality, world facts, speed.

What becomes of such a model when it learns to answer and to please is measured in `rl_town`.
"""

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.data_paths import settings_with_data
from benchmarks.measure import REPO, make_parser, prosa_words, read_words, run_process, say, spread, write_result
from benchmarks.real_input import SMOKE
from benchmarks.run_facts import read_run, write_samples

CONFIG = REPO / "configs" / "quickstart.toml"
_PROMPTS = ("Era uma vez em Vila Prosa", "Once upon a time in Vila Prosa")


def run_quickstart(folder: Path, seed: int, *, is_smoke: bool) -> dict[str, Any]:
    """One quickstart with its own seed for weights and data order."""
    settings = CONFIG
    if is_smoke:
        settings = settings_with_data(CONFIG, REPO, folder / "small.toml", SMOKE | {"evaluate.cloze_items": 8})
    words = prosa_words("run", settings, f"pretrain.seed={seed}", "--run", folder / "run", "--until", "base")
    done = run_process(words)
    facts = read_run(folder / "run")
    say(f"seed {seed}: {done.seconds:.0f} s, {facts['evaluation']['bits_per_byte']['total']['bits_per_byte']:.3f} bits")
    samples = write_samples(folder / "run", _PROMPTS, max_new_tokens=8 if is_smoke else 120)
    return {"seed": seed, "wall_seconds": done.seconds, "samples": samples, **facts}


def summarize(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Medians and spreads over the seeds; the whole of the first run, for curve and samples."""
    scores = [run["evaluation"]["bits_per_byte"]["total"]["bits_per_byte"] for run in runs]
    return {
        "wall_seconds": spread([run["wall_seconds"] for run in runs]),
        "bits_per_byte": spread(scores),
        "xz_bits_per_byte": runs[0]["evaluation"]["xz"]["total"],
        "tokens_per_second": spread([run["training"]["tokens_per_second"] for run in runs]),
        "matmul_share": spread([run["training"]["matmul_share"] for run in runs]),
        "cloze": [{"seed": run["seed"], **run["evaluation"]["cloze"]} for run in runs],
        "first": runs[0],
    }


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("quickstart", __doc__)
    parser.set_defaults(seeds=4)
    chosen = read_words(parser, argv)
    runs = []
    for seed in range(1 if chosen.smoke else chosen.seeds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(run_quickstart(Path(folder), seed, is_smoke=chosen.smoke))
    write_result("quickstart", summarize(runs), chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
