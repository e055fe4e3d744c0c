"""A stage of reinforcement learning that is killed at random instants ends as the one that was left alone."""

import hashlib
import time
from pathlib import Path

import pytest
import torch

from prosa.rl import main
from tests.faults.processes import finish, kill_often, needs_fork, start
from tests.rl.tiny_rl import PROMPTS, open_reward, settings, start_policy
from tests.training.tiny_run import digest

pytestmark = needs_fork


def train(folder: str, policy: str) -> None:
    torch.set_num_threads(1)
    asked = settings(steps=8, save_every=2, kl_target=0.3, kl_horizon=200)
    main(Path(folder), asked, Path(policy), PROMPTS, open_reward, is_shown=False)


def boot() -> None:
    """Nothing: the first process of all takes the time in which torch is imported."""


def everything(folder: Path) -> str:
    total = hashlib.sha256(digest(folder).encode())
    for path in sorted((folder / "model").iterdir()):
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def kill(tmp_path: Path, kills: int, seed: int) -> None:
    policy = str(start_policy(tmp_path / "start"))
    assert finish(start(boot)) == 0
    started = time.monotonic()
    assert finish(start(train, str(tmp_path / "straight"), policy)) == 0
    seconds = time.monotonic() - started
    hits = kill_often(train, str(tmp_path / "killed"), policy, kills=kills, longest_seconds=0.9 * seconds, seed=seed)
    assert hits >= kills // 2, "the kills came too late to test anything"
    assert everything(tmp_path / "killed") == everything(tmp_path / "straight")


def test_kill_9_at_random_instants_changes_nothing(tmp_path: Path) -> None:
    kill(tmp_path, 3, seed=41)


@pytest.mark.torture
def test_kill_9_at_twenty_random_instants_changes_nothing(tmp_path: Path) -> None:
    kill(tmp_path, 20, seed=42)
