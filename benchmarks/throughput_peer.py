"""How a peer trains what `benchmarks.throughput_ours` trains: torch's fused AdamW, autocast, its own compiled model."""

from argparse import Namespace
from collections.abc import Callable
from typing import Any

from benchmarks.throughput_ours import N_BATCHES, TOKENS, time_steps


def train_peer(chosen: Namespace, model: Any, vocab_size: int, logits_of: Callable[[Any, Any], Any]) -> None:
    """Prints the line of `time_steps`. `logits_of` calls the model, compiled if asked for, with rows of ids."""
    import torch

    torch.set_num_threads(chosen.threads)
    dtype: torch.dtype = getattr(torch, chosen.dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    torch.manual_seed(0)
    rows = torch.randint(vocab_size, (N_BATCHES, TOKENS // chosen.context_length, chosen.context_length + 1))
    read = torch.compile(model, dynamic=False) if chosen.compiled else model

    def learn(number: int) -> float:
        ids = rows[number % N_BATCHES]
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = logits_of(read, ids[:, :-1])
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        return float(loss.detach())

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    time_steps(learn, update, chosen.seconds)
