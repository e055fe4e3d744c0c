"""What the planner's rates and their course bring beside others, after equally many steps.

Each row is `prosa pretrain` on one of two corpora, with one model and batch, and with one of the planner's choices
multiplied. One sample of the validation split judges all of them.
"""

import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.data_paths import DataMissing, make_tokens
from benchmarks.measure import make_parser, prosa_words, read_words, run_process, say, spread, write_result
from benchmarks.real_input import SMOKE
from benchmarks.tables import show_spread, table

_STEPS, _JUDGED_TOKENS = 500, 100_000
_JOB = {"pretrain.minutes": 0, "pretrain.steps": _STEPS, "pretrain.batch_size": 16}
# As small as the planner takes them for one minute and for five.
_CORPORA: dict[str, tuple[str, dict[str, Any]]] = {
    "books": ("livros.toml", {"tokenizer.vocab_size": 4096, "pretrain.depth": 2, "pretrain.d_model": 128}),
    "town": ("quickstart.toml", {"pretrain.depth": 3, "pretrain.d_model": 192}),
}
# What is multiplied, and by how much; the planner's own choices come first.
_ROWS = (
    ("", 1),
    ("weight_decay", 1 / 3),
    ("weight_decay", 3),
    ("learning_rate", 1 / 2),
    ("learning_rate", 2),
    ("matrix_learning_rate", 1.5),
    ("cooldown_fraction", 2 / 3),
)


def read_own(settings: Path, run: Path) -> dict[str, float]:
    """The planner's choices that rows multiply."""
    fit = json.loads(run_process(prosa_words("plan", settings, "--run", run, "--json")).stdout)["fit"]
    return fit["optimizer"] | {"cooldown_fraction": fit["cooldown_steps"] / fit["steps"]}


def train(settings: Path, run: Path, seed: int, changes: Mapping[str, float]) -> float:
    """Bits per byte of one pre-training in a run that has tokens."""
    from prosa.evaluate import bits_per_byte
    from prosa.model import load_model
    from prosa.tokenizer import open_shards

    shutil.rmtree(run / "base", ignore_errors=True)
    values = [f"pretrain.{name}={value:.6g}" for name, value in changes.items()]
    run_process([*prosa_words("pretrain", settings, "--run", run), f"pretrain.seed={seed}", *values])
    shards = open_shards(run / "tokens", verify=False)
    return bits_per_byte(load_model(run / "base" / "model"), shards, max_tokens=_JUDGED_TOKENS).total.bits_per_byte


def compare(corpus: str, settings: Path, run: Path, seeds: int) -> list[dict[str, Any]]:
    """Every row, seed by seed; `change` is the mean over seeds of what a row has more or less than the first."""
    own = read_own(settings, run)
    bits: list[list[float]] = [[] for _ in _ROWS]
    for seed in range(seeds):
        for found, (name, factor) in zip(bits, _ROWS, strict=True):
            found.append(train(settings, run, seed, {name: factor * own[name]} if name else {}))
            say(f"{corpus}, seed {seed}, {name or 'own'} x {factor:.2f}: {found[-1]:.4f}")
    return [
        {
            "corpus": corpus,
            "name": name,
            "own": own.get(name),
            "factor": factor,
            "bits_per_byte": spread(found),
            "change": statistics.fmean(mine / first - 1 for mine, first in zip(found, bits[0], strict=True)),
        }
        for found, (name, factor) in zip(bits, _ROWS, strict=True)
    ]


def write_recipe(record: dict[str, Any]) -> str:
    """The section of the page."""
    rows = []
    for row in record["result"]["rows"]:
        settings, change = "the planner's own", ""
        if row["name"]:
            settings = f"`{row['name']}` {row['factor'] * row['own']:.2g} instead of {row['own']:.2g}"
            change = f"{row['change']:+.1%}"
        rows.append((row["corpus"], settings, show_spread(row["bits_per_byte"], 3), change))
    n_seeds = len(record["result"]["rows"][0]["bits_per_byte"]["values"])
    of_one = "of one seed, and small ones may be chance (the log says how far seeds differ)"
    changes = "means over the seeds" if n_seeds > 1 else of_one
    return "\n".join(
        (
            f"{_STEPS} steps of 16 rows of 256 tokens: a model of 2 x 128 reads books in two languages (vocabulary",
            "4,096), one of 3 x 192 the built-in town (2,048). All judged by the same part of their validation split;",
            f"changes are {changes}.\n",
            table(("text", "settings", "bits per byte", "beside the planner's own"), rows),
        )
    )


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("recipe", __doc__, needs_data=True)
    parser.add_argument("--corpus", choices=list(_CORPORA), action="append", help="only these (default: all)")
    chosen = read_words(parser, argv)
    rows = list[dict[str, Any]]()
    with tempfile.TemporaryDirectory() as name:
        for corpus in chosen.corpus or _CORPORA:
            config, job = _CORPORA[corpus]
            run = Path(name) / corpus
            try:
                settings = make_tokens(config, chosen.data, run, _JOB | job | (SMOKE if chosen.smoke else {}))
            except DataMissing as error:
                say(f"{corpus}: {error}")
                continue
            rows += compare(corpus, settings, run, 1 if chosen.smoke else chosen.seeds)
            write_result("recipe", {"rows": rows}, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
