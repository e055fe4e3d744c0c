"""docs/benchmarks.md from benchmarks/results/*.json: every number on the page comes from a file that says its origin.

`python -m benchmarks.report` writes the page and, with matplotlib, its curves; a result that is missing, or only a
smoke test, is said to be missing.
"""

import argparse
import json
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks import (
    agreement,
    recipe,
    report_real_input,
    report_reward,
    report_rl,
    report_shakespeare,
    report_small,
    report_speed,
    report_trl,
)
from benchmarks.curves import draw_curve
from benchmarks.measure import REPO, RESULTS, say

_HEAD = """# Benchmarks

Everything here is measured, by the command that stands beside it, and written by `python -m benchmarks.report` from
`benchmarks/results/*.json`: do not edit this page. `make bench` runs all of it (some hours); each command runs alone.
Data sets are found in the folder given as `--data` (configs/livros.toml says which). Spreads are lowest to highest.
Why marks of speed are missed, and what was tried, stands in the [log](log.md#marks-that-are-missed-and-why).
"""

Section = Callable[[dict[str, Any]], str]
# In the order of the page: result, heading, what turns the result into text.
_SECTIONS: tuple[tuple[str, str, Section], ...] = (
    ("quickstart", "Quickstart", report_small.write_quickstart),
    ("rl_town", "Learning to answer, at the quickstart's size", report_small.write_answers),
    ("shakespeare", "Tiny Shakespeare beside nanoGPT's CPU recipe", report_shakespeare.write_shakespeare),
    ("shakespeare_best_8", "Tiny Shakespeare in eight minutes", report_shakespeare.write_best),
    ("shakespeare_best_30", "Tiny Shakespeare in thirty minutes", report_shakespeare.write_best),
    ("real_input_livros", "Real input: books in Portuguese and English", report_real_input.write_job),
    ("real_input_python", "Real input: Python's own library and documentation", report_real_input.write_job),
    ("real_input_mixed", "Real input: an ordinary folder", report_real_input.write_job),
    ("reward_learning", "What a reward model learns, and from how much", report_reward.write_learning),
    ("reward_kwise", "Whole rankings or pairs", report_reward.write_kwise),
    ("agreement", "How far people agree", agreement.write_agreement),
    ("human_rewards", "Reward models of real rankings", report_reward.write_human),
    ("rl_learning", "Reinforcement learning where the truth is known", report_rl.write_learning),
    ("rl_town", "What reinforcement learning does to the town", report_rl.write_town),
    ("rl_town_float32", "The same without fast bfloat16", report_rl.write_town),
    ("trl_sft", "Fine-tuning beside TRL", report_trl.write_sft),
    ("trl_reward", "A reward model beside TRL", report_trl.write_reward),
    ("trl_rl", "Reinforcement learning beside TRL", report_trl.write_rl),
    ("lm_eval", "Test sets beside lm-evaluation-harness", report_small.write_lm_eval),
    ("quality_3", "What three minutes bring, beside transformers", report_speed.write_quality),
    ("quality_10", "What ten minutes bring, beside transformers", report_speed.write_quality),
    ("quality_30", "What thirty minutes bring, beside transformers", report_speed.write_quality),
    ("recipe", "Weight decay, rates and their course", recipe.write_recipe),
    ("planner", "Whether minutes are minutes", report_speed.write_planner),
    ("throughput", "Training steps, beside transformers", report_speed.write_throughput),
    ("throughput_float32", "Training steps without fast bfloat16, beside litgpt too", report_speed.write_throughput),
    ("decoding", "Writing, beside transformers and llama.cpp", report_speed.write_decoding),
    ("startup", "Starting", report_small.write_startup),
    ("world", "The built-in town and the corpus", report_small.write_world),
    ("tokenizer", "Tokenizer", report_small.write_tokenizer),
    ("limits", "What this machine can do at most", report_speed.write_limits),
    ("attention", "Attention of short rows", report_small.write_attention),
)


def write_report(results: Path, page: Path) -> None:
    """Writes `page`, and the curves of all runs beside it in `benchmarks/`."""
    parts = [_HEAD]
    for name, heading, write in _SECTIONS:
        record = read_result(results / f"{name}.json")
        if record is None:
            parts.append(f"## {heading}\n\nNot measured yet.\n")
            continue
        curve = find_curve(record["result"])
        if curve and find_spec("matplotlib"):
            draw_curve(curve, page.parent / "benchmarks" / f"{name}.svg", title=heading)
        parts.append(f"## {heading}\n\n{write(record)}\n{write_origin(record)}")
    page.write_text("\n".join(parts), encoding="utf-8")
    say(f"wrote {page}")


def read_result(path: Path) -> dict[str, Any] | None:
    """The record of a measurement, or None if there is none or it is a smoke test's."""
    if not path.is_file():
        return None
    record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return None if record["is_smoke"] else record


def find_curve(result: dict[str, Any]) -> dict[str, Any] | None:
    """The curve of a result that is a run or has one."""
    curve: dict[str, Any] | None = result.get("curve") or result.get("first", {}).get("curve")
    return curve


def write_origin(record: dict[str, Any]) -> str:
    """Command, machine, date, commit and versions, in small print."""
    machine, versions = record["machine"], record["versions"]
    packages = ", ".join(f"{name} {version}" for name, version in versions.items())
    rates = ", ".join(f"{rate} GFLOP/s in {name}" for name, rate in machine.get("gflops", {}).items())
    return (
        f"`{record['command']}` on {machine['cores']} cores of {machine['processor']}, {machine['memory_gb']} GB, "
        f"{machine['system']}, {rates + ', ' if rates else ''}load {machine['load_at_the_end']} at the end; "
        f"{record['date']}, commit {record['commit'] or 'unknown'}; {packages}.\n"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.report", description=__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=REPO / "docs" / "benchmarks.md")
    chosen = parser.parse_args(argv)
    write_report(chosen.results, chosen.page)
    return 0


if __name__ == "__main__":
    sys.exit(main())
