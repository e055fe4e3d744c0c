"""A training stage's job on disk: the same in every process, found again on resuming, bound to what it was made from.

Each stage has a `Job` of its own, with what was asked for and everything derived; what all of them need is here.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch

import prosa
from prosa.checkpoint import check_fingerprint
from prosa.config import Settings, dump_settings, read_settings
from prosa.rundir import lock_run, remove_stale, write_durably
from prosa.training.distributed import World, share

J = TypeVar("J", bound=Settings)


@contextmanager
def open_stage(folder: Path, world: World) -> Iterator[None]:
    """Holds the stage's lock, of each process its own; what a killed process left half-made is removed.

    Raises RunLocked when another process trains here.
    """
    with lock_run(folder if world.is_main else folder / f"rank-{world.rank}"):
        if world.is_main:
            remove_stale(folder)
        yield


def keep_job(folder: Path, job: J, world: World) -> J:
    """The main process's job in every process; `settings.toml`, which resuming reads, is written."""
    job = type(job).model_validate_json(share(job.model_dump_json(), world))
    if world.is_main:
        write_durably(folder / "settings.toml", dump_settings(job).encode())
    return job


def load_job(kind: type[J], folder: Path, settings: Settings | None = None) -> J | None:
    """The resolved job of a stage folder, or None when nothing was started there.

    Also None where a job was made with other `settings` and has neither checkpoint nor model yet: nothing is lost.
    """
    path = folder / "settings.toml"
    job = read_settings(kind, path) if path.exists() else None
    if job is None or settings is None or (folder / "model").exists() or any((folder / "checkpoints").glob("*")):
        return job
    return job if job.model_dump(mode="json")["requested"] == settings.model_dump(mode="json") else None


def check_request(
    requested: Settings,
    made_from: Mapping[str, str],
    settings: Settings,
    inputs: Mapping[str, str],
    *,
    allow_drift: Sequence[str] = (),
) -> None:
    """DriftRefused, with what differs, unless `settings` and `inputs` are those that the job was made with."""
    check_fingerprint(
        {"settings": requested.model_dump(mode="json"), **made_from},
        {"settings": settings.model_dump(mode="json"), **inputs},
        allow_drift=allow_drift,
    )


def job_fingerprint(job: Settings, world: World) -> dict[str, Any]:
    """What a checkpoint of this job is bound to: exact resuming needs all of it to be the same."""
    return {
        "settings": job.model_dump(mode="json", exclude={"choices"}),
        "processes": world.size,
        "prosa": prosa.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
