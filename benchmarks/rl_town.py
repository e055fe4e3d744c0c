"""What reinforcement learning does to a fine-tuned model of the town: PPO, GRPO and RLOO from the same start.

Each seed lives a quickstart up to its reward model; then every algorithm improves the same policy against the same
reward model, and held-out tasks are asked before and after; last, PPO's policy is ranked and improved a second time.
The claim is a truth table: true worth, made-up answers, known facts, form, refusals, ends, variety.
"""

import json
import shutil
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.data_paths import settings_with_data
from benchmarks.measure import REPO, make_parser, prosa_words, read_words, run_process, say, write_result
from benchmarks.real_input import SMOKE

CONFIG = REPO / "configs" / "quickstart.toml"
ALGORITHMS = ("ppo", "grpo", "rloo")
_SHOWN = ("right", "hallucinates", "form", "over_refuses", "declines", "ends")
_SMOKE_LIFE = {
    "evaluate.cloze_items": 8, "pretrain.context_length": 128, "sample.n_prompts": 48, "rl.steps": 6,
    "rl.prompts_per_step": 8, "sft.epochs": 0.1,
}  # fmt: skip


def start_life(folder: Path, seed: int, *, is_smoke: bool) -> list[str | Path]:
    """The words of `prosa run` for this seed's life."""
    settings = CONFIG
    if is_smoke:
        settings = settings_with_data(CONFIG, REPO, folder / "small.toml", SMOKE | _SMOKE_LIFE)
    seeds = [f"{section}.seed={seed}" for section in ("pretrain", "sft", "sample", "reward", "rl")]
    return [*prosa_words("run", settings, *seeds), "--run", folder / "run"]


def live(words: list[str | Path], *more: str) -> float:
    """Seconds of `prosa run` up to some stage."""
    return run_process([str(word) for word in (*words, *more)]).seconds


def ask(run: Path, model: Path) -> dict[str, Any]:
    """Held-out tasks, greedy and sampled: what `prosa evaluate` reports, both languages together."""
    reports = {}
    for name, options in (("greedy", ()), ("sampled", ("--sampled",))):
        words = prosa_words("evaluate", run, "--answers", "--model", model, *options, "--json")
        report = json.loads(run_process(words).stdout)
        reports[name] = {
            "measures": {key: {"all": found["all"]} for key, found in report["measures"].items() if "all" in found},
            "gold_reward": {"all": report["gold_reward"]["all"]},
            "fluency": {"all": report["fluency"]["all"]},
        }
    return reports


def improve(run: Path, algorithm: str, seed: int) -> dict[str, Any]:
    """One algorithm from the fine-tuned model, with its course; the policy is set aside for the next one."""
    if (run / "policy").exists():
        shutil.rmtree(run / "policy")
    done = run_process(prosa_words("rl", run, "--algorithm", algorithm, f"rl.seed={seed}"))
    folder = run / f"by-{algorithm}"
    (run / "policy").rename(folder)
    return {"seconds": done.seconds, **read_course(folder), **ask(run, folder / "model")}


def improve_again(run: Path, words: list[str | Path]) -> dict[str, Any]:
    """PPO's policy answers, is ranked, and learns from a reward model of both rounds."""
    if not list(run.glob("policy-round-*")):
        shutil.copytree(run / "by-ppo", run / "policy", dirs_exist_ok=True)
    seconds = live(words, "--until", "policy", "--round", "2")
    return {"seconds": seconds, **read_course(run / "policy"), **ask(run, run / "policy" / "model")}


def read_course(folder: Path) -> dict[str, Any]:
    course = json.loads((folder / "course.json").read_text(encoding="utf-8"))
    history = [[round(one[key], 4) for key in ("kl", "reward", "gold")] for one in course["history"]]
    return {"course": course | {"history": history}}


def show(name: str, reports: dict[str, Any]) -> None:
    for way in ("greedy", "sampled"):
        report = reports[way]
        shares = {key: report["measures"][key]["all"]["share"] for key in _SHOWN}
        worth, variety = report["gold_reward"]["all"]["mean"], report["fluency"]["all"]["distinct_2"]
        said = ", ".join(f"{key} {value:.3f}" for key, value in shares.items())
        say(f"  {name:<7} {way:<8} worth {worth:.3f}, {said}, distinct-2 {variety:.3f}")


def run_seed(folder: Path, seed: int, *, is_again: bool, is_smoke: bool) -> dict[str, Any]:
    """One seed, if `is_again` with its second round; what stands in `found.json` is not done again."""
    folder.mkdir(parents=True, exist_ok=True)
    run, notes, words = folder / "run", folder / "found.json", start_life(folder, seed, is_smoke=is_smoke)
    found: dict[str, Any] = json.loads(notes.read_text(encoding="utf-8")) if notes.is_file() else {"seed": seed}

    def keep(name: str, find: Callable[[], Any]) -> None:
        if name not in found:
            found[name] = find()
            notes.write_text(json.dumps(found), encoding="utf-8")
            if isinstance(found[name], dict) and "greedy" in found[name]:
                show(name, found[name])

    say(f"seed {seed}")
    keep("life_seconds", lambda: live(words, "--until", "reward"))
    keep("reward_accuracy", lambda: read_accuracy(run))
    keep("sft", lambda: ask(run, run / "sft" / "model"))
    for algorithm in ALGORITHMS:
        keep(algorithm, partial(improve, run, algorithm, seed))
    if is_again:
        keep("round 2", lambda: improve_again(run, words))
    return found


def read_accuracy(run: Path) -> Any:
    card = json.loads((run / "reward" / "card.json").read_text(encoding="utf-8"))["card"]
    return None if card is None else card["accuracy"]


def write(runs: list[dict[str, Any]], chosen: Any) -> None:
    """The result so far, that of a processor without fast bfloat16 apart: five minutes are a smaller model there."""
    import torch

    from prosa.config import read_settings
    from prosa.device import choose_device
    from prosa.life_settings import LifeSettings

    is_fast = choose_device().compute_dtype == torch.bfloat16
    write_result(
        "rl_town" if is_fast else "rl_town_float32",
        {"kl_target": read_settings(LifeSettings, CONFIG).rl.kl_target, "runs": runs},
        chosen,
    )


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("rl_town", __doc__)
    parser.set_defaults(seeds=4)
    parser.add_argument("--keep", type=Path, help="folder for the lives; with it, a run that was stopped goes on")
    chosen = read_words(parser, argv)
    seeds = range(1 if chosen.smoke else chosen.seeds)
    with tempfile.TemporaryDirectory() as temporary:
        lives = chosen.keep or Path(temporary)
        # All second rounds last.
        for is_again in (False, True):
            runs: list[dict[str, Any]] = []
            for seed in seeds:
                runs.append(run_seed(lives / str(seed), seed, is_again=is_again, is_smoke=chosen.smoke))
                write(runs, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
