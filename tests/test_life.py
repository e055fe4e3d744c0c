"""R1 and R16 over all stages: a whole life killed at random instants is, in the end, the one that was left alone."""

import json
import time
from pathlib import Path

import pytest

from prosa.durable import read_manifest
from prosa.life import live
from prosa.life_settings import resolve_life
from tests.faults.processes import finish, kill_often, needs_fork, start
from tests.faults.report import RecordProperty
from tests.pretrain.tiny_life import write_settings
from tests.training.tiny_run import digest

pytestmark = needs_fork


def live_tiny(folder: str) -> None:
    _, life = resolve_life(str(Path(folder).parent / "tiny.toml"), [], None)
    assert live(Path(folder), life)


def hashes(run: Path) -> dict[str, str]:
    """What identifies each stage's result."""
    evaluation = json.loads((run / "evaluation" / "base.json").read_text(encoding="utf-8"))
    stages = {name: json.dumps(read_manifest(run / name)["files"]) for name in ("corpus", "tokenizer", "tokens")}
    return {**stages, "base": digest(run / "base"), "evaluation": json.dumps(evaluation)}


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.torture)])
def test_a_life_killed_at_random_instants_ends_as_if_left_alone(
    tmp_path: Path, kills: int, record_property: RecordProperty
) -> None:
    write_settings(tmp_path)
    finish(start(live_tiny, str(tmp_path / "warm")))
    started = time.monotonic()
    assert finish(start(live_tiny, str(tmp_path / "calm"))) == 0
    seconds = time.monotonic() - started
    expected = hashes(tmp_path / "calm")
    hits = 0
    for repeat in range(kills // 20):
        folder = tmp_path / f"killed-{repeat}"
        hits += kill_often(live_tiny, str(folder), kills=20, longest_seconds=0.7 * seconds, seed=repeat)
        assert hashes(folder) == expected
    assert hits >= 0.5 * kills, "the kills came too late to test anything"
    record_property("R1", hits)
    record_property("R16", hits)
