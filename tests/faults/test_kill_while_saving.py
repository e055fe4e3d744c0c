"""R2: killed at every single operation of a save, the run always has a verified checkpoint and goes on by itself."""

import shutil
import signal
from pathlib import Path

import pytest

from prosa.checkpoint import prune_checkpoints
from prosa.rundir import lock_run, remove_stale
from tests.faults.injection import at, die, faults, operations
from tests.faults.processes import needs_fork, run
from tests.faults.saving import load, names, refuse_report, save

pytestmark = needs_fork


def save_and_prune(checkpoints: Path, step: int) -> None:
    save(checkpoints, step)
    prune_checkpoints(checkpoints, 2)


def save_until_killed(run_folder: Path, step: int, k: int) -> None:
    with lock_run(run_folder):
        remove_stale(run_folder)
        with faults(at(k, die)):
            save_and_prune(run_folder / "checkpoints", step)


@pytest.mark.parametrize(("before", "step"), [((), 1), ((1,), 2), ((1, 2), 3), ((1, 2), 2)])
def test_killed_at_every_operation(tmp_path: Path, before: tuple[int, ...], step: int) -> None:
    original = tmp_path / "original"
    for earlier in before:
        save(original / "checkpoints", earlier)
    original.mkdir(exist_ok=True)
    counted = shutil.copytree(original, tmp_path / "counted")
    n_operations = len(operations(lambda: save_and_prune(counted / "checkpoints", step)))
    assert n_operations >= 12
    for k in range(1, n_operations + 1):
        folder = shutil.copytree(original, tmp_path / f"killed-{k}")
        assert run(save_until_killed, folder, step, k) == -signal.SIGKILL
        found = load(folder / "checkpoints", refuse_report)
        assert (found.step if found else 0) in {max(before, default=0), step}
        # The next start needs no human: it takes the lock, cleans up and saves on.
        with lock_run(folder):
            remove_stale(folder)
            save_and_prune(folder / "checkpoints", step + 1)
        after = load(folder / "checkpoints", refuse_report)
        assert after is not None and after.step == step + 1
        assert all(name.startswith("step-") for name in names(folder / "checkpoints"))
        shutil.rmtree(folder)
