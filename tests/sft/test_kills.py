"""A fine-tuning that is killed at random instants ends as the one that was left alone, whole or with adapters."""

import time
from pathlib import Path

import pytest
import torch

from tests.faults.processes import finish, kill_often, needs_fork, start
from tests.sft.tiny_sft import run_sft, some_chats, write_base, write_chats
from tests.training.tiny_run import digest

pytestmark = needs_fork


def train(folder: str, rank: int) -> None:
    torch.set_num_threads(1)
    place = Path(folder).parent
    run_sft(
        Path(folder), place / "base", place / "chats.jsonl", steps=14, save_every=3, dropout=0.1,
        lora={"rank": rank, "dropout": 0.1},
    )  # fmt: skip


def boot() -> None:
    """Nothing: the first process of all takes the time in which torch is imported."""


@pytest.mark.parametrize("rank", [0, 4])
@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.torture)])
def test_kill_9_at_random_instants_changes_nothing(tmp_path, kills, rank):
    write_base(tmp_path / "base")
    write_chats(tmp_path / "chats.jsonl", some_chats(20))
    assert finish(start(boot)) == 0
    started = time.monotonic()
    assert finish(start(train, str(tmp_path / "straight"), rank)) == 0
    seconds = time.monotonic() - started
    hits = kill_often(train, str(tmp_path / "killed"), rank, kills=kills, longest_seconds=0.9 * seconds, seed=5)
    assert hits >= 2, "the kills came too late to test anything"
    assert digest(tmp_path / "killed") == digest(tmp_path / "straight")
