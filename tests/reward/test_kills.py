"""A reward stage that is killed at random instants ends as the one that was left alone, its model included."""

import hashlib
import time
from pathlib import Path

import torch

from prosa.reward import main
from tests.faults.processes import finish, kill_often, needs_fork, start
from tests.reward.tiny import rank_by_letter, settings, write_trunk
from tests.training.tiny_run import digest

pytestmark = needs_fork


def train(folder: str, trunk: str) -> None:
    torch.set_num_threads(1)
    asked = settings(epochs=1, save_every=3, evaluate_every=4, sample_every=5)
    main(Path(folder), asked, Path(trunk), rank_by_letter(120), is_shown=False)


def boot() -> None:
    """Nothing: the first process of all takes the time in which torch is imported."""


def everything(folder: Path) -> str:
    total = hashlib.sha256(digest(folder).encode())
    for path in [folder / "card.json", *sorted(path for path in (folder / "model").iterdir())]:
        total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def test_kill_9_at_random_instants_changes_nothing(tmp_path: Path) -> None:
    trunk = str(write_trunk(tmp_path / "trunk"))
    assert finish(start(boot)) == 0
    started = time.monotonic()
    assert finish(start(train, str(tmp_path / "straight"), trunk)) == 0
    seconds = time.monotonic() - started
    killed = tmp_path / "killed"
    hits = kill_often(train, str(killed), trunk, kills=3, longest_seconds=0.9 * seconds, seed=26)
    assert hits >= 2, "the kills came too late to test anything"
    assert everything(killed) == everything(tmp_path / "straight")
