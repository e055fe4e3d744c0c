"""Attention alone, forward and backward: torch's fused one beside ours, by row width and number type."""

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.measure import make_parser, read_words, say, write_result

_TOKENS, _HEADS, _D = 4096, 6, 32


def time_attention(width: int, dtype_name: str, repeats: int) -> dict[str, float]:
    """Median milliseconds for about 4,096 tokens in rows of `width`, torch's own and ours."""
    import torch
    import torch.nn.functional as F

    from prosa.model.transformer import attend

    dtype: torch.dtype = getattr(torch, dtype_name)
    shape = (max(1, _TOKENS // width), _HEADS, width, _D)
    q, k, v = (torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3))
    ways: dict[str, Callable[[], Any]] = {
        "torch": lambda: F.scaled_dot_product_attention(q, k, v, is_causal=True),
        "prosa": lambda: attend(q, k, v, None),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for repeat in range(repeats + 2):
        for name, way in ways.items():
            started = time.perf_counter()
            way().sum().backward()
            if repeat >= 2:
                times[name].append(1000 * (time.perf_counter() - started))
    return {name: statistics.median(values) for name, values in times.items()}


def main(argv: list[str] | None = None) -> int:
    from prosa.device import keep_freed_memory

    chosen = read_words(make_parser("attention", __doc__), argv)
    keep_freed_memory()
    rows = []
    for dtype in ("bfloat16", "float32"):
        for width in (32,) if chosen.smoke else (32, 64, 128, 256, 512):
            row = {"dtype": dtype, "width": width, **time_attention(width, dtype, 2 if chosen.smoke else 20)}
            say(f"{dtype} rows of {width}: torch {row['torch']:.1f} ms, prosa {row['prosa']:.1f} ms")
            rows.append(row)
    write_result("attention", {"rows": rows}, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
