"""One tiny training run, small enough to be killed and repeated hundreds of times."""

import hashlib
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from prosa.checkpoint import list_steps
from prosa.device import Device, find_compiler
from prosa.metrics import read_metrics
from prosa.model import ModelSettings, Transformer, init_weights
from prosa.pretrain import loss
from prosa.rundir import hash_json, lock_run, remove_stale
from prosa.training import Batches, FitSettings, World, fit
from tests.training.fake_shards import FakeShards

STEPS = 40
NEEDS_COMPILER = pytest.mark.skipif(sys.platform != "linux" or not find_compiler(), reason="no C++ compiler")
DEVICE = Device("cpu", "test", 1, torch.float32, 1e11, "")
MODEL = ModelSettings(
    vocab_size=64, n_layer=2, d_model=32, n_head=1, n_kv_head=1, d_head=32, d_ff=64, context_length=16, dropout=0.1
)


def make_settings(**changes):
    values = {
        "steps": STEPS, "batch_size": 8, "micro_batch": 4, "warmup_steps": 4, "cooldown_steps": 10,
        "evaluate_every": 10, "sample_every": 20, "save_every": 5,
    }  # fmt: skip
    return FitSettings(**values | changes)


def run_tiny(folder: Path, *, loss=loss, evaluate=None, model=None, fingerprint=None, device=DEVICE, **changes):
    """Trains in `folder` to the end or to a signal; gives fit's result and the model."""
    settings = make_settings(**changes)
    shards = FakeShards({"a": [200] * 6, "b": [150] * 4})
    batches = Batches(shards, context_length=16, batch_size=settings.batch_size, seed=settings.seed)
    if model is None:
        model = Transformer(MODEL)
        init_weights(model, settings.seed)
    model.train()
    with lock_run(folder):
        remove_stale(folder)
        result = fit(
            model, loss, batches, settings, folder=folder,
            fingerprint=fingerprint or {"settings": settings.model_dump(mode="json")},
            device=device, world=World(),
            evaluate=evaluate or (lambda: {"probe": float(model.model.norm.weight.detach().sum())}),
            sample=lambda: [{"prompt": "", "text": "x"}], flops_per_token=1, is_shown=False,
        )  # fmt: skip
    return result, model


def digest(folder: Path) -> str:
    """One hash over weights, optimizer state and metrics (without time) of the last checkpoint."""
    newest = folder / "checkpoints" / f"step-{list_steps(folder / 'checkpoints')[-1]:08d}"
    total = hashlib.sha256()
    for name in ("model", "optimizer"):
        for key, tensor in sorted(load_file(newest / f"{name}.safetensors").items()):
            total.update(key.encode())
            total.update(tensor.contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    total.update(hash_json(read_metrics(folder / "metrics.jsonl", with_time=False)).encode())
    total.update((folder / "samples.jsonl").read_bytes())
    return total.hexdigest()
