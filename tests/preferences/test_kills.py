"""A1: `prosa rank` killed at random instants keeps every judgment it acknowledged, exactly once."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.report import RecordProperty


def kill(folder: Path, n_kills: int, seed: int) -> int:
    script = Path(__file__).with_name("killed_annotator.py")
    done = subprocess.run(
        [sys.executable, str(script), str(folder), str(n_kills), str(seed)],
        capture_output=True,
        text=True,
        timeout=60 + 5 * n_kills,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["hits"] == n_kills and found["saved"] >= n_kills and found["undone"] > 0, found
    assert found["lost"] == found["lost_undone"] == found["double"] == found["problems"] == [], found
    # Each kill may leave one row that was durable and not yet said to be.
    assert 0 <= found["unacknowledged"] <= n_kills, found
    return int(found["saved"])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.timeout(200)
def test_killed_while_ranking(tmp_path: Path, record_property: RecordProperty) -> None:
    kill(tmp_path, 6, seed=1)
    record_property("A1", 6)


@pytest.mark.torture
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.timeout(1000)
def test_killed_more_often(tmp_path: Path, record_property: RecordProperty) -> None:
    kill(tmp_path, 50, seed=2)
    record_property("A1", 50)
