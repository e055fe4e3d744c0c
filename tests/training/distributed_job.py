"""What each process of the torchrun test does: some steps of the tiny run, metrics written by the main one."""

import sys
from pathlib import Path

import torch

from prosa.model import Transformer, init_weights
from prosa.pretrain import loss
from prosa.training import Batches, fit, join_world
from tests.training.fake_shards import FakeShards
from tests.training.tiny_run import DEVICE, MODEL, make_settings


def main(folder: Path, is_compiled: bool) -> None:
    torch.set_num_threads(1)
    settings = make_settings(steps=12, is_compiled=is_compiled)
    model = Transformer(MODEL.model_copy(update={"dropout": 0.0}))
    init_weights(model, 0)
    batches = Batches(FakeShards({"a": [200] * 6}), context_length=16, batch_size=8, seed=0)
    with join_world() as world:
        fit(
            model.train(), loss, batches, settings, folder=folder, fingerprint={}, device=DEVICE, world=world,
            evaluate=lambda: {"probe": 0.0}, sample=list, flops_per_token=1, is_shown=False,
        )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), "compiled" in sys.argv)
