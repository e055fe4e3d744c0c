"""What this machine can do at most, and where the time of a training step goes.

Matrix products in the shapes of the four sizes, memory bandwidth, then training steps under torch's profiler: how much
of a step are matrix products, attention, the compiler's own loops, the optimizer, and everything else.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.measure import make_parser, read_words, say, write_result
from benchmarks.shapes import SHAPES, settings_of

_TOKENS, _CONTEXT_LENGTH = 4096, 256
_DTYPES = ("float32", "bfloat16")
_BANDWIDTH_BYTES = 512 * 2**20
# By what operations are called in torch's profiler; the first that fits.
_KINDS = {
    "attention": ("scaled_dot_product", "_softmax"),
    "products": ("aten::mm", "aten::bmm", "aten::addmm", "aten::baddbmm", "mkldnn", "onednn"),
    "compiled loops": ("cpp_fused", "graph_", "Compiled"),
    "AdamW": ("_fused_adamw",),
}


def best_seconds(run: Callable[[], Any], seconds: float) -> float:
    """Of one call, the fastest within some time."""
    run()
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return best


def measure_products(name: str, dtype_name: str, seconds: float) -> dict[str, float]:
    """GFLOP/s of the products of one size: into a block's width, up, down, and into the vocabulary."""
    import torch

    _, d_model, _, d_ff, vocab_size = SHAPES[name]
    dtype: torch.dtype = getattr(torch, dtype_name)
    found = {}
    shapes = {
        "block": (d_model, d_model),
        "up": (d_model, d_ff),
        "down": (d_ff, d_model),
        "words": (d_model, vocab_size),
    }
    for part, (n_in, n_out) in shapes.items():
        x, weight = torch.randn(_TOKENS, n_in, dtype=dtype), torch.randn(n_out, n_in, dtype=dtype)
        best = best_seconds(lambda x=x, weight=weight: torch.nn.functional.linear(x, weight), seconds)  # type: ignore[misc]
        found[part] = 2 * _TOKENS * n_in * n_out / best / 1e9
    return found


def measure_bandwidth(seconds: float, n_bytes: int) -> dict[str, float]:
    """GB/s of a copy (read and written), and of weights read once by a product with one row, as decoding reads them."""
    import torch

    source = torch.zeros(n_bytes, dtype=torch.uint8)
    target = torch.empty_like(source)
    found = {"copy": 2 * n_bytes / best_seconds(lambda: target.copy_(source), seconds) / 1e9}
    for name in _DTYPES:
        dtype: torch.dtype = getattr(torch, name)
        width = 1024
        weight = torch.zeros(n_bytes // width // dtype.itemsize, width, dtype=dtype)
        row = torch.zeros(1, width, dtype=dtype)
        best = best_seconds(lambda row=row, weight=weight: torch.nn.functional.linear(row, weight), seconds)  # type: ignore[misc]
        found[f"one row, {name}"] = n_bytes / best / 1e9
    return found


def profile_step(name: str, dtype_name: str, *, is_compiled: bool, seconds: float) -> dict[str, Any]:
    """Milliseconds of a training step of 4,096 tokens, by phase and by kind of operation."""
    import torch
    from torch.profiler import ProfilerActivity, profile, record_function

    from prosa.model import Transformer, flops_per_token, init_weights
    from prosa.pretrain import loss
    from prosa.training import Batch, MuonAdamW, OptimizerSettings

    settings = settings_of(name, _CONTEXT_LENGTH)
    dtype: torch.dtype = getattr(torch, dtype_name)
    model = Transformer(settings).train()
    init_weights(model, 0)
    optimizer = MuonAdamW(model, OptimizerSettings(), dtype)
    ids = torch.randint(settings.vocab_size, (_TOKENS // _CONTEXT_LENGTH, _CONTEXT_LENGTH))
    batch, learn = Batch(ids, ids), torch.compile(loss, dynamic=False) if is_compiled else loss

    def step() -> None:
        with record_function("phase forward"), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            total, _ = learn(model, batch)
        with record_function("phase backward"):
            (total / _TOKENS).backward()
        with record_function("phase optimizer"):
            optimizer.step(1.0)
            model.zero_grad(set_to_none=True)

    started = time.perf_counter()
    step()
    first = time.perf_counter() - started
    best = best_seconds(step, seconds)
    with profile(activities=[ProfilerActivity.CPU]) as watched:
        step()
    phases, kinds = {}, defaultdict[str, float](float)
    for row in watched.key_averages():
        if row.key.startswith("phase "):
            phases[row.key.removeprefix("phase ")] = row.cpu_time_total / 1000
        else:
            kind = next((kind for kind, words in _KINDS.items() if any(word in row.key for word in words)), "other")
            kinds[kind] += row.self_cpu_time_total / 1000
    flops = _TOKENS * flops_per_token(settings, _CONTEXT_LENGTH)
    return {
        "first_step_seconds": first,
        "milliseconds": 1000 * best,
        "tokens_per_second": _TOKENS / best,
        "gflops": flops / best / 1e9,
        "phases": phases,
        "kinds": dict(kinds),
    }


def main(argv: list[str] | None = None) -> int:
    from prosa.device import keep_freed_memory

    parser = make_parser("limits", __doc__)
    parser.add_argument("--size", choices=tuple(SHAPES), help="only this one")
    chosen = read_words(parser, argv)
    keep_freed_memory()
    sizes = [chosen.size] if chosen.size else ["1M"] if chosen.smoke else list(SHAPES)
    seconds = 0.01 if chosen.smoke else 1.0
    bandwidth = measure_bandwidth(seconds, _BANDWIDTH_BYTES // (64 if chosen.smoke else 1))
    say("GB/s: " + ", ".join(f"{name} {rate:.1f}" for name, rate in bandwidth.items()))
    found: dict[str, Any] = {}
    for name in sizes:
        products = {dtype: measure_products(name, dtype, seconds / 4) for dtype in _DTYPES}
        say(f"{name} GFLOP/s: {products}")
        steps = {}
        # Where bfloat16 is emulated, a step of a large model would take minutes, and nobody would train so.
        is_slow = products["bfloat16"]["up"] < products["float32"]["up"] / 2
        for dtype in _DTYPES[: 1 if is_slow else 2]:
            for is_compiled in (False,) if chosen.smoke else (False, True):
                way = f"{dtype}, {'compiled' if is_compiled else 'eager'}"
                steps[way] = profile_step(name, dtype, is_compiled=is_compiled, seconds=5 * seconds)
                say(f"{name} {way}: {steps[way]}")
        found[name] = {"products": products, "steps": steps}
    write_result("limits", {"bandwidth": bandwidth, "sizes": found}, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
