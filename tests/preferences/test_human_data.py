"""Readers of public rankings: on small files of the same form, and on the real ones where they are at hand."""

import gzip
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from prosa.corpus import ReadReport
from prosa.preferences import (
    RankedAnswers,
    Ranking,
    read_essay_br,
    read_hh_pairs,
    read_oasst_ranks,
    read_rankings,
    read_squality_ranks,
    read_ukp_pairs,
    read_ukp_rankings,
)

REAL = Path(os.environ.get("PROSA_DATA", Path(__file__).parents[2] / "data")) / "prefs"
needs_data = pytest.mark.skipif(not REAL.is_dir(), reason="the data sets are not on this machine")

OASST = {
    "id": "oasst/1/0",
    "lang": "en",
    "history": [
        {"role": "prompter", "text": "a?"},
        {"role": "assistant", "text": "b"},
        {"role": "prompter", "text": "c?"},
    ],
    "k": 3,
    "ranked": [{"rank": 0, "text": "x"}, {"rank": 2, "text": "y"}, {"rank": 1, "text": "z"}],
}
SQUALITY = {
    "story_id": "squality/1",
    "question": "What?",
    "candidates": [
        {
            "system": name,
            "text": f"text of {name}",
            "reviews": [
                {"worker_id": "3", "overall-rank": overall, "correctness-rank": 4 - overall, "selection-rank": 1},
                {"worker_id": "8", "overall-rank": 2, "correctness-rank": overall, "selection-rank": overall},
            ],
        }
        for name, overall in (("bart", 3), ("human", 1), ("dpr", 2))
    ],
}
HH = {"chosen": "\n\nHuman: a\n\nAssistant: c", "rejected": "\n\nHuman: a\n\nAssistant: r"}
ESSAYS = {
    "lang": "pt",
    "prompt": "Escreva.",
    "essays": [
        {"title": "Título", "essay": "A", "score": 880},
        {"title": "", "essay": "B", "score": 880},
        {"title": "", "essay": "C", "score": 820},
        {"title": "", "essay": "D", "score": 200},
    ],
}
UKP = {
    "title": "Plastic",
    "stance": "No",
    "ranked": [{"rank": 1, "arg": "arg1", "text": "first"}, {"rank": 2, "arg": "arg2", "text": "second"}],
}
ARGUMENTS = [{"id": f"arg{n}", "topic": "t", "stance": "No", "text": text} for n, text in ((1, "first"), (2, "second"))]
PAIRS = [
    {
        "title": "Plastic",
        "a1": "arg1",
        "a2": "arg2",
        "gold": "a2",
        "strict": None,
        "votes": [{"w": 0, "v": "a1"}, {"w": 1, "v": "equal"}, {"w": 2, "v": "a2"}],
    },
    {"title": "Plastic", "a1": "arg1", "a2": "arg9", "gold": "a1", "strict": "a1", "votes": []},
]


def write(path: Path, rows: Iterable[Any]) -> Path:
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
    return path


def read(reader: Callable[..., Iterator[RankedAnswers]], *paths: Path, **chosen: Any) -> list[RankedAnswers]:
    report = ReadReport()
    found = list(reader(*paths, report, **chosen))
    assert report.rejected.counts == {}, report.rejected
    assert report.n_documents == len(found)
    return found


def test_oasst(tmp_path: Path) -> None:
    [one] = read(read_oasst_ranks, write(tmp_path / "ranks.jsonl.gz", [OASST]))
    assert [message["role"] for message in one.messages] == ["user", "assistant", "user"]
    assert [one.answers[index] for index in one.ranking.ranked] == ["x", "z", "y"]


def test_squality(tmp_path: Path) -> None:
    path = write(tmp_path / "ranks.jsonl.gz", [SQUALITY])
    first, second = read(read_squality_ranks, path)
    assert (first.annotator, second.annotator) == ("3", "8")
    assert first.ranking == Ranking(((1,), (2,), (0,))) and second.ranking == Ranking(((0, 1, 2),))
    assert first.messages == ({"role": "system", "content": "squality/1"}, {"role": "user", "content": "What?"})
    correct, _ = read(read_squality_ranks, path, aspect="correctness")
    assert correct.ranking == Ranking(((0,), (2,), (1,)))


def test_hh(tmp_path: Path) -> None:
    [one] = read(read_hh_pairs, write(tmp_path / "pairs.jsonl.gz", [HH]))
    assert one.messages == ({"role": "user", "content": "a"},) and one.answers == ("c", "r")
    assert one.ranking == Ranking(((0,), (1,)))


