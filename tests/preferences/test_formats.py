"""A7: what a format can hold comes back as it was; what it cannot is said."""

import json
import uuid
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.corpus import ReadReport
from prosa.errors import DataError
from prosa.preferences import CANNOT_HOLD, RankedAnswers, Ranking, read_rankings, split_by_prompt, write_rankings
from prosa.preferences.formats import Format, read_hh_text
from prosa.preferences.splitting import prompt_hash
from tests.faults.report import RecordProperty
from tests.preferences.rankings import make_ranked

FORMATS = cast("list[Format]", list(CANNOT_HOLD))
TEXT = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    st.sampled_from(["", " a", "a\n", "\n\nHuman: b", "\n\nAssistant:", "\r\n", "\u2028", "não\x1b[0m"]),
)
MESSAGES = st.builds(
    lambda system, turns, last: [
        *([{"role": "system", "content": system}] if system else []),
        *({"role": role, "content": text} for text, role in zip(turns, ["user", "assistant"] * 4, strict=False)),
        {"role": "user", "content": last},
    ],
    st.one_of(st.just(""), TEXT),
    st.lists(TEXT, max_size=4).filter(lambda turns: len(turns) % 2 == 0),
    TEXT,
)


@st.composite
def rankings(draw: st.DrawFn) -> RankedAnswers:
    answers = draw(st.lists(TEXT, min_size=2, max_size=5))
    ranks = draw(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=len(answers), max_size=len(answers)))
    annotator = draw(st.sampled_from(["", "ana", str(uuid.UUID(int=5))]))
    return RankedAnswers.make(draw(MESSAGES), answers, Ranking.from_ranks(ranks), annotator=annotator)


def there_and_back(ranked: Sequence[RankedAnswers], format: Format) -> tuple[list[RankedAnswers], dict[str, Any]]:
    with TemporaryDirectory() as folder:
        path = Path(folder) / ("rankings.json" if format == "argilla" else "rankings.jsonl")
        report = write_rankings(ranked, path, format)
        read = ReadReport()
        found = list(read_rankings(path, read))
        # Where nothing can be held nothing is written, and the reader says that such a file is empty.
        assert read.rejected.counts == ({} if path.stat().st_size else {"empty": 1}), read.rejected
    return found, report.to_json()


def is_full_order(one: RankedAnswers) -> bool:
    return len(one.ranking.groups) == len(one.answers)


@pytest.mark.parametrize("format", ["trl", "openrlhf", "hh"])
@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(rankings(), max_size=4))
def test_pairs_come_back(format: Format, ranked: list[RankedAnswers]) -> None:
    found, report = there_and_back(ranked, format)
    said = [one for one in ranked if one.ranking.pairs()]
    if format == "hh":
        said = [one for one in said if can_be_hh(one)]
    pairs = [
        (one.messages, one.answers[better], one.answers[worse]) for one in said for better, worse in one.ranking.pairs()
    ]
    assert [(one.messages, *one.answers) for one in found] == pairs
    assert all(one.ranking == Ranking(((0,), (1,))) for one in found)
    assert report["rankings"] == len(said) and report["rows"] == len(pairs)
    assert sum(report["left_out"].values()) == len(ranked) - len(said)
    assert report["lost"].get("ties", 0) == sum(bool(one.ranking.ties()) for one in said)
    assert report["lost"].get("the annotator's name", 0) == sum(bool(one.annotator) for one in said)


