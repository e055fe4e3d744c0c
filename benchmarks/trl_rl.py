"""PPO and GRPO beside TRL's: the same policy, reward model, prompts, answers a step and threads, in both precisions.

The job is the quickstart's: each seed is a life of the town up to its reward model. The programs take turns, each as a
whole process; one judge finds out what answers of each policy to held-out tasks are truly worth.
"""

import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import tomli_w

from benchmarks.measure import read_words, say, spread, write_result
from benchmarks.policies import ask_policy
from benchmarks.rl_town import live, start_life
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

_EPISODES, _PROMPTS, _MAX_NEW_TOKENS = 256, 2048, 48
_JUDGED_TASKS = 500
_RATE = 2e-4
# Closer than this, which is the standard error of a judgment, worths are called equal.
_EQUAL_WORTH = 0.03
# What both programs are told of each algorithm.
_JOBS: dict[str, dict[str, Any]] = {
    "ppo": {"kl": 0.1, "epochs": 2, "settings": {"prompts_per_step": 256, "answers_per_prompt": 1}},
    "grpo": {"kl": 0.04, "epochs": 1, "settings": {"prompts_per_step": 32, "answers_per_prompt": 8}},
}


class Town:
    """A life up to its reward model, with the prompts of both programs beside it, and the judge."""

    def __init__(self, folder: Path, work: Path, seed: int, *, is_smoke: bool) -> None:
        from prosa.config import read_settings
        from prosa.life_settings import LifeSettings, town_of, world_of

        live(start_life(folder, seed, is_smoke=is_smoke), "--until", "reward")
        run = folder / "run"
        life = read_settings(LifeSettings, run / "prosa.toml")
        world = world_of(life)
        assert world is not None
        self.world, self.source = world, town_of(life)
        self.folder, self.seed = work, seed
        self.start, self.reward = run / "sft" / "model", run / "reward" / "model"
        self.write_prompts()

    def write_prompts(self) -> None:
        from prosa.corpus import ReadReport
        from prosa.model import load_settings
        from prosa.preferences import SampleSettings, read_prompts
        from prosa.rl import encode_prompts
        from prosa.tokenizer import Tokenizer

        tokenizer, context_length = Tokenizer.load(self.start), load_settings(self.start).context_length
        wanted = SampleSettings(prompts=self.source, n_prompts=_PROMPTS, seed=self.seed + 1)
        prompts = read_prompts(wanted, ReadReport())
        encoded, _ = encode_prompts(tokenizer, prompts, context_length=context_length, max_new_tokens=_MAX_NEW_TOKENS)
        write_lines(self.folder / "prompts.jsonl", [{"messages": one.prompt.messages} for one in encoded])
        rows = [{"ids": list(one.ids), "text": tokenizer.decode(one.ids)} for one in encoded]
        write_lines(self.folder / "rows.jsonl", rows)

    def judge(self, model: Path) -> tuple[float, float]:
        """What answers to held-out tasks are worth, and how far they are from the start, in nats an answer."""
        from prosa.preferences import prompts_of_tasks
        from prosa.rl import worth_by_town

        languages = self.world.settings.languages
        n = _JUDGED_TASKS // len(languages)
        tasks = [task for language in languages for task in self.world.tasks(language, split="test", n=n)]
        answers, kl = ask_policy(model, self.start, prompts_of_tasks(tasks), max_new_tokens=_MAX_NEW_TOKENS, seed=0)
        return fmean(worth_by_town(self.world)(answers)), kl


