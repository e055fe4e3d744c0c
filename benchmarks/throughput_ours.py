"""Prosa trains: SIZE CONTEXT DTYPE [--compiled] come in, seconds of each step and the most memory go out."""

import argparse
import json
import time
from collections.abc import Callable

from benchmarks.measure import peak_bytes
from benchmarks.shapes import settings_of

# Of one forward and backward.
TOKENS, N_BATCHES = 4096, 4


def parse(description: str | None) -> argparse.Namespace:
    """The words that both programs understand."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("size")
    parser.add_argument("context_length", type=int)
    parser.add_argument("dtype")
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def time_steps(learn: Callable[[int], float], update: Callable[[], None], seconds: float) -> None:
    """Steps for some time, two at least, the first two apart; prints the one line that the benchmark reads."""

    def step() -> tuple[float, float]:
        started = time.perf_counter()
        losses.append(learn(len(losses)))
        learned = time.perf_counter()
        update()
        return learned - started, time.perf_counter() - learned

    losses: list[float] = []
    first = sum(step())
    step()
    end, times = time.perf_counter() + seconds, [step(), step()]
    while time.perf_counter() < end:
        times.append(step())
    print(json.dumps({"first": first, "times": times, "losses": losses, "peak_megabytes": peak_bytes() / 1e6}))


def main() -> None:
    import torch

    from prosa.device import keep_freed_memory
    from prosa.model import Transformer, init_weights
    from prosa.pretrain import loss
    from prosa.training import Batch, MuonAdamW, OptimizerSettings

    chosen = parse(__doc__)
    torch.set_num_threads(chosen.threads)
    keep_freed_memory()
    settings = settings_of(chosen.size, chosen.context_length)
    dtype: torch.dtype = getattr(torch, chosen.dtype)
    model = Transformer(settings).train()
    init_weights(model, 0)
    optimizer = MuonAdamW(model, OptimizerSettings(), dtype)
    torch.manual_seed(0)
    rows = torch.randint(settings.vocab_size, (N_BATCHES, TOKENS // chosen.context_length, chosen.context_length + 1))
    measure = torch.compile(loss, dynamic=False) if chosen.compiled else loss

    def learn(number: int) -> float:
        ids = rows[number % N_BATCHES]
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            total, _ = measure(model, Batch(ids[:, :-1].contiguous(), ids[:, 1:].contiguous()))
        (total / TOKENS).backward()
        return float(total.detach()) / TOKENS

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step(1.0)
        model.zero_grad(set_to_none=True)

    time_steps(learn, update, chosen.seconds)


if __name__ == "__main__":
    main()