def can_be_hh(one: RankedAnswers) -> bool:
    """By the definition of the format: two roles, and no text that holds a mark of a turn once it is joined."""
    for index in one.ranking.ranked:
        turns = [*one.messages, {"role": "assistant", "content": one.answers[index]}]
        if any(turn["role"] == "system" for turn in turns):
            return False
        names = {"user": "Human", "assistant": "Assistant"}
        text = "".join(f"\n\n{names[turn['role']]}: {turn['content']}" for turn in turns)
        if text.count("\n\nHuman:") + text.count("\n\nAssistant:") != len(turns):
            return False
    return True


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(rankings(), max_size=4))
def test_nemo_keeps_whole_rankings_with_ties(ranked: list[RankedAnswers]) -> None:
    ranked = [one for one in ranked if len(one.ranking.ranked) > 1]
    found, report = there_and_back(ranked, "nemo")
    for one, again in zip(ranked, found, strict=True):
        assert again.messages == one.messages and again.annotator == ""
        if len(one.ranking.ranked) == len(one.answers):
            assert (again.item_id, again.answers, again.ranking) == (one.item_id, one.answers, one.ranking)
        else:
            kept = [one.answers[index] for index in sorted(one.ranking.ranked)]
            assert list(again.answers) == kept
            ranks = [rank for rank in one.ranking.ranks(len(one.answers)) if rank is not None]
            assert again.ranking == Ranking.from_ranks(ranks)
    assert report["lost"].get("answers without a place", 0) == sum(
        len(one.ranking.ranked) < len(one.answers) for one in ranked
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(rankings(), max_size=4))
def test_argilla_keeps_full_orders_of_several_annotators(ranked: list[RankedAnswers]) -> None:
    found, report = there_and_back(ranked, "argilla")
    held = [one for one in ranked if is_full_order(one)]

    def said(one: RankedAnswers) -> tuple[str, tuple[str, ...], Ranking]:
        return (one.item_id, one.answers, one.ranking)

    assert Counter(map(said, found)) == Counter(map(said, held))
    assert sum(report["left_out"].values()) == len(ranked) - len(held)
    assert all(uuid.UUID(one.annotator) for one in found)
    known = str(uuid.UUID(int=5))
    assert sum(one.annotator == known for one in found) == sum(one.annotator == known for one in held)


@pytest.mark.parametrize("format", FORMATS)
def test_an_empty_export(format: Format) -> None:
    assert there_and_back([], format)[0] == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_weight_is_lost_and_said(format: Format) -> None:
    _, report = there_and_back([make_ranked([1, 2], weight=0.5), make_ranked([2, 1])], format)
    assert report["lost"]["a weight"] == 1 and "weight" in report["cannot_hold"]


def test_an_unknown_format(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="unknown format") as caught:
        write_rankings([], tmp_path / "x", cast("Format", "csv"))
    assert "trl, openrlhf" in caught.value.hint


def test_rows_as_the_formats_are_documented(tmp_path: Path) -> None:
    one = make_ranked([2, 1, 2], prompt="Oi?")
    user, (a, b, c) = (
        {"role": "user", "content": "Oi?"},
        ({"role": "assistant", "content": t} for t in ("a", "bb", "ccc")),
    )
    expected: dict[Format, list[Any]] = {
        "trl": [{"prompt": [user], "chosen": [b], "rejected": [x]} for x in (a, c)],
        "openrlhf": [{"chosen": [user, b], "rejected": [user, x]} for x in (a, c)],
        "hh": [
            {"chosen": "\n\nHuman: Oi?\n\nAssistant: bb", "rejected": f"\n\nHuman: Oi?\n\nAssistant: {x}"}
            for x in ("a", "ccc")
        ],
        "nemo": [
            {"context": [user], "completions": [{"rank": r, "completion": [x]} for r, x in ((1, a), (0, b), (1, c))]}
        ],
    }
    for format, rows in expected.items():
        path = tmp_path / format
        write_rankings([one], path, format)
        assert [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] == rows
    path = tmp_path / "argilla.json"
    write_rankings([make_ranked([2, 1], prompt="Oi?", annotator=str(uuid.UUID(int=5)))], path, "argilla")
    [record] = json.loads(path.read_text(encoding="utf-8"))
    assert record["fields"] == {"prompt": [user], "response_1": "a", "response_2": "bb"}
    assert record["responses"] == {
        "ranking": [{"value": ["response_2", "response_1"], "user_id": str(uuid.UUID(int=5))}]
    }


ROWS: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "p", "chosen": "c", "rejected": "r"}, "p|c|r"),
    # A prompt that both conversations repeat, as in UltraFeedback's binarized form.
    (
        {
            "prompt": "p",
            "chosen": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "c"}],
            "rejected": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "r"}],
            "score_chosen": 9,
        },
        "p|c|r",
    ),
    ({"chosen": "\n\nHuman: p\n\nAssistant: c", "rejected": "\n\nHuman: p\n\nAssistant:r"}, "p|c|r"),
    # Argilla 1 gives ranks, with ties, and keeps what was discarded.
    (
        {
            "fields": {"instruction": "p", "response-1": "r", "response-2": "c"},
            "responses": {
                "rank": [
                    {"value": [{"value": "response-2", "rank": 1}, {"value": "response-1", "rank": 2}], "user_id": "u"},
                    {"value": ["response-1"], "user_id": "v", "status": "discarded"},
                ],
                "comment": [{"value": "text", "user_id": "u"}],
            },
        },
        "p|c|r",
    ),
]


