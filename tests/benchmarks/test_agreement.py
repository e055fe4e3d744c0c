"""The agreement benchmark on a made-up file: what is missing is said, what is there is measured and shown."""

import json
from pathlib import Path

import pytest

from benchmarks.agreement import main, write_agreement


def write_rows(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")


def test_missing_sets_are_said_to_be_missing(tmp_path: Path, capsys) -> None:
    assert main(["--data", str(tmp_path), "--results", str(tmp_path / "results")]) == 0
    assert "nothing measured" in capsys.readouterr().err
    assert not (tmp_path / "results").exists()


def test_sets_at_hand_are_measured_and_shown(tmp_path: Path) -> None:
    history = [{"role": "prompter", "text": "Why?"}]
    replies = [
        [{"rank": 0, "text": "Because of it."}, {"rank": 1, "text": "So."}],
        [{"rank": 1, "text": "No no."}, {"rank": 0, "text": "No."}],
    ]
    write_rows(
        tmp_path / "prefs" / "oasst_ranks" / "ranks.jsonl",
        [{"id": str(k), "history": history, "ranked": ranked} for k, ranked in enumerate(replies)],
    )
    arguments = [{"id": name, "stance": "yes", "text": text} for name, text in (("x", "short"), ("y", "much longer"))]
    write_rows(tmp_path / "prefs" / "ukpconvarg1" / "arguments.jsonl", arguments)
    votes = [{"w": k, "v": "a2" if k < 4 else "a1"} for k in range(5)]
    pair = {"id": "x_y", "title": "t", "a1": "x", "a2": "y", "gold": "a2", "strict": "a2", "votes": votes}
    (tmp_path / "prefs" / "ukpconvarg1" / "pairs.jsonl").write_text(json.dumps(pair), encoding="utf-8")
    assert main(["--data", str(tmp_path), "--results", str(tmp_path / "results")]) == 0
    record = json.loads((tmp_path / "results" / "agreement.json").read_text(encoding="utf-8"))
    assert record["result"]["oasst_ranks"]["longer_wins"]["value"] == 0.5
    ukp = record["result"]["ukpconvarg1"]
    # Four of five votes are those of the majority of the other four.
    assert ukp["majority"]["value"] == pytest.approx(0.8)
    # 4 x 3/4 + 1 x 0 of five votes.
    assert ukp["pairwise"]["value"] == pytest.approx(0.6)
    assert ukp["longer_wins"]["value"] == 1
    page = write_agreement(record)
    assert "0.800 (" in page and "**Met**: Krippendorff" in page
