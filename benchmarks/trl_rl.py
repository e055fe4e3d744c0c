"""PPO and GRPO beside TRL's: the same policy, reward model, prompts, answers a step and threads, in both precisions.

The programs take turns, each as a whole process; one judge finds out what new answers of each policy are truly worth.
A policy of letters (`rl_letters.py`) in the quickstart's shape, so that the truth is known.
"""

import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.measure import say, spread, write_result
from benchmarks.rl_letters import MAX_NEW_TOKENS, LetterTown, ask
from benchmarks.trl_peers import (
    PRECISIONS,
    Timed,
    make_peer_parser,
    peer_versions,
    run_measured,
    run_prosa,
    summarize,
    write_lines,
)

_SHAPE = {"n_layer": 3, "width": 192}
_EPISODES, _RANKINGS, _PROMPTS = 256, 300, 2048
_RATE = 3e-4
# What both programs are told of each algorithm.
_JOBS: dict[str, dict[str, Any]] = {
    "ppo": {"kl": 0.1, "epochs": 2, "settings": {"prompts_per_step": 256, "answers_per_prompt": 1}},
    "grpo": {"kl": 0.04, "epochs": 1, "settings": {"prompts_per_step": 32, "answers_per_prompt": 8}},
}


def write_job(folder: Path, seed: int, *, rankings: int, prompts: int, shape: dict[str, int]) -> LetterTown:
    """A town with its fine-tuned model, `reward/` and the prompts of both programs."""
    from prosa.rl import encode_prompts

    town = LetterTown(folder, seed, **shape)
    town.train_reward("reward", town.rank(town.start, rankings, 1))
    asked = ask("train", prompts)
    encoded, _ = encode_prompts(town.tokenizer, asked, context_length=96, max_new_tokens=MAX_NEW_TOKENS)
    write_lines(folder / "prompts.jsonl", [{"messages": one.messages} for one in asked])
    texts = [town.tokenizer.decode(one.ids) for one in encoded]
    rows = [{"ids": list(one.ids), "text": text} for one, text in zip(encoded, texts, strict=True)]
    write_lines(folder / "rows.jsonl", rows)
    return town


