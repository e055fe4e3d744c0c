"""All benchmarks in turn, then the page: `python -m benchmarks [--data DATA]`, or `make bench`."""

import argparse
import sys
from pathlib import Path

from benchmarks import (
    agreement,
    attention,
    decoding,
    human_rewards,
    limits,
    lm_eval,
    planner,
    quality,
    quickstart,
    real_input,
    recipe,
    report,
    reward_kwise,
    reward_learning,
    rl_learning,
    rl_town,
    shakespeare,
    shakespeare_best,
    startup,
    throughput,
    tokenizer,
    trl_reward,
    trl_rl,
    trl_sft,
    world,
)
from benchmarks.measure import DATA_HELP, REPO, RESULTS, BenchmarkFailed, say

# In the order of what they cost, hours last.
_ALONE = (
    startup, world, tokenizer, attention, limits, decoding, throughput, quickstart, trl_sft, trl_reward, trl_rl,
    reward_kwise, reward_learning, rl_learning, rl_town,
)  # fmt: skip
_WITH_DATA = (lm_eval, planner, agreement, shakespeare, shakespeare_best, real_input, human_rewards, recipe, quality)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--data", type=Path, default=REPO / "data", help=DATA_HELP)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--page", type=Path, default=REPO / "docs" / "benchmarks.md")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes: does everything run? measures nothing")
    chosen = parser.parse_args(argv)
    shared = ["--results", str(chosen.results), *(["--smoke"] if chosen.smoke else [])]
    data = ["--data", str(chosen.data)]
    failed = []
    for benchmark in (*_ALONE, *_WITH_DATA):
        words = shared + data if benchmark in _WITH_DATA else shared
        try:
            benchmark.main(words)
        except BenchmarkFailed as error:
            # One broken benchmark should not cost the hours of the others.
            say(f"{benchmark.__name__} failed: {error}")
            failed.append(benchmark.__name__)
    report.write_report(chosen.results, chosen.page)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
