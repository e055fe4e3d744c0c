"""transformers trains what `benchmarks.throughput_ours` trains, with torch's fused AdamW."""

import os

from benchmarks.shapes import settings_of
from benchmarks.throughput_ours import N_BATCHES, TOKENS, parse, time_steps


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from prosa.model.hf_config import to_hf_config

    chosen = parse(__doc__)
    torch.set_num_threads(chosen.threads)
    settings = settings_of(chosen.size, chosen.context_length)
    dtype: torch.dtype = getattr(torch, chosen.dtype)
    config = AutoConfig.for_model(**to_hf_config(settings, {}) | {"use_cache": False})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    torch.manual_seed(0)
    rows = torch.randint(settings.vocab_size, (N_BATCHES, TOKENS // chosen.context_length, chosen.context_length + 1))
    read = torch.compile(model, dynamic=False) if chosen.compiled else model

    def learn(number: int) -> float:
        ids = rows[number % N_BATCHES]
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            logits = read(input_ids=ids[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        loss.backward()
        return float(loss.detach())

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    time_steps(learn, update, chosen.seconds)


if __name__ == "__main__":
    main()
