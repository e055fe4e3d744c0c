"""The peer of `benchmarks.quality`: transformers trains for some minutes with AdamW.

Autocast is to bfloat16 where that multiplies faster than float32, which is how Prosa chooses its number format. Tokens
of a run come in, a model folder goes out; the minutes begin with the process. The learning rate rises for a twentieth
of the time and falls to zero along a cosine.
"""

import time

_STARTED = time.perf_counter()

import argparse  # noqa: E402 (the time of the imports counts)
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
from pathlib import Path  # noqa: E402

_WARMUP = 0.05


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="a Prosa run that has tokens")
    parser.add_argument("target", type=Path)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n-layer", type=int, required=True)
    parser.add_argument("--d-model", type=int, required=True)
    parser.add_argument("--context-length", type=int, default=256)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--learning-rate", type=float, required=True)
    parser.add_argument("--compiled", action="store_true")
    return parser.parse_args()


def factor(progress: float) -> float:
    """Of the learning rate, after this share of the time."""
    if progress < _WARMUP:
        return progress / _WARMUP
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - _WARMUP) / (1 - _WARMUP))))


def main() -> None:
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from prosa.device import choose_device
    from prosa.model import ModelSettings
    from prosa.model.hf_config import to_hf_config
    from prosa.tokenizer import open_shards
    from prosa.training import Batches

    chosen = parse()
    torch.manual_seed(chosen.seed)
    shards = open_shards(chosen.run / "tokens", verify=False)
    settings = ModelSettings(
        vocab_size=shards.vocab_size,
        n_layer=chosen.n_layer,
        d_model=chosen.d_model,
        n_head=chosen.d_model // 64,
        n_kv_head=chosen.d_model // 64,
        d_head=64,
        d_ff=-(-chosen.d_model * 8 // 3 // 64) * 64,
        context_length=chosen.context_length,
    )
    config = AutoConfig.for_model(**to_hf_config(settings, {}) | {"use_cache": False})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=chosen.learning_rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True
    )
    batches = Batches(shards, context_length=chosen.context_length, batch_size=chosen.batch_size, seed=chosen.seed)
    dtype = choose_device("cpu").compute_dtype
    read = torch.compile(model, dynamic=False) if chosen.compiled else model
    step, losses, longest = 0, [0.0], 0.0
    while True:
        began = time.perf_counter()
        # A step that would end after the minutes is not begun; the first ones, which compile, say nothing of the next.
        progress = (began - _STARTED + longest) / (60 * chosen.minutes)
        if progress >= 1:
            break
        batch = batches.batch(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = read(input_ids=batch.ids).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = chosen.learning_rate * factor(progress)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        step += 1
        longest = max(longest, time.perf_counter() - began) if step > 3 else 0.0
    model.save_pretrained(chosen.target)
    tokens, number_format = step * chosen.batch_size * chosen.context_length, str(dtype).removeprefix("torch.")
    said = {"steps": step, "tokens": tokens, "loss": losses[-1], "number_format": number_format}
    print(json.dumps(said | {"seconds": time.perf_counter() - _STARTED, "parameters": model.num_parameters()}))


if __name__ == "__main__":
    main()
