"""Several processes, one run: started by torchrun, each computes a share of every batch, gradients are summed.

gloo on CPUs and NCCL on GPUs are torch.distributed's own engines; with one process nothing here does anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

from prosa.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class World:
    """This process's place among those that train together."""

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        return self.rank == 0


@contextmanager
def join_world(device_type: str = "cpu") -> Iterator[World]:
    """The world torchrun has set up in the environment, or a world of one."""
    if not dist.is_torchelastic_launched():
        yield World()
        return
    if device_type == "cuda":
        torch.cuda.set_device(dist.get_node_local_rank())
    dist.init_process_group("nccl" if device_type == "cuda" else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size())
        # A process that leaves early would break the connections of those still at work.
        dist.barrier()
    finally:
        dist.destroy_process_group()


def check_batch(batch_size: int, world: World) -> None:
    """Refuses a world that cannot share the batch equally, as that would change which tokens a step sees."""
    if batch_size % world.size:
        raise ConfigError(
            f"batch_size {batch_size} cannot be shared by {world.size} processes",
            hint=f"choose a multiple of {world.size}",
        )


def sum_gradients(model: nn.Module, world: World) -> None:
    """Replaces every gradient by its sum over all processes, in one message."""
    if world.size == 1:
        return
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    flat = torch.cat([gradient.reshape(-1) for gradient in gradients])
    dist.all_reduce(flat)
    position = 0
    for gradient in gradients:
        gradient.copy_(flat[position : position + gradient.numel()].view_as(gradient))
        position += gradient.numel()


def sum_numbers(values: list[float], world: World) -> list[float]:
    """Each number summed over all processes."""
    if world.size == 1:
        return values
    tensor = torch.tensor(values, dtype=torch.float64, device="cuda" if dist.get_backend() == "nccl" else "cpu")
    dist.all_reduce(tensor)
    return [float(value) for value in tensor.tolist()]


def share(text: str, world: World) -> str:
    """The main process's text, in every process."""
    if world.size == 1:
        return text
    shared = [text]
    dist.broadcast_object_list(shared, src=0)
    return shared[0]


def gather(items: list[T], world: World) -> list[list[T]]:
    """The lists of all processes, in the order of their ranks, in every process."""
    if world.size == 1:
        return [items]
    found: list[Any] = [None] * world.size
    dist.all_gather_object(found, items)
    return found


def wait_for_main(world: World) -> None:
    """Returns when every process has come here; work that one process does for all lies between two of these."""
    if world.size > 1:
        dist.barrier()


def agree(flag: bool, world: World) -> bool:
    """True everywhere when it is true anywhere, so that all processes stop at the same step."""
    return sum_numbers([float(flag)], world)[0] > 0
