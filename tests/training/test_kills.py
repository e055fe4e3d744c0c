"""R1 and R9: a run that is killed or stopped at random instants ends as the one that was left alone."""

import random
import signal
import time
from pathlib import Path

import pytest
import torch

from tests.faults.processes import finish, kill_often, needs_fork, start
from tests.training.tiny_run import digest, run_tiny

pytestmark = needs_fork


def train(folder: str) -> None:
    torch.set_num_threads(1)
    run_tiny(Path(folder))


def seconds_and_digest(folder: Path) -> tuple[float, str]:
    finish(start(train, str(folder / "warm")))
    started = time.monotonic()
    assert finish(start(train, str(folder / "straight"))) == 0
    return time.monotonic() - started, digest(folder / "straight")


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.torture)])
def test_kill_9_at_random_instants_changes_nothing(tmp_path, kills, record_property):
    seconds, expected = seconds_and_digest(tmp_path)
    hits = 0
    for repeat in range(max(1, kills // 20)):
        folder = tmp_path / f"killed-{repeat}"
        hits += kill_often(train, str(folder), kills=20, longest_seconds=0.8 * seconds, seed=repeat)
        assert digest(folder) == expected
    assert hits >= 0.3 * kills, "the kills came too late to test anything"
    record_property("R1", hits)


@pytest.mark.parametrize("stops", [12, pytest.param(100, marks=pytest.mark.torture)])
def test_sigterm_at_random_instants_saves_and_exits_0(tmp_path, stops, record_property):
    """Also during a save, also twice, also SIGINT; a signal before the handlers stand is an ordinary end."""
    seconds, expected = seconds_and_digest(tmp_path)
    chance = random.Random(5)
    for number in range(stops):
        folder = tmp_path / f"stopped-{number}"
        process = start(train, str(folder))
        while not (folder / "metrics.jsonl").exists() and process.is_alive():
            time.sleep(0.001)
        time.sleep(chance.random() * 0.5 * seconds)
        for _ in range(1 + number % 2):
            if process.is_alive():
                signal_process(process.pid, number)
            time.sleep(0.002)
        assert finish(process, seconds=10) == 0
        assert finish(start(train, str(folder))) == 0
        assert digest(folder) == expected
    record_property("R9", stops)


def signal_process(pid: int | None, number: int) -> None:
    import os

    assert pid is not None
    os.kill(pid, signal.SIGINT if number % 3 == 0 else signal.SIGTERM)
