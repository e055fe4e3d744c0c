"""R4: a full or failing disk costs nothing but the save that met it, and old checkpoints are never traded for room."""

import errno
import shutil
from pathlib import Path

import pytest

from prosa.checkpoint import list_steps, prune_checkpoints
from prosa.errors import CheckpointError, StorageError
from prosa.metrics import MetricsLog, read_metrics
from prosa.rundir import write_durably
from tests.faults.injection import at, faults, operations, refuse
from tests.faults.processes import needs_fork, run
from tests.faults.report import RecordProperty
from tests.faults.saving import load, names, refuse_report, save


@pytest.mark.parametrize("step", [3, 2])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_every_operation_of_a_save_is_refused(
    tmp_path: Path, step: int, number: int, record_property: RecordProperty
) -> None:
    original = tmp_path / "original"
    for earlier in (1, 2):
        save(original, earlier)
    n_operations = len(operations(lambda: save(shutil.copytree(original, tmp_path / "counted"), step)))
    for k in range(1, n_operations + 1):
        folder = shutil.copytree(original, tmp_path / f"refused-{k}")
        with faults(at(k, refuse(number))), pytest.raises(StorageError, match="cannot write") as caught:
            save(folder, step)
        assert "MB are free" in caught.value.hint
        assert caught.value.exit_code == 75
        # What cannot be removed after the commit stays for the next start to remove.
        is_stale_allowed = k == n_operations and step == 2
        assert is_stale_allowed or not [name for name in names(folder) if name.startswith(".tmp")]
        assert {1, 2} <= set(list_steps(folder)), "an old checkpoint was lost"
        found = load(folder, refuse_report)
        assert found is not None and found.step in {2, step}
        # The disk has room again: the same save works.
        save(folder, step)
        again = load(folder, refuse_report)
        assert again is not None and again.step == step
        shutil.rmtree(folder)
    record_property("R4", n_operations)


def save_over_the_limit(checkpoints: Path, limit_bytes: int) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
    try:
        save(checkpoints, 2)
    except StorageError as error:
        assert "File too large" in str(error)
    else:
        raise AssertionError("nothing was refused")
    assert names(checkpoints) == ["step-00000001"]


@needs_fork
@pytest.mark.parametrize("limit_bytes", [0, 10, 100, 300])
def test_files_may_not_grow(tmp_path: Path, limit_bytes: int) -> None:
    save(tmp_path, 1)
    assert run(save_over_the_limit, tmp_path, limit_bytes) == 0
    found = load(tmp_path, refuse_report)
    assert found is not None and found.step == 1


def test_nothing_is_pruned_while_the_newest_is_damaged(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step)
    (tmp_path / "step-00000003" / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        prune_checkpoints(tmp_path, 1)
    assert list_steps(tmp_path) == [1, 2, 3]


def test_a_refused_file_keeps_its_old_bytes(tmp_path: Path) -> None:
    path = tmp_path / "a" / "lineage.json"
    n_operations = len(operations(lambda: write_durably(path, b"old")))
    assert n_operations == 6
    for k in range(1, 5):
        with faults(at(k, refuse(errno.ENOSPC))), pytest.raises(StorageError):
            write_durably(path, b"new")
        assert path.read_bytes() == (b"new" if k == 4 else b"old")
        path.write_bytes(b"old")
        assert names(path.parent) == ["lineage.json"]


def log_over_the_limit(path: Path) -> None:
    import resource

    log = MetricsLog(path, resume_step=0)
    log.write(1, {"loss": 1.5})
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 8, -1))
    try:
        log.write(2, {"loss": 2.5})
    except StorageError:
        pass
    else:
        raise AssertionError("nothing was refused")
    resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    log.write(2, {"loss": 3.5})
    log.close()


@needs_fork
def test_a_refused_record_leaves_no_half_line(tmp_path: Path) -> None:
    assert run(log_over_the_limit, tmp_path / "metrics.jsonl") == 0
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 1.5}, {"step": 2, "loss": 3.5}]
