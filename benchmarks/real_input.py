"""Real input: books in two languages, Python's own library, and an ordinary folder of mixed files.

Each job is `prosa run` on a settings file, as anybody would start it; what the finished run folder says is kept.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.data_paths import DataMissing, settings_with_data
from benchmarks.measure import REPO, make_parser, prosa_words, read_words, run_process, say, write_result
from benchmarks.mixed_folder import write_mixed_folder
from benchmarks.run_facts import read_run, write_samples

_MIXED_BYTES = 6_000_000
SMOKE = {
    "pretrain.minutes": 0,
    "pretrain.steps": 2,
    "pretrain.depth": 2,
    "pretrain.context_length": 32,
    "pretrain.batch_size": 4,
    "tokenizer.vocab_size": 300,
    "tokenizer.sample_bytes": 20_000,
    "evaluate.memorisation_texts": 1,
    "evaluate.memorisation_text_tokens": 60,
}


@dataclass(frozen=True, slots=True)
class Job:
    """One job: how long it trains, how its settings file is made, and what it is asked to go on from."""

    minutes: float
    settings: Callable[[Path, Path, dict[str, Any]], Path]
    prompts: tuple[str, ...]


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("real_input", __doc__, needs_data=True)
    parser.add_argument("--job", choices=sorted(JOBS), help="only this one")
    parser.add_argument("--minutes-scale", type=float, default=1.0, help="train for this share of the usual minutes")
    chosen = read_words(parser, argv)
    for name in [chosen.job] if chosen.job else JOBS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                result = run_job(name, Path(folder), chosen.data, chosen.minutes_scale, is_smoke=chosen.smoke)
            except DataMissing as error:
                say(f"{name}: {error}")
                continue
        write_result(f"real_input_{name}", result, chosen)
    return 0


def run_job(name: str, folder: Path, data: Path, minutes_scale: float, *, is_smoke: bool) -> dict[str, Any]:
    """The whole life of one job, and samples from its model."""
    job = JOBS[name]
    changes: dict[str, Any] = dict(SMOKE) if is_smoke else {"pretrain.minutes": job.minutes * minutes_scale}
    settings = job.settings(folder, data, changes)
    say(f"{name}: {job.minutes * minutes_scale:g} minutes of training")
    done = run_process(prosa_words("run", settings, "--run", folder / "run"))
    facts = read_run(folder / "run")
    samples = write_samples(folder / "run", job.prompts, max_new_tokens=8 if is_smoke else 120)
    return {"minutes": job.minutes * minutes_scale, "wall_seconds": done.seconds, "samples": samples, **facts}


def _livros(folder: Path, data: Path, changes: dict[str, Any]) -> Path:
    return settings_with_data(REPO / "configs" / "livros.toml", data, folder / "livros.toml", changes)


def _python(folder: Path, data: Path, changes: dict[str, Any]) -> Path:
    return settings_with_data(REPO / "configs" / "python.toml", data, folder / "python.toml", changes)


def _mixed(folder: Path, data: Path, changes: dict[str, Any]) -> Path:
    n_bytes = 100_000 if "pretrain.steps" in changes else _MIXED_BYTES
    write_mixed_folder(folder / "Documents", n_bytes)
    plain = folder / "plain.toml"
    source = {"path": str(folder / "Documents"), "name": "mixed", "licence": "CC0-1.0"}
    plain.write_text(tomli_w.dumps({"name": "mixed", "corpus": {"sources": [source]}}), encoding="utf-8")
    return settings_with_data(plain, data, folder / "mixed.toml", changes)


JOBS = {
    "livros": Job(20, _livros, ("Era uma vez", "Naquela manhã", "Once upon a time", "It was late when")),
    "python": Job(10, _python, ("def read_", "class ", "import os\n", "The built-in function")),
    "mixed": Job(3, _mixed, ("Era uma vez", "Once upon a time", "# Note", "def ")),
}


if __name__ == "__main__":
    sys.exit(main())
