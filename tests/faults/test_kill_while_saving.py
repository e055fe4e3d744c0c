"""R2: killed at every single operation of a save, the run always has a verified checkpoint and goes on by itself."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from prosa.checkpoint import prune_checkpoints
from prosa.metrics import MetricsLog, read_metrics
from prosa.rundir import lock_run, remove_stale, verify_folder
from tests.faults.injection import at, die, faults, operations
from tests.faults.processes import kill_often, needs_fork, run
from tests.faults.report import RecordProperty
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
def test_killed_at_every_operation(
    tmp_path: Path, before: tuple[int, ...], step: int, record_property: RecordProperty
) -> None:
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
    record_property("R2", n_operations)


def save_to_the_end(run_folder: Path, steps: int) -> None:
    """A training without the training: goes on from the newest checkpoint, logs and saves every step."""
    with lock_run(run_folder):
        remove_stale(run_folder)
        found = load(run_folder / "checkpoints", refuse_report)
        begun = found.step if found else 0
        log = MetricsLog(run_folder / "metrics.jsonl", resume_step=begun)
        for step in range(begun + 1, steps + 1):
            log.write(step, {"loss": 1 / step}, timing={"pid": os.getpid()})
            log.sync()
            save_and_prune(run_folder / "checkpoints", step)
        log.close()


@pytest.mark.parametrize(
    ("kills", "seed"), [(20, 2), pytest.param(500, 22, marks=pytest.mark.torture)], ids=["ci", "torture"]
)
def test_killed_at_random(tmp_path: Path, kills: int, seed: int, record_property: RecordProperty) -> None:
    steps = 2 * kills
    save_to_the_end(tmp_path / "whole", steps)
    # A save takes some milliseconds, so that a kill comes after a few of them.
    hits = kill_often(save_to_the_end, tmp_path / "killed", steps, kills=kills, longest_seconds=0.05, seed=seed)
    assert hits > kills / 4
    for run_folder in (tmp_path / "whole", tmp_path / "killed"):
        assert names(run_folder) == ["checkpoints", "lock", "metrics.jsonl"]
    whole, killed = (read_metrics(tmp_path / name / "metrics.jsonl", with_time=False) for name in ("whole", "killed"))
    assert killed == whole
    final = f"step-{steps:08d}"
    assert verify_folder(tmp_path / "killed" / "checkpoints" / final)
    assert names(tmp_path / "killed" / "checkpoints") == names(tmp_path / "whole" / "checkpoints")
    for name in names(tmp_path / "whole" / "checkpoints" / final):
        files = [tmp_path / run_folder / "checkpoints" / final / name for run_folder in ("whole", "killed")]
        assert files[0].read_bytes() == files[1].read_bytes()
    record_property("R2", hits)
