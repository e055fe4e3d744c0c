import os
import subprocess
import sys

import pytest

from prosa.errors import ConfigError
from prosa.metrics import read_metrics
from prosa.training import World, join_world
from prosa.training.distributed import check_batch
from tests.training.tiny_run import NEEDS_COMPILER


def run_job(folder, n_processes, *words):
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    module = ["-m", "tests.training.distributed_job", str(folder), *words]
    command = [sys.executable, *(torchrun if n_processes > 1 else []), *module]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return read_metrics(folder / "metrics.jsonl")


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun with gloo is tested on Linux")
@pytest.mark.parametrize("words", [(), pytest.param(("compiled",), marks=NEEDS_COMPILER)], ids=["plain", "compiled"])
def test_two_processes_train_like_one(tmp_path, words):
    """The same loss and gradient at every step, but for the order of summation, which updates amplify slowly."""
    one, two = run_job(tmp_path / "one", 1, *words), run_job(tmp_path / "two", 2, *words)
    assert [record["tokens_seen"] for record in one] == [record["tokens_seen"] for record in two]
    for index, (single, double) in enumerate(zip(one, two, strict=True)):
        tolerance = 1e-5 if index < 3 else 2e-2
        assert single["loss"] == pytest.approx(double["loss"], rel=tolerance)
        assert single["gradient_norm"] == pytest.approx(double["gradient_norm"], rel=10 * tolerance)


def test_a_process_of_its_own_is_a_world_of_one():
    with join_world() as world:
        assert world == World(0, 1) and world.is_main


def test_a_batch_that_cannot_be_shared_is_refused():
    with pytest.raises(ConfigError, match="cannot be shared"):
        check_batch(7, World(0, 2))