@pytest.mark.parametrize(("row", "expected"), ROWS)
def test_rows_of_other_programs(tmp_path: Path, row: dict[str, Any], expected: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    report = ReadReport()
    [one] = read_rankings(tmp_path / "rows.jsonl", report)
    best, worst = one.ranking.ranked
    assert "|".join([one.messages[-1]["content"], one.answers[best], one.answers[worst]]) == expected


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"chosen": "a", "rejected": "b"}, "does not begin with a turn"),
        ({"prompt": "p", "chosen": None, "rejected": "b"}, "another form"),
        ({"prompt": "p", "chosen": [], "rejected": []}, "does not end with the assistant"),
        (
            {"chosen": "\n\nHuman: p\n\nAssistant: c", "rejected": "\n\nHuman: q\n\nAssistant: c"},
            "different conversations",
        ),
        ({"chosen": "\n\nHuman: p", "rejected": "\n\nHuman: q"}, "does not end with the assistant"),
        ({"context": "p", "completions": [{"rank": 0, "completion": [{"content": "a"}]}]}, "fewer than two"),
        ({"context": "p", "completions": [{"rank": "x", "completion": [{"content": "a"}]}]}, "another form"),
        (
            {"fields": {"prompt": "p", "response_1": "a"}, "responses": {"r": [{"value": ["response_9"]}]}},
            "unknown answer",
        ),
        ({"fields": {"prompt": "p", "response_1": "a"}, "responses": {}}, "fewer than two"),
        ({"text": "a"}, "no known form"),
        ({"prompt": "p", "chosen": "\ud800", "rejected": "b"}, "half a character"),
        ("text", "no known form"),
        (None, "another form"),
    ],
)
def test_bad_rows_are_counted(tmp_path: Path, row: Any, reason: str) -> None:
    good = {"prompt": "p", "chosen": "c", "rejected": "r"}
    lines = [json.dumps(good), json.dumps(row), "{", json.dumps(good)]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    report = ReadReport()
    assert len(list(read_rankings(tmp_path / "rows.jsonl", report))) == 2
    assert any(reason in found for found in report.rejected.counts), report.rejected
    assert sum(report.rejected.counts.values()) == 2
    assert all(":2" in places[0] or ":3" in places[0] for places in report.rejected.examples.values())


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        list(read_rankings(tmp_path / "none.jsonl", ReadReport()))


def test_hh_text_by_hand() -> None:
    text = "\n\nHuman: a\nb\n\nAssistant:c\n\nHuman:  d"
    assert read_hh_text(text) == [
        {"role": "user", "content": "a\nb"},
        {"role": "assistant", "content": "c"},
        {"role": "user", "content": " d"},
    ]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(rankings(), max_size=12), st.floats(0, 1), st.integers(0, 3))
def test_no_prompt_is_in_both_splits(ranked: list[RankedAnswers], fraction: float, seed: int) -> None:
    ranked += [
        RankedAnswers.make(
            [{"role": turn["role"], "content": f"  {turn['content'].upper()}\n"} for turn in one.messages],
            ["x", "y"],
            Ranking(((0,), (1,))),
        )
        for one in ranked
        if all(turn["content"].upper().casefold() == turn["content"].casefold() for turn in one.messages)
    ]
    train, test = split_by_prompt(ranked, test_fraction=fraction, seed=seed)
    assert not {prompt_hash(one.messages) for one in train} & {prompt_hash(one.messages) for one in test}
    assert Counter(map(id, train + test)) == Counter(map(id, ranked))
    # More data moves no prompt to the other side.
    half, _ = split_by_prompt(ranked[::2], test_fraction=fraction, seed=seed)
    assert {id(one) for one in half} <= {id(one) for one in train}


def test_the_share_of_the_split(record_property: RecordProperty) -> None:
    ranked = [make_ranked([1, 2], item=str(number)) for number in range(2000)]
    train, test = split_by_prompt(ranked, test_fraction=0.2)
    assert len(train) + len(test) == 2000 and abs(len(test) - 400) < 4 * (2000 * 0.2 * 0.8) ** 0.5
    record_property("A7", 300)
