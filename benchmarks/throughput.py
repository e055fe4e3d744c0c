"""Training steps a second at four sizes, beside the same models in transformers with AdamW, in whole processes.

Both learn from the same random ids, 4,096 tokens a step; a step is forward, backward, clipped gradients and optimizer.
"""

import json
import statistics
import sys
from typing import Any

from benchmarks.limits import measure_products
from benchmarks.measure import BenchmarkFailed, Spread, make_parser, run_process, say, spread, write_result
from benchmarks.shapes import SHAPES, settings_of

# Program, and the words for it.
WAYS = {
    "prosa bfloat16, compiled": ("ours", "bfloat16", "--compiled"),
    "prosa float32, compiled": ("ours", "float32", "--compiled"),
    "transformers float32": ("transformers", "float32"),
    "transformers bfloat16": ("transformers", "bfloat16"),
    "transformers float32, compiled": ("transformers", "float32", "--compiled"),
    "transformers bfloat16, compiled": ("transformers", "bfloat16", "--compiled"),
}
_CASES = [*((name, 256) for name in SHAPES), ("14M", 1024), ("124M", 1024)]


def measure_case(name: str, context_length: int, seconds: float, threads: int) -> dict[str, Any]:
    """Every way once, in a process of its own."""
    from prosa.model import flops_per_token

    found: dict[str, Any] = {"ways": {}, "problems": {}}
    for way, (program, *words) in WAYS.items():
        command = [sys.executable, "-m", f"benchmarks.throughput_{program}", name, str(context_length), *words]
        try:
            done = run_process([*command, "--seconds", str(seconds), "--threads", str(threads)])
        except BenchmarkFailed as error:
            found["problems"][way] = str(error).strip().splitlines()[-1]
            say(f"{name}, {context_length}: {way}: {found['problems'][way]}")
            continue
        said = json.loads(done.stdout.strip().splitlines()[-1])
        rate: Spread = spread([said["tokens"] / one for one in said["steps"]])
        found["ways"][way] = {
            "tokens_per_second": rate,
            "first_step_seconds": said["first"],
            "peak_megabytes": said["peak_megabytes"],
            "loss": statistics.fmean(said["losses"][-3:]),
        }
        say(f"{name}, {context_length}: {way} {rate.median:,.0f} tokens/s, {said['peak_megabytes']:,.0f} MB")
    settings = settings_of(name, context_length)
    found["flops_per_token"] = flops_per_token(settings, context_length)
    return found


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("throughput", __doc__)
    parser.add_argument("--size", choices=tuple(SHAPES), help="only this one")
    parser.add_argument("--threads", type=int, default=2, help="threads of both programs (default: 2)")
    chosen = parser.parse_args(argv)
    cases = [case for case in _CASES if case[0] == (chosen.size or ("1M" if chosen.smoke else case[0]))]
    seconds = 0.1 if chosen.smoke else 15.0
    products = {name: measure_products(name, "bfloat16", seconds / 60)["up"] for name in {name for name, _ in cases}}
    found = {
        f"{name}, {context_length}": measure_case(name, context_length, seconds, chosen.threads)
        | {"product_gflops": products[name]}
        for name, context_length in (cases[:1] if chosen.smoke else cases)
    }
    write_result(
        "throughput",
        {"threads": chosen.threads, "cases": found},
        command="python -m benchmarks.throughput",
        folder=chosen.results,
        is_smoke=chosen.smoke,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
