"""Two processes share the answers and the updates of every step, and learn what one would."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from prosa.metrics import read_metrics
from tests.rl.tiny_rl import start_policy


def run_job(folder: Path, algorithm: str, n_processes: int) -> list[dict[str, Any]]:
    start_policy(folder / "start")
    torchrun = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={n_processes}"]
    module = ["-m", "tests.rl.distributed_job", str(folder), algorithm]
    command = [sys.executable, *(torchrun if n_processes > 1 else []), *module]
    done = subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return read_metrics(folder / "rl" / "metrics.jsonl")


@pytest.mark.skipif(sys.platform != "linux", reason="torchrun with gloo is tested on Linux")
@pytest.mark.parametrize("algorithm", ["ppo", "grpo"])
def test_two_processes_learn_like_one(tmp_path: Path, algorithm: str) -> None:
    one, two = (run_job(tmp_path / f"{n}", algorithm, n) for n in (1, 2))
    assert len(one) == len(two)
    # Up to the second step's answers, which rounding may change, everything is the same but for the order of sums.
    n_first = next(index for index, record in enumerate(one) if "reward" in record) + 1
    for single, double in zip(one[:n_first], two[:n_first], strict=True):
        for name, value in single.items():
            if name != "time":
                assert double[name] == pytest.approx(value, rel=1e-4, abs=1e-6), name
