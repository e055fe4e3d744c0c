"""What the planner's weight decay, rates and their course bring beside others, after equally many steps.

Each row is `prosa pretrain` on books, with one model and batch, and with what the row names in place of the planner's
own choice. One sample of the validation split judges all of them.
"""

import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.data_paths import DataMissing, make_tokens
from benchmarks.measure import make_parser, prosa_words, read_words, run_process, say, spread, write_result
from benchmarks.real_input import SMOKE
from benchmarks.tables import show_spread, table

_JOB = {
    "tokenizer.vocab_size": 4096,
    "pretrain.minutes": 0,
    "pretrain.depth": 2,
    "pretrain.d_model": 128,
    "pretrain.batch_size": 16,
}
_JUDGED_TOKENS = 100_000
# The planner's own choice comes first; its rate of AdamW is 0.00707 for this width.
ROWS: tuple[dict[str, float], ...] = (
    {},
    *({"weight_decay": value} for value in (0.05, 0.1, 0.3, 0.6)),
    {"cooldown_fraction": 0.4},
    {"learning_rate": 0.01414},
)


def train(words: list[str], run: Path, changes: dict[str, float], seed: int) -> float:
    """Bits per byte of one pre-training in a run that has tokens."""
    from prosa.evaluate import bits_per_byte
    from prosa.model import load_model
    from prosa.tokenizer import open_shards

    shutil.rmtree(run / "base", ignore_errors=True)
    run_process([*words, f"pretrain.seed={seed}", *(f"pretrain.{name}={value}" for name, value in changes.items())])
    shards = open_shards(run / "tokens", verify=False)
    return bits_per_byte(load_model(run / "base" / "model"), shards, max_tokens=_JUDGED_TOKENS).total.bits_per_byte


def compare(words: list[str], run: Path, steps: int, seeds: int) -> list[dict[str, Any]]:
    """Every row, seed by seed; `change` is the mean over seeds of what a row has more or less than the first."""
    bits: list[list[float]] = [[] for _ in ROWS]
    for seed in range(seeds):
        for found, changes in zip(bits, ROWS, strict=True):
            found.append(train([*words, f"pretrain.steps={steps}"], run, changes, seed))
            say(f"{steps} steps, seed {seed}, {changes}: {found[-1]:.4f}")
    return [
        {
            "steps": steps,
            "changes": changes,
            "bits_per_byte": spread(found),
            "change": statistics.fmean(mine / first - 1 for mine, first in zip(found, bits[0], strict=True)),
        }
        for changes, found in zip(ROWS, bits, strict=True)
    ]


def write_recipe(record: dict[str, Any]) -> str:
    """The section of the page."""
    rows = []
    for row in record["result"]["rows"]:
        named = ", ".join(f"`{name}` {value:g}" for name, value in row["changes"].items()) or "the planner's own"
        change = f"{row['change']:+.1%}" if row["changes"] else ""
        rows.append((f"{row['steps']:,}", named, show_spread(row["bits_per_byte"], 3), change))
    return "\n".join(
        (
            "A model of 2 x 128 (vocabulary 4,096, 16 rows of 256 a step) reads a part of Portuguese and English books",
            "once. All judged by the same part of the validation split; changes are means over the seeds.\n",
            table(("steps", "settings", "bits per byte", "beside the first"), rows),
        )
    )


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("recipe", __doc__, needs_data=True)
    parser.add_argument("--steps", type=int, action="append", help="only so many; may repeat (default: 250, 500, 1500)")
    chosen = read_words(parser, argv)
    with tempfile.TemporaryDirectory() as name:
        run = Path(name) / "run"
        try:
            settings = make_tokens("livros.toml", chosen.data, run, _JOB | (SMOKE if chosen.smoke else {}))
        except DataMissing as error:
            say(str(error))
            return 0
        words, rows = prosa_words("pretrain", settings, "--run", run), list[dict[str, Any]]()
        for steps in [3] if chosen.smoke else chosen.steps or [250, 500, 1500]:
            rows += compare(words, run, steps, 1 if chosen.smoke else chosen.seeds)
            write_result("recipe", {"rows": rows}, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
