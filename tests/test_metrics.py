import io
import sys
import time
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from prosa.errors import ConfigError, DataError
from prosa.metrics import MetricsLog, Progress, Trackers, read_metrics


def write_steps(path: Path, steps: range, resume_step: int = 0) -> None:
    log = MetricsLog(path, resume_step=resume_step)
    for step in steps:
        log.write(step, {"loss": 1 / step, "bits": 0.1 * step}, timing={"seconds": time.perf_counter()})
    log.close()


# The log


def test_a_record_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "base" / "metrics.jsonl"
    log = MetricsLog(path, resume_step=0)
    log.write(1, {"z": "olá", "a": 1 / 3, "list": [1, None], "numpy": np.float32(0.1)}, timing={"seconds": 0.5})
    log.write(2, {"bad": float("nan")})
    assert path.read_text(encoding="utf-8") == (
        '{"step":1,"a":0.3333333333333333,"list":[1,null],"numpy":0.1,"z":"olá","time":{"seconds":0.5}}\n'
        '{"step":2,"bad":null}\n'
    )
    log.close()
    log.close()
    assert read_metrics(path, with_time=False)[0].keys() == {"step", "a", "list", "numpy", "z"}
    assert read_metrics(path)[0]["time"] == {"seconds": 0.5}


def without_time(path: Path) -> list[dict[str, Any]]:
    return read_metrics(path, with_time=False)


def test_resuming_gives_the_undisturbed_log(tmp_path: Path) -> None:
    write_steps(tmp_path / "whole.jsonl", range(1, 11))
    path = tmp_path / "resumed.jsonl"
    write_steps(path, range(1, 8))
    for resume_step in (4, 0, 7):
        write_steps(path, range(resume_step + 1, 8), resume_step=resume_step)
    with path.open("ab") as file:
        file.write(b'{"step":8,"lo')
    write_steps(path, range(8, 11), resume_step=7)
    assert without_time(path) == without_time(tmp_path / "whole.jsonl")


def test_every_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_steps(path, range(1, 4))
    whole = path.read_bytes()
    third = whole.rindex(b"\n", 0, -1) + 1
    for length in range(third, len(whole)):
        path.write_bytes(whole[:length])
        assert len(read_metrics(path)) == 2
        MetricsLog(path, resume_step=3).close()
        assert path.read_bytes() == whole[:third]


def test_an_untouched_log_is_not_rewritten(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_steps(path, range(1, 4))
    inode = path.stat().st_ino
    MetricsLog(path, resume_step=3).close()
    assert path.stat().st_ino == inode


@pytest.mark.parametrize("line", [b"x", b"[]", b"{}", b'{"step":"1"}', b"", b'{"step":1,"loss":NaN}', b"\xff"])
def test_damage_inside_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    write_steps(path, range(1, 3))
    path.write_bytes(path.read_bytes() + line + b"\n" + path.read_bytes())
    with pytest.raises(DataError, match=r"metrics\.jsonl:3` is not a record") as caught:
        read_metrics(path)
    assert "move the file away" in caught.value.hint
    with pytest.raises(DataError):
        MetricsLog(path, resume_step=9)


# The bar


def run_bar(total: int | None, steps: range, *, seconds_each: float, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 50.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress("training", total) as bar:
        for step in steps:
            now += seconds_each
            bar.update(step, loss=f"{step / 10:.1f}", tokens_per_second="9,000")
            if step == steps[0]:
                bar.print("a [red]sample")


def test_plain_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_bar(1500, range(1001, 1009), seconds_each=4.0, monkeypatch=monkeypatch)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.splitlines() == [
        "a [red]sample",
        "training: 1,003/1,500 steps  67%, loss 100.3, tokens per second 9,000, 0:00:12 elapsed, 0:33:08 left",
        "training: 1,006/1,500 steps  67%, loss 100.6, tokens per second 9,000, 0:00:24 elapsed, 0:32:56 left",
        "training: 1,008/1,500 steps  67%, loss 100.8, tokens per second 9,000, 0:00:32 elapsed, 0:32:48 left",
    ]


def test_plain_lines_without_a_total(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_bar(None, range(1, 4), seconds_each=3601.0, monkeypatch=monkeypatch)
    assert capsys.readouterr().err.splitlines()[-1] == (
        "training: 3 steps, loss 0.3, tokens per second 9,000, 3:00:03 elapsed"
    )


def test_the_last_line_is_not_said_twice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    run_bar(2, range(1, 3), seconds_each=20.0, monkeypatch=monkeypatch)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert lines[-1] == "training: 2/2 steps 100%, loss 0.2, tokens per second 9,000, 0:00:40 elapsed"


def test_hidden_or_unused_bars_say_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress("training", 5, is_shown=False) as bar:
        bar.update(5)
        bar.print("hello")
    with Progress("training", 5):
        pass
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""


@pytest.mark.parametrize("total", [40, None])
def test_a_terminal_gets_a_bar(monkeypatch: pytest.MonkeyPatch, total: int | None) -> None:
    import rich.console

    screen = io.StringIO()

    def terminal(**options: Any) -> Console:
        options |= {"file": screen, "force_terminal": True, "width": 80, "no_color": True, "stderr": False}
        return Console(**options)

    monkeypatch.setattr(rich.console, "Console", terminal)
    with Progress("training", total, unit="documents") as bar:
        for step in range(1, 31):
            bar.update(step, bits_per_byte="1.25", loss="[/]")
        bar.print("above")
    shown = screen.getvalue()
    assert "above" in shown
    assert ("30/40 documents  75%" if total else "30 documents") in shown
    assert "bits per byte" in shown and "1.25" in shown and "[/]" in shown
    assert ("left" in shown) == (total is not None)


# Trackers


def test_unknown_and_missing_trackers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="unknown tracker `mlflow`") as caught:
        Trackers(["mlflow"], tmp_path)
    assert "tensorboard, wandb" in caught.value.hint
    for name, module in (("tensorboard", "torch.utils.tensorboard"), ("wandb", "wandb")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(ConfigError, match=f"`{name}` is not installed") as caught:
            Trackers([name], tmp_path)
        assert caught.value.hint == f"pip install 'prosa[{name}]'"
    with Trackers([], tmp_path) as trackers:
        trackers.write(1, {"loss": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_trackers_get_the_finite_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    class SummaryWriter:
        def __init__(self, folder: str, purge_step: int) -> None:
            calls.append((Path(folder).name, purge_step))

        def add_scalar(self, name: str, value: float, step: int) -> None:
            calls.append((name, value, step))

        def close(self) -> None:
            calls.append("closed")

    run = types.SimpleNamespace(log=lambda values, step: calls.append((values, step)), finish=lambda: None)
    wandb = types.SimpleNamespace(init=lambda **options: calls.append(options["name"]) or run)
    tensorboard = types.SimpleNamespace(SummaryWriter=SummaryWriter)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", tensorboard)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    values = {"loss": 0.5, "n": 2, "text": "x", "is_last": True, "bad": float("inf"), "none": None}
    with Trackers(["tensorboard", "wandb"], tmp_path / "vila", resume_step=6) as trackers:
        trackers.write(7, values)
    assert calls == [
        ("tensorboard", 7),
        "vila",
        ("loss", 0.5, 7),
        ("n", 2.0, 7),
        ({"loss": 0.5, "n": 2.0}, 7),
        "closed",
    ]


def test_importing_is_light() -> None:
    import subprocess

    code = "import sys, prosa.metrics; sys.exit(bool({'torch', 'rich', 'numpy', 'wandb'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
