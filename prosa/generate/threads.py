"""How many threads write fastest: more than a small model keeps busy only wait for each other."""

import time

import torch

from prosa.generate.engine import decode_one_token, prefill
from prosa.model import Transformer

_ROUNDS, _STEPS, _PROMPT_TOKENS = 5, 3, 16


def choose_threads(model: Transformer, *, n_rows: int = 1) -> int:
    """Sets torch to the number of threads with which `n_rows` texts are written fastest here, and returns it.

    It is 1, 2, 4 and so on up to the present number, each timed in turn for some steps; the best of its rounds counts.
    """
    most: int = torch.get_num_threads()
    counts: list[int] = [*(2**power for power in range(most.bit_length()) if 2**power < most), most]
    _, kv_cache = prefill(model, [[0] * _PROMPT_TOKENS] * n_rows, _PROMPT_TOKENS + 1)
    seconds = dict.fromkeys(counts, float("inf"))
    for _ in range(_ROUNDS if len(counts) > 1 else 0):
        for count in counts:
            torch.set_num_threads(count)
            # The first step only wakes the threads.
            for step in range(_STEPS):
                started = time.perf_counter()
                decode_one_token(model, [0] * n_rows, kv_cache)
                kv_cache.truncate([_PROMPT_TOKENS] * n_rows)
                if step:
                    seconds[count] = min(seconds[count], time.perf_counter() - started)
    best = min(counts, key=seconds.__getitem__)
    torch.set_num_threads(best)
    return best
