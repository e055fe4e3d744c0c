"""The peer: nanoGPT's recipe for Shakespeare on a CPU, trained as a `transformers` GPT-2.

The text comes in, `weights.safetensors` and the alphabet go out; the process does nothing else, so that its wall time
is the recipe's. Run it as `python -m benchmarks.shakespeare_peer TEXT FOLDER`.
"""

import argparse
import json
import math
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from benchmarks.shakespeare_judge import read_text, split_start

if TYPE_CHECKING:
    from transformers import GPT2LMHeadModel

# The recipe, in the words of its own settings file.
N_LAYER, N_HEAD, N_EMBD, BLOCK_SIZE, BATCH_SIZE = 4, 4, 128, 64, 12
MAX_ITERS, WARMUP_ITERS, LEARNING_RATE, MIN_LR = 2000, 100, 1e-3, 1e-4
BETAS, WEIGHT_DECAY, GRAD_CLIP = (0.9, 0.99), 0.1, 1.0


def build_peer(vocab_size: int) -> "GPT2LMHeadModel":
    """The model as the recipe has it: no dropout, exact GELU, and no biases (GPT-2's stay zero, untrained)."""
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=vocab_size,
        n_positions=BLOCK_SIZE,
        n_embd=N_EMBD,
        n_layer=N_LAYER,
        n_head=N_HEAD,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config)
    for name, parameter in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.zeros_(parameter)
            parameter.requires_grad = False
    return model


def count_trained(model: torch.nn.Module) -> int:
    """Numbers that training changes, without the positions' embedding, as the recipe counts its 0.80M."""
    counted = {id(p): p.numel() for name, p in model.named_parameters() if p.requires_grad and ".wpe." not in name}
    return sum(counted.values())


def learning_rate(step: int, steps: int) -> float:
    """Linear warmup, then a cosine to the last step."""
    if step < WARMUP_ITERS:
        return LEARNING_RATE * (step + 1) / (WARMUP_ITERS + 1)
    progress = (step - WARMUP_ITERS) / max(1, steps - WARMUP_ITERS)
    return MIN_LR + 0.5 * (1 + math.cos(math.pi * progress)) * (LEARNING_RATE - MIN_LR)


def train_peer(
    text: str, *, steps: int, seed: int, uses_bf16: bool = False, is_compiled: bool = False, is_fused: bool = False
) -> tuple["GPT2LMHeadModel", str]:
    """The model trained from nothing, and its alphabet in the order of its ids."""
    torch.manual_seed(seed)
    alphabet = sorted(set(text))
    number = {character: index for index, character in enumerate(alphabet)}
    ids = torch.tensor([number[character] for character in text[: split_start(text)]])
    model = build_peer(len(alphabet)).train()
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=BETAS, fused=is_fused)
    forward = torch.compile(model) if is_compiled else model
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, steps)
        starts = torch.randint(len(ids) - BLOCK_SIZE, (BATCH_SIZE,)).tolist()
        inputs = torch.stack([ids[start : start + BLOCK_SIZE] for start in starts])
        targets = torch.stack([ids[start + 1 : start + 1 + BLOCK_SIZE] for start in starts])
        with torch.autocast("cpu", torch.bfloat16) if uses_bf16 else nullcontext():
            logits = forward(input_ids=inputs).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained, GRAD_CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return model, "".join(alphabet)


def main(argv: list[str] | None = None) -> None:
    from safetensors.torch import save_model

    parser = argparse.ArgumentParser(prog="python -m benchmarks.shakespeare_peer", description=__doc__)
    parser.add_argument("text", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1337)
    parser.add_argument("--steps", type=int, default=MAX_ITERS)
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast (the recipe: float32)")
    parser.add_argument("--compile", action="store_true", help="torch.compile (the recipe: eager)")
    parser.add_argument("--fused", action="store_true", help="the fused AdamW (the recipe: not on CPUs)")
    chosen = parser.parse_args(argv)
    model, alphabet = train_peer(
        read_text(chosen.text),
        steps=chosen.steps,
        seed=chosen.seed,
        uses_bf16=chosen.bf16,
        is_compiled=chosen.compile,
        is_fused=chosen.fused,
    )
    chosen.folder.mkdir(parents=True, exist_ok=True)
    save_model(model, str(chosen.folder / "weights.safetensors"))
    (chosen.folder / "alphabet.json").write_text(json.dumps(alphabet), encoding="utf-8")


if __name__ == "__main__":
    main()
