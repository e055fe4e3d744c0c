"""What reinforcement learning does to a fine-tuned model of the town: PPO, GRPO and RLOO from the same start.

Each seed lives a quickstart up to its reward model; then every algorithm improves the same policy against the same
reward model, and held-out tasks are asked before and after. The claim is a truth table: true worth, made-up answers,
known facts, form, refusals, ends, variety.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.data_paths import settings_with_data
from benchmarks.measure import REPO, make_parser, prosa_words, run_process, say, spread, write_result
from benchmarks.real_input import SMOKE

CONFIG = REPO / "configs" / "quickstart.toml"
ALGORITHMS = ("ppo", "grpo", "rloo")
_SHOWN = ("right", "hallucinates", "form", "over_refuses", "declines", "ends")
_SMOKE_LIFE = {"evaluate.cloze_items": 8, "sample.n_prompts": 24, "rl.steps": 2, "rl.prompts_per_step": 8}


def live(folder: Path, seed: int, *, is_smoke: bool) -> Path:
    """A run with a reward model."""
    settings = CONFIG
    if is_smoke:
        settings = settings_with_data(CONFIG, REPO, folder / "small.toml", SMOKE | _SMOKE_LIFE)
    run = folder / "run"
    seeds = [f"{section}.seed={seed}" for section in ("pretrain", "sft", "sample", "reward")]
    done = run_process(prosa_words("run", settings, *seeds, "--run", run, "--until", "reward"))
    say(f"seed {seed}: a life up to the reward model took {done.seconds:.0f} s")
    return run


def ask(run: Path, model: Path) -> dict[str, Any]:
    """Held-out tasks, greedy and sampled; what stands in the reports, and the spread of true worth."""
    reports = {}
    for name, options in (("greedy", ()), ("sampled", ("--sampled",))):
        words = prosa_words("evaluate", run, "--answers", "--model", model, *options, "--json")
        reports[name] = json.loads(run_process(words).stdout)
    return reports


def improve(run: Path, algorithm: str, seed: int) -> dict[str, Any]:
    """One algorithm from the fine-tuned model, with its course; the policy is set aside for the next one."""
    done = run_process(prosa_words("rl", run, "--algorithm", algorithm, f"rl.seed={seed}"))
    folder = run / f"policy-{algorithm}"
    (run / "policy").rename(folder)
    course = json.loads((folder / "course.json").read_text(encoding="utf-8"))
    return {"seconds": done.seconds, "course": course, **ask(run, folder / "model")}


def show(name: str, reports: dict[str, Any]) -> None:
    for way in ("greedy", "sampled"):
        report = reports[way]
        shares = {key: report["measures"][key]["all"]["share"] for key in _SHOWN}
        worth, variety = report["gold_reward"]["all"]["mean"], report["fluency"]["all"]["distinct_2"]
        said = ", ".join(f"{key} {value:.3f}" for key, value in shares.items())
        say(f"  {name:<5} {way:<8} worth {worth:.3f}, {said}, distinct-2 {variety:.3f}")


def run_seed(folder: Path, seed: int, *, is_smoke: bool) -> dict[str, Any]:
    run = live(folder, seed, is_smoke=is_smoke)
    found: dict[str, Any] = {"seed": seed, "sft": ask(run, run / "sft" / "model")}
    show("sft", found["sft"])
    card = json.loads((run / "reward" / "card.json").read_text(encoding="utf-8"))["card"]
    found["reward_accuracy"] = None if card is None else card["accuracy"]
    for algorithm in ALGORITHMS:
        found[algorithm] = improve(run, algorithm, seed)
        show(algorithm, found[algorithm])
    return found


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("rl_town", __doc__)
    parser.set_defaults(seeds=4)
    chosen = parser.parse_args(argv)
    runs = []
    for seed in range(1 if chosen.smoke else chosen.seeds):
        with tempfile.TemporaryDirectory() as folder:
            runs.append(run_seed(Path(folder), seed, is_smoke=chosen.smoke))
    seconds = {name: spread([run[name]["seconds"] for run in runs]) for name in ALGORITHMS}
    write_result(
        "rl_town",
        {"runs": runs, "seconds": seconds},
        command="python -m benchmarks.rl_town",
        folder=chosen.results,
        is_smoke=chosen.smoke,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
