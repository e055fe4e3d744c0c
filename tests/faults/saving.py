"""A small training state and the folders it is saved to, for the tests of what a crash may do."""

from collections.abc import Callable
from pathlib import Path

import torch

from prosa.checkpoint import Checkpoint, load_newest, save_checkpoint


def make_tensors(step: int) -> dict[str, dict[str, torch.Tensor]]:
    """Two groups that differ at every step, with the types that optimizers keep."""
    stream = torch.Generator().manual_seed(step)
    return {
        "model": {"embed.weight": torch.randn(11, 4, generator=stream), "norm": torch.randn(4, generator=stream)},
        "optimizer": {
            "norm/momentum": torch.randn(4, generator=stream).to(torch.bfloat16),
            "norm/step": torch.tensor(step, dtype=torch.int64),
        },
    }


def save(checkpoints: Path, step: int) -> Path:
    """The checkpoint of `step`, as a loop would save it."""
    return save_checkpoint(
        checkpoints, step, tensors=make_tensors(step), state={"tokens_seen": 100 * step}, fingerprint={"torch": "x"}
    )


def load(checkpoints: Path, report: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint, compared with what was saved as that step."""
    checkpoint = load_newest(checkpoints, report=report)
    if checkpoint is not None:
        assert checkpoint.state == {"tokens_seen": 100 * checkpoint.step}
        for group, tensors in make_tensors(checkpoint.step).items():
            assert checkpoint.tensors[group].keys() == tensors.keys()
            assert all(torch.equal(checkpoint.tensors[group][name], tensor) for name, tensor in tensors.items())
    return checkpoint


def refuse_report(line: str) -> None:
    """For load: nothing may be found damaged."""
    raise AssertionError(line)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []
