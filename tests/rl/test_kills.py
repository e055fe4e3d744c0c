"""R1 and R14: reinforcement learning that is killed or stopped and goes on ends as the one that was left alone."""

import hashlib
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from prosa.rl import Answer, Reward, main
from tests.faults.processes import finish, kill_often, needs_fork, start
from tests.faults.report import RecordProperty
from tests.rl.tiny_rl import PROMPTS, count_x, open_reward, settings, start_policy
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


def kill(tmp_path: Path, record_property: RecordProperty, *, kills: int, seed: int) -> None:
    policy = str(start_policy(tmp_path / "start"))
    assert finish(start(boot)) == 0
    started = time.monotonic()
    assert finish(start(train, str(tmp_path / "straight"), policy)) == 0
    seconds = time.monotonic() - started
    hits = kill_often(train, str(tmp_path / "killed"), policy, kills=kills, longest_seconds=0.9 * seconds, seed=seed)
    assert hits >= kills // 2, "the kills came too late to test anything"
    assert everything(tmp_path / "killed") == everything(tmp_path / "straight")
    record_property("R1", hits)


def test_kill_9_at_random_instants_changes_nothing(tmp_path: Path, record_property: RecordProperty) -> None:
    kill(tmp_path, record_property, kills=3, seed=41)


@pytest.mark.torture
def test_kill_9_at_twenty_random_instants_changes_nothing(tmp_path: Path, record_property: RecordProperty) -> None:
    kill(tmp_path, record_property, kills=20, seed=42)


def test_stopped_after_every_step_it_ends_the_same(tmp_path: Path, record_property: RecordProperty) -> None:
    policy, n_steps = start_policy(tmp_path / "start"), 4
    asked = settings(steps=n_steps, save_every=10**6, kl_target=0.3, kl_horizon=200)

    def stop_at(step: int) -> Reward:
        calls = iter(range(10**6))

        def worth(answers: Sequence[Answer]) -> list[float]:
            if next(calls) == step - 1:
                signal.raise_signal(signal.SIGTERM)
            return count_x(answers)

        return Reward(worth, count_x, {"reward": "letters"})

    assert main(tmp_path / "straight", asked, policy, PROMPTS, open_reward, is_shown=False).is_finished
    for step in range(1, n_steps):
        folder = tmp_path / f"stop-{step}"
        result = main(folder, asked, policy, PROMPTS, lambda tokenizer, step=step: stop_at(step), is_shown=False)
        assert (result.is_finished, result.stopped_by) == (False, "SIGTERM")
        assert main(folder, asked, policy, PROMPTS, open_reward, is_shown=False).is_finished
        assert everything(folder) == everything(tmp_path / "straight"), f"resumed after step {step}"
    record_property("R14", n_steps - 1)