def train_ours(town: LetterTown, run: Path, algorithm: str, precision: str, steps: int, threads: int) -> Timed:
    """`prosa rl` as a user starts it, with the job's numbers and no others."""
    job = _JOBS[algorithm]
    settings = {
        "algorithm": algorithm,
        "reward": str(town.folder / "reward" / "model"),
        "prompts": str(town.folder / "prompts.jsonl"),
        "n_prompts": _PROMPTS,
        "steps": steps,
        "max_new_tokens": MAX_NEW_TOKENS,
        "kl_coefficient": job["kl"],
        "update_epochs": job["epochs"],
        "critic_warmup": 0,
        "learning_rate": _RATE,
        "dtype": precision,
        "threads": threads,
        "seed": town.seed,
        "save_every": 10**6,
        **job["settings"],
    }
    values = {"name": "letters", "corpus": {"sources": [{"path": "world:small"}]}, "rl": settings}
    run.mkdir(parents=True)
    (run / "prosa.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    timed = run_prosa(["rl", run, "--start", town.start], stage=run / "policy", threads=threads)
    # A round of answers counts as a step here, as TRL counts, not each of its updates.
    return replace(timed, steps=steps)


def train_trl(
    python: str, town: LetterTown, folder: Path, algorithm: str, precision: str, steps: int, threads: int
) -> tuple[Timed, dict[str, float]]:
    """TRL's trainer in a process of its own; also the seconds of its answers and scores."""
    job = _JOBS[algorithm]
    words: list[str | Path] = [python, "-m", "benchmarks.trl_rl_peer", town.start, town.folder / "rows.jsonl", folder]
    words += ["--algorithm", algorithm, "--reward", town.folder / "reward" / "model", "--steps", str(steps)]
    words += [
        "--max-new-tokens",
        str(MAX_NEW_TOKENS),
        "--kl-coefficient",
        str(job["kl"]),
        "--epochs",
        str(job["epochs"]),
    ]
    words += ["--batch-size", str(_EPISODES), "--learning-rate", str(_RATE), "--seed", str(town.seed)]
    words += ["--threads", str(threads), *PRECISIONS[precision]]
    seconds, peak, out = run_measured(words, threads=threads)
    said = json.loads(out.strip().splitlines()[-1])
    return Timed(seconds, said["train_seconds"], peak, steps, folder / "model"), said["parts"]


def compare(python: str, folder: Path, chosen: Any, threads: int) -> dict[str, Any]:
    """By algorithm and precision: both programs in turns, each seed with a town of its own."""
    runs: dict[str, Any] = {name: defaultdict(lambda: defaultdict(list)) for name in _JOBS}
    parts: dict[str, Any] = {name: defaultdict(lambda: defaultdict(list)) for name in _JOBS}
    sizes: dict[str, Any] = {"rankings": _RANKINGS, "prompts": _PROMPTS, "shape": _SHAPE}
    steps, seeds, precisions = chosen.steps, chosen.seeds, list(PRECISIONS)
    if chosen.smoke:
        sizes, steps, seeds, precisions = {"rankings": 40, "prompts": 512, "shape": {}}, 2, 1, ["float32"]
    for seed in range(seeds):
        town = write_job(folder / str(seed), seed, **sizes)
        start = town.measure(town.start)
        say(f"seed {seed}: before, worth {start.gold:.2f}")
        for algorithm in _JOBS:
            for precision in precisions:
                name = f"{algorithm}-{precision}"
                ours = train_ours(town, town.folder / f"prosa-{name}", algorithm, precision, steps, threads)
                course = json.loads((ours.folder.parent / "course.json").read_text(encoding="utf-8"))
                peer, peer_parts = train_trl(
                    python, town, town.folder / f"trl-{name}", algorithm, precision, steps, threads
                )
                for program, timed, seconds in (("prosa", ours, course["seconds"]), ("trl", peer, peer_parts)):
                    measured = town.measure(timed.folder)
                    runs[algorithm][precision][program].append(replace(timed, quality=measured.gold))
                    split = {**seconds, "updates": timed.train_seconds - sum(seconds.values()), "kl": measured.kl}
                    parts[algorithm][precision][program].append(split)
                    said = f"{timed.train_seconds:6.1f} s training, worth {measured.gold:.2f}, KL {measured.kl:.1f}"
                    say(f"seed {seed} {name:15} {program:6} {timed.seconds:6.1f} s, {said}")
    return {
        algorithm: {
            "precisions": summarize(by_precision, is_higher_better=True, tolerance=0.1),
            "parts": {
                precision: {program: spread_each(rows) for program, rows in programs.items()}
                for precision, programs in parts[algorithm].items()
            },
        }
        for algorithm, by_precision in runs.items()
    }


def spread_each(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    return {key: spread([row[key] for row in rows]) for key in rows[0]}


def main(argv: list[str] | None = None) -> int:
    parser = make_peer_parser("trl_rl", __doc__)
    parser.add_argument("--steps", type=int, default=24, help="of each training (default: 24)")
    chosen = parser.parse_args(argv)
    versions = peer_versions(chosen.peer_python)
    if versions is None:
        return 0
    threads = chosen.threads or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        found = compare(chosen.peer_python, Path(name), chosen, threads)
    shared = {"threads": threads, "learning_rate": _RATE, "peer_versions": versions, "steps": chosen.steps}
    write_result(
        "trl_rl",
        {**shared, "algorithms": found},
        command="python -m benchmarks.trl_rl --peer-python PYTHON_WITH_TRL",
        folder=chosen.results,
        is_smoke=chosen.smoke,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
