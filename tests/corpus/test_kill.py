"""R16: a corpus build killed anywhere leaves nothing but a stale folder, and building again gives the equal corpus."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.report import RecordProperty


def run_kills(tmp_path: Path, n_documents: int, n_kills: int) -> list[dict[str, object]]:
    rng = random.Random(3)
    lines = (
        json.dumps({"text": " ".join(rng.choices(["rio", "mar", "céu", "luz", "foz"], k=60))})
        for _ in range(n_documents)
    )
    (tmp_path / "a.jsonl").write_text("\n".join(lines), encoding="utf-8")
    shares = [str(round((index + rng.random()) / n_kills, 4)) for index in range(n_kills)]
    script = Path(__file__).with_name("killed_builder.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "a.jsonl"), str(tmp_path / "corpus"), *shares],
        capture_output=True,
        text=True,
        timeout=250 + 10 * n_kills,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(found: list[dict[str, object]], n_kills: int) -> None:
    assert len(found) == n_kills
    assert all(entry["whole"] and entry["equal"] and entry["clean"] for entry in found), found
    assert sum(bool(entry["killed"]) for entry in found) > n_kills // 2, "most kills came too late to test anything"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_builds_are_built_again_to_the_same_hash(tmp_path: Path, record_property: RecordProperty) -> None:
    record_property("R16", 20)
    check(run_kills(tmp_path, n_documents=600, n_kills=20), 20)


@pytest.mark.torture
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.timeout(3000)
def test_many_killed_builds(tmp_path: Path, record_property: RecordProperty) -> None:
    record_property("R16", 200)
    check(run_kills(tmp_path, n_documents=5000, n_kills=200), 200)
