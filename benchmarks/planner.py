"""Whether `--minutes M` takes M minutes and ends at the bits per byte that the plan promised.

Pre-training by the planner on the town, on books and on Python's library, from tokens to model. What counts is the
stage itself, from its start to the finished model, compiling included. With --fit the runs are those that the
planner's prediction is fitted to, and its coefficients are printed.
"""

import math
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.data_paths import DataMissing, make_tokens
from benchmarks.measure import make_parser, prosa_words, read_words, run_process, say, write_result
from benchmarks.real_input import SMOKE
from benchmarks.run_facts import read_run

_CONFIGS = {"town": "quickstart.toml", "books": "livros.toml", "python": "python.toml"}
_MINUTES = (1.0, 3.0, 10.0)
# Held-back runs have other seeds than those that the prediction was fitted to, which had 0 to 2 and 100 on.
_FIT_SEED, _FIRST_SEED = 100, 3
_SMALL = {**SMOKE, "pretrain.minutes": 0.05, "pretrain.steps": 0}


def run_once(words: Sequence[str | Path], corpus: str, minutes: float, seed: int) -> dict[str, Any]:
    """One pre-training; seconds of the stage alone, and what came out beside what was promised."""
    run = Path(words[-1])
    for folder in (run / "base", run / "evaluation"):
        shutil.rmtree(folder, ignore_errors=True)
    changes = (f"pretrain.minutes={minutes}", f"pretrain.seed={seed}")
    run_process([*words, "--until", "base", *changes])
    facts, base = read_run(run), run / "base"
    # The stage takes its lock first and writes its model last; evaluation comes after it.
    seconds = (base / "model" / "config.json").stat().st_mtime - (base / "lock").stat().st_mtime
    return {
        "corpus": corpus,
        "minutes": minutes,
        "seed": seed,
        "seconds": seconds,
        "share": seconds / (60 * minutes),
        "parameters": facts["model"]["parameters"],
        "steps": facts["training"]["steps"],
        "tokens": facts["training"]["tokens"],
        "bits_per_byte": facts["evaluation"]["bits_per_byte"]["total"]["bits_per_byte"],
        **read_promise(run),
    }


def read_promise(run: Path) -> dict[str, Any]:
    """The band of bits per byte in the plan, if it has one, and what n-grams need for the same text."""
    from prosa.evaluate import ngram_bits_per_byte
    from prosa.pretrain import read_job
    from prosa.tokenizer import open_shards

    job = read_job(run / "base")
    assert job is not None
    promised = [choice.value.split(" to ") for choice in job.choices if choice.name == "bits per byte"]
    low, high = map(float, promised[0]) if promised else (None, None)
    shards = open_shards(run / "tokens", verify=False)
    return {"ngrams": [ngram_bits_per_byte(shards), ngram_bits_per_byte(shards, 1 / 5)], "low": low, "high": high}


def fit_bits(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Coefficients of `planner.predict_bits` by least squares, and how far each run is from what the others say."""
    import numpy as np

    from prosa.training.planner import describe_training

    rows = np.array([describe_training(one["ngrams"], one["tokens"]) for one in runs])
    wanted = np.array([math.log(one["bits_per_byte"]) for one in runs])
    kept = [np.arange(len(runs)) != place for place in range(len(runs))]
    others = [np.linalg.lstsq(rows[keep], wanted[keep], rcond=None)[0] for keep in kept]
    misses = [float(rows[place] @ found - wanted[place]) for place, found in enumerate(others)]
    coefficients = np.linalg.lstsq(rows, wanted, rcond=None)[0]
    return {"coefficients": coefficients.tolist(), "left_out_misses": misses}


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("planner", __doc__, needs_data=True)
    parser.set_defaults(seeds=1)
    parser.add_argument("--minutes", type=float, action="append", help="only these; may repeat (default: 1, 3, 10)")
    parser.add_argument("--corpus", choices=list(_CONFIGS), action="append", help="only these (default: all)")
    parser.add_argument("--fit", action="store_true", help="fit the prediction to these runs")
    chosen = read_words(parser, argv)
    first = _FIT_SEED if chosen.fit else _FIRST_SEED
    all_minutes = [0.05] if chosen.smoke else chosen.minutes or _MINUTES
    name, runs = "planner_fit" if chosen.fit else "planner", list[dict[str, Any]]()
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as temporary:
        for corpus in chosen.corpus or _CONFIGS:
            # In which one base model after the other is trained.
            run = Path(temporary) / corpus
            try:
                settings = make_tokens(_CONFIGS[corpus], chosen.data, run, _SMALL if chosen.smoke else {})
            except DataMissing as error:
                say(f"{corpus}: {error}")
                continue
            words = prosa_words("run", settings, "--run", run)
            for minutes in all_minutes:
                for seed in range(first, first + (1 if chosen.smoke else chosen.seeds)):
                    runs.append(run_once(words, corpus, minutes, seed))
                    said = {key: runs[-1][key] for key in ("share", "bits_per_byte", "low", "high")}
                    say(f"{corpus}, {minutes:g} minutes, seed {seed}: {said}")
                    result = {"runs": runs}
                    if chosen.fit and len(runs) > 5:
                        result |= fit_bits(runs)
                    write_result(name, result, chosen)
    if "coefficients" in result:
        say(f"coefficients {result['coefficients']}, left-out misses {result['left_out_misses']}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