def test_essays(tmp_path: Path) -> None:
    path = write(tmp_path / "essays.jsonl.gz", [ESSAYS])
    [one] = read(read_essay_br, path)
    assert one.answers[0] == "Título\n\nA" and one.ranking == Ranking(((0, 1), (2,), (3,)))
    pairs = read(read_essay_br, path, min_gap=80)
    assert [pair.answers for pair in pairs] == [("Título\n\nA", "D"), ("B", "D"), ("C", "D")]


def test_ukp(tmp_path: Path) -> None:
    [ranked] = read(read_ukp_rankings, write(tmp_path / "rankings.jsonl.gz", [UKP]))
    assert ranked.answers == ("first", "second") and ranked.ranking == Ranking(((0,), (1,)))
    files = write(tmp_path / "pairs.jsonl.gz", PAIRS), write(tmp_path / "arguments.jsonl.gz", ARGUMENTS)
    report = ReadReport()
    votes = list(read_ukp_pairs(*files, report))
    assert [(one.annotator, one.ranking.groups) for one in votes] == [
        ("worker 0", ((0,), (1,))),
        ("worker 1", ((0, 1),)),
        ("worker 2", ((1,), (0,))),
    ]
    # The same debate is one prompt, whichever file it is from.
    assert votes[0].messages == ranked.messages
    assert report.rejected.counts == {"an argument that is not in the file of arguments": 1}
    [gold] = read_ukp_pairs(*files, ReadReport(), label="gold")
    assert gold.ranking == Ranking(((1,), (0,)))
    report = ReadReport()
    assert list(read_ukp_pairs(*files, report, label="strict")) == []
    assert report.rejected.counts["a pair without the label strict"] == 1


def test_rows_say_what_they_are(tmp_path: Path) -> None:
    path = write(tmp_path / "mixed.jsonl.gz", [OASST, SQUALITY, HH, ESSAYS, UKP])
    assert [len(one.answers) for one in read(read_rankings, path)] == [3, 3, 3, 2, 4, 2]


@needs_data
def test_the_real_files() -> None:
    oasst = read(read_oasst_ranks, REAL / "oasst_ranks" / "ranks.jsonl.gz")
    assert len(oasst) == 176 and {len(one.answers) for one in oasst} <= set(range(2, 10))
    squality = read(read_squality_ranks, REAL / "squality_ranks" / "ranks.jsonl.gz")
    assert len(squality) == 3 * 75 and len({one.item_id for one in squality}) == 75
    report = ReadReport()
    pairs = list(read_hh_pairs(REAL / "hh_rlhf_harmless" / "pairs.jsonl.gz", report))
    assert len(pairs) + sum(report.rejected.counts.values()) == 1782 and len(pairs) > 1700
    essays = read(read_essay_br, REAL / "essay_br" / "ranked_essays.jsonl.gz")
    assert len(essays) == 74 and max(len(one.answers) for one in essays) == 48
    rankings = read(read_ukp_rankings, REAL / "ukpconvarg1" / "rankings.jsonl.gz")
    assert len(rankings) == 26
    files = REAL / "ukpconvarg1" / "pairs.jsonl.gz", REAL / "ukpconvarg1" / "arguments.jsonl.gz"
    report = ReadReport()
    votes = list(read_ukp_pairs(*files, report))
    missing = report.rejected.counts.get("an argument that is not in the file of arguments", 0)
    assert set(report.rejected.counts) <= {"an argument that is not in the file of arguments"}
    assert len({one.item_id for one in votes}) >= (13601 - missing) * 0.98


@needs_data
@pytest.mark.parametrize(
    ("reader", "name", "chosen", "expected"),
    [
        (read_oasst_ranks, "oasst_ranks/ranks.jsonl.gz", {}, 0.696),
        (read_hh_pairs, "hh_rlhf_harmless/pairs.jsonl.gz", {}, 0.439),
        (read_essay_br, "essay_br/ranked_essays.jsonl.gz", {"min_gap": 80}, 0.724),
    ],
)
def test_the_longer_answer_wins_as_often_as_is_told(
    reader: Callable[..., Iterator[RankedAnswers]], name: str, chosen: dict[str, Any], expected: float
) -> None:
    """The files' own description gives these figures for all of the data; here lies the larger part of it."""
    wins, n = 0.0, 0
    for one in reader(REAL / name, ReadReport(), **chosen):
        for better, worse in one.ranking.pairs():
            longer = len(one.answers[better]) - len(one.answers[worse])
            wins += 0.5 if longer == 0 else longer > 0
            n += 1
    assert abs(wins / n - expected) < 0.035, (wins / n, n)
