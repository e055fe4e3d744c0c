"""R10: what the wall clock says changes nothing: not the order of checkpoints, not a duration, not a byte."""

import ast
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import prosa
from prosa.checkpoint import list_steps, prune_checkpoints
from prosa.metrics import MetricsLog, Progress
from prosa.rundir import write_durably
from tests.faults.report import RecordProperty
from tests.faults.saving import load, refuse_report, save

NOW = 1_800_000_000.0
HOUR, YEAR = 3600.0, 365 * 86400.0
CLOCKS = {
    "forward a year": [NOW, NOW + YEAR, NOW + YEAR + 1],
    "back a year": [NOW, NOW - YEAR, NOW - YEAR + 1],
    "daylight saving begins": [NOW, NOW + HOUR, NOW + HOUR + 1],
    "daylight saving ends": [NOW, NOW - HOUR, NOW - HOUR + 1],
    "standing still": [NOW, NOW, NOW],
    "flat battery": [NOW, 0.0, 1.0],
}


@pytest.mark.parametrize("times", CLOCKS.values(), ids=CLOCKS.keys())
def test_clock_jumps(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    times: list[float],
    record_property: RecordProperty,
) -> None:
    record_property("R10", 1)
    wall: Iterator[float] = iter(times)
    monkeypatch.setattr(time, "time", lambda: NOW)
    monkeypatch.setattr(time, "monotonic", lambda: 1000.0)
    log = MetricsLog(tmp_path / "metrics.jsonl", resume_step=0)
    with Progress("training", 12) as bar:
        for step in (1, 2, 3):
            now = next(wall)
            monkeypatch.setattr(time, "time", lambda now=now: now)
            monkeypatch.setattr(time, "monotonic", lambda step=step: 1000.0 + 4 * step)
            folder = save(tmp_path / "checkpoints", step)
            os.utime(folder, (now, now))
            log.write(step, {"loss": 0.5})
            bar.update(step)
    log.close()
    # One update every 4 s of the monotonic clock; 9 steps are left after the third.
    assert capsys.readouterr().err == "training: 3/12 steps  25%, 0:00:12 elapsed, 0:00:36 left\n"
    assert list_steps(tmp_path / "checkpoints") == [1, 2, 3]
    prune_checkpoints(tmp_path / "checkpoints", 1)
    found = load(tmp_path / "checkpoints", refuse_report)
    assert found is not None and found.step == 3
    metrics = (tmp_path / "metrics.jsonl").read_bytes()
    assert metrics == b"".join(b'{"step":%d,"loss":0.5}\n' % step for step in (1, 2, 3))


def test_the_same_state_is_the_same_bytes(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a", 7), save(tmp_path / "b", 7)
    for name in sorted(path.name for path in first.iterdir()):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_nothing_reads_the_wall_clock() -> None:
    """Only to tell people: since when a run is in use, when a judgment was made."""
    readers = set()
    for path in Path(prosa.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and (
                node.attr in {"utcnow", "today", "time_ns"}
                or (node.attr == "now" and getattr(node.value, "id", "") in {"datetime", "date"})
                or (node.attr == "time" and getattr(node.value, "id", "") == "time")
            ):
                readers.add((path.name, node.attr))
    assert readers == {("rundir.py", "now"), ("terminal_ranking.py", "now")}


def test_replacing_a_file_ignores_its_age(tmp_path: Path) -> None:
    path = tmp_path / "prosa.toml"
    write_durably(path, b"old")
    os.utime(path, (NOW + YEAR, NOW + YEAR))
    write_durably(path, b"new")
    assert path.read_bytes() == b"new"