def train_ours(town: Town, run: Path, algorithm: str, precision: str, steps: int, threads: int) -> Timed:
    """`prosa rl` as a user starts it, with the job's numbers and no others."""
    job = _JOBS[algorithm]
    settings = {
        "algorithm": algorithm,
        "reward": str(town.reward),
        "prompts": str(town.folder / "prompts.jsonl"),
        "n_prompts": _PROMPTS,
        "steps": steps,
        "max_new_tokens": _MAX_NEW_TOKENS,
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
    values = {"name": "vila", "corpus": {"sources": [{"path": town.source}]}, "rl": settings}
    run.mkdir(parents=True)
    (run / "prosa.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    timed = run_prosa(["rl", run, "--start", town.start], stage=run / "policy", threads=threads)
    # A round of answers counts as a step here, as TRL counts, not each of its updates.
    return replace(timed, steps=steps)


def train_trl(
    python: str, town: Town, folder: Path, algorithm: str, precision: str, steps: int, threads: int
) -> tuple[Timed, dict[str, float]]:
    """TRL's trainer in a process of its own; also the seconds of its answers and scores."""
    job = _JOBS[algorithm]
    words: list[str | Path] = [python, "-m", "benchmarks.trl_rl_peer", town.start, town.folder / "rows.jsonl", folder]
    words += ["--algorithm", algorithm, "--reward", town.reward, "--steps", str(steps)]
    words += ["--max-new-tokens", str(_MAX_NEW_TOKENS), "--kl-coefficient", str(job["kl"])]
    words += ["--epochs", str(job["epochs"])]
    words += ["--batch-size", str(_EPISODES), "--learning-rate", str(_RATE), "--seed", str(town.seed)]
    words += ["--threads", str(threads), *PRECISIONS[precision]]
    seconds, peak, out = run_measured(words, threads=threads)
    said = json.loads(out.strip().splitlines()[-1])
    return Timed(seconds, said["train_seconds"], peak, steps, folder / "model"), said["parts"]


def compare(python: str, folder: Path, chosen: Any, threads: int) -> dict[str, Any]:
    """By algorithm and precision: both programs in turns, each seed with a town of its own."""
    runs: dict[str, Any] = {name: defaultdict(lambda: defaultdict(list)) for name in _JOBS}
    parts: dict[str, Any] = {name: defaultdict(lambda: defaultdict(list)) for name in _JOBS}
    steps, seeds, precisions = chosen.steps, chosen.seeds, list(PRECISIONS)
    if chosen.smoke:
        steps, seeds, precisions = 2, 1, ["float32"]
    for seed in range(seeds):
        town = Town((chosen.keep or folder) / str(seed), folder / f"work-{seed}", seed, is_smoke=chosen.smoke)
        say(f"seed {seed}: before, worth {town.judge(town.start)[0]:.3f}")
        for algorithm in _JOBS:
            for precision in precisions:
                name = f"{algorithm}-{precision}"
                ours = train_ours(town, town.folder / f"prosa-{name}", algorithm, precision, steps, threads)
                course = json.loads((ours.folder.parent / "course.json").read_text(encoding="utf-8"))
                peer, peer_parts = train_trl(
                    python, town, town.folder / f"trl-{name}", algorithm, precision, steps, threads
                )
                for program, timed, seconds in (("prosa", ours, course["seconds"]), ("trl", peer, peer_parts)):
                    worth, kl = town.judge(timed.folder)
                    runs[algorithm][precision][program].append(replace(timed, quality=worth))
                    split = {**seconds, "updates": timed.train_seconds - sum(seconds.values()), "kl": kl}
                    parts[algorithm][precision][program].append(split)
                    said = f"{timed.train_seconds:6.1f} s training, worth {worth:.3f}, KL {kl:.1f}"
                    say(f"seed {seed} {name:15} {program:6} {timed.seconds:6.1f} s, {said}")
    return {
        algorithm: {
            "precisions": summarize(by_precision, is_higher_better=True, tolerance=_EQUAL_WORTH),
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
    parser.add_argument("--steps", type=int, default=6, help="of each training (default: 6)")
    parser.add_argument("--keep", type=Path, help="folder for the lives; those that rl_town kept will do")
    chosen = read_words(parser, argv)
    versions = peer_versions(chosen.peer_python)
    if versions is None:
        return 0
    threads = chosen.threads or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        found = compare(chosen.peer_python, Path(name), chosen, threads)
    shared = {"threads": threads, "learning_rate": _RATE, "peer_versions": versions, "steps": chosen.steps}
    write_result("trl_rl", {**shared, "algorithms": found}, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
