"""Training steps a second at four sizes, beside the same models in transformers and litgpt with AdamW.

In whole processes, litgpt's where a Python that has it is named. All learn from the same random ids. What is timed are
forward and backward of 4,096 tokens, and clipping with the optimizer; a step is four times the one and once the other,
16,384 tokens. Where the processor only imitates bfloat16, all is in float32, and the result is apart.
"""

import json
import statistics
import sys
from argparse import Namespace
from typing import Any

from benchmarks.limits import measure_products
from benchmarks.measure import BenchmarkFailed, Spread, make_parser, read_words, run_process, say, spread, write_result
from benchmarks.shapes import SHAPES, settings_of
from benchmarks.throughput_ours import TOKENS

STEP_TOKENS = 16_384
# Program, and the words for it.
WAYS = {
    "prosa bfloat16, compiled": ("ours", "bfloat16", "--compiled"),
    "prosa float32, compiled": ("ours", "float32", "--compiled"),
    "transformers float32": ("transformers", "float32"),
    "transformers bfloat16": ("transformers", "bfloat16"),
    "transformers float32, compiled": ("transformers", "float32", "--compiled"),
    "transformers bfloat16, compiled": ("transformers", "bfloat16", "--compiled"),
    "litgpt float32, compiled": ("litgpt", "float32", "--compiled"),
    "litgpt bfloat16, compiled": ("litgpt", "bfloat16", "--compiled"),
}
_CASES = [(name, context_length) for context_length in (256, 1024) for name in SHAPES]


def measure_case(
    name: str, context_length: int, ways: list[str], seconds: float, rounds: int, chosen: Namespace
) -> dict[str, Any]:
    """Every way in its turn, `rounds` times, each in a process of its own."""
    from prosa.model import flops_per_token

    said: dict[str, list[dict[str, Any]]] = {way: [] for way in ways}
    problems: dict[str, str] = {}
    for _ in range(rounds):
        for way in ways:
            program, *words = WAYS[way]
            python = chosen.litgpt_python if program == "litgpt" else sys.executable
            command = [python, "-m", f"benchmarks.throughput_{program}", name, str(context_length), *words]
            try:
                done = run_process([*command, "--seconds", str(seconds), "--threads", str(chosen.threads)])
            except BenchmarkFailed as error:
                problems[way] = str(error).strip().splitlines()[-1]
                say(f"{name}, {context_length}: {way}: {problems[way]}")
                continue
            said[way].append(json.loads(done.stdout.strip().splitlines()[-1]))
    found: dict[str, Any] = {"ways": {}, "problems": problems}
    for way in (way for way in ways if said[way]):
        times = [both for one in said[way] for both in one["times"]]
        rate: Spread = spread([STEP_TOKENS / (STEP_TOKENS / TOKENS * learned + moved) for learned, moved in times])
        found["ways"][way] = {
            "tokens_per_second": rate,
            "learn_seconds": statistics.median(learned for learned, _ in times),
            "update_seconds": statistics.median(moved for _, moved in times),
            "first_step_seconds": [one["first"] for one in said[way]],
            "peak_megabytes": max(one["peak_megabytes"] for one in said[way]),
            "loss": statistics.fmean(said[way][0]["losses"][-3:]),
        }
        say(f"{name}, {context_length}: {way} {rate.median:,.0f} tokens/s")
    found["flops_per_token"] = flops_per_token(settings_of(name, context_length), context_length)
    return found


def choose_ways(dtype: str, *, has_litgpt: bool) -> list[str]:
    """All that this machine can do at a reasonable speed."""
    dtypes = ("float32", dtype)
    return [way for way, words in WAYS.items() if words[1] in dtypes and (has_litgpt or words[0] != "litgpt")]


def main(argv: list[str] | None = None) -> int:
    from prosa.device import choose_device

    parser = make_parser("throughput", __doc__)
    parser.set_defaults(seeds=2)
    parser.add_argument("--size", choices=tuple(SHAPES), help="only this one")
    parser.add_argument("--threads", type=int, default=2, help="threads of all programs (default: 2)")
    parser.add_argument("--litgpt-python", default="", help="a Python that has litgpt and the same torch")
    chosen = read_words(parser, argv)
    cases = [case for case in _CASES if case[0] == (chosen.size or ("1M" if chosen.smoke else case[0]))]
    seconds, rounds = (0.1, 1) if chosen.smoke else (8.0, chosen.seeds)
    dtype = choose_device(threads=chosen.threads).dtype
    result: dict[str, Any] = {"threads": chosen.threads, "dtype": dtype, "cases": {}}
    if chosen.litgpt_python:
        ask = "from importlib.metadata import version; print(version('litgpt'), 'with torch', version('torch'))"
        result["litgpt"] = run_process([chosen.litgpt_python, "-c", ask]).stdout.strip()
    ways = choose_ways(dtype, has_litgpt=bool(chosen.litgpt_python))
    for name, context_length in cases[:1] if chosen.smoke else cases:
        before = measure_products(name, dtype, seconds / 30)["up"]
        found = measure_case(name, context_length, ways, seconds, rounds, chosen)
        after = measure_products(name, dtype, seconds / 30)["up"]
        result["cases"][f"{name}, {context_length}"] = found | {"product_gflops": max(before, after)}
        write_result("throughput" if dtype == "bfloat16" else f"throughput_{dtype}", result, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
