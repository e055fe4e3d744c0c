"""Rankings say what they mean, and what cannot be is refused."""

import uuid
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.errors import DataError
from prosa.preferences import Answer, Item, Judgment, RankedAnswers, Ranking, check_messages
from prosa.preferences.rows import read_row, write_row

PROMPT = [{"role": "user", "content": "Quem mora no farol?"}]
RANKS = st.lists(st.one_of(st.none(), st.integers(0, 4)), max_size=7)


def test_a_ranking_by_hand() -> None:
    ranking = Ranking(((2,), (3, 0)))
    assert ranking.ranked == [2, 0, 3]
    assert ranking.pairs() == [(2, 0), (2, 3)]
    assert ranking.ties() == [(0, 3)]
    assert ranking.ranks(5) == [2.5, None, 1.0, 2.5, None]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(RANKS)
def test_ranks_there_and_back(ranks: list[int | None]) -> None:
    ranking = Ranking.from_ranks(ranks)
    assert Ranking.from_ranks(ranking.ranks(len(ranks))) == ranking
    pairs = {(i, j) for i, a in enumerate(ranks) for j, b in enumerate(ranks) if None not in (a, b) and a < b}  # type: ignore[operator]
    ties = {(i, j) for i, a in enumerate(ranks) for j, b in enumerate(ranks) if i < j and a is not None and a == b}
    assert set(ranking.pairs()) == pairs and len(ranking.pairs()) == len(pairs)
    assert set(ranking.ties()) == ties and len(ranking.ties()) == len(ties)


@pytest.mark.parametrize("groups", [((0,), (0,)), ((0, 0),), ((),), ((-1,),)])
def test_rankings_that_cannot_be(groups: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(DataError, match="at most one group"):
        Ranking(groups)


def test_ranks_must_be_finite() -> None:
    with pytest.raises(DataError, match="finite"):
        Ranking.from_ranks([1, float("nan")])


def test_a_ranking_of_answers_that_are_not_there() -> None:
    with pytest.raises(DataError, match="there are 2"):
        RankedAnswers.make(PROMPT, ["a", "b"], Ranking(((2,), (0,))))
    with pytest.raises(DataError, match="there are 1"):
        Item.make(PROMPT, [Answer("a")], gold=Ranking(((1,),)))


def test_numpy_integers_are_stored_as_integers() -> None:
    judgment = make_judgment(
        ranking=Ranking((tuple(np.array([1, 0])),)), order_shown=tuple(np.array([0, 1])), seconds=2
    )
    assert read_row(Judgment, write_row(judgment)) == judgment
    assert write_row(judgment) == write_row(read_row(Judgment, write_row(judgment)))


def test_the_id_of_an_item_depends_on_prompt_and_answers() -> None:
    ids = {
        Item.make(PROMPT, [Answer("a"), Answer("b")]).id,
        Item.make(PROMPT, [Answer("b"), Answer("a")]).id,
        Item.make(PROMPT, [Answer("a"), Answer("b"), Answer("")]).id,
        Item.make([*PROMPT, {"role": "user", "content": "?"}], [Answer("a"), Answer("b")]).id,
        Item.make([{"role": "system", "content": "Quem mora no farol?"}], [Answer("a"), Answer("b")]).id,
    }
    assert len(ids) == 5
    assert Item.make(PROMPT, [Answer("a"), Answer("b", model="x")]).id in ids
    with pytest.raises(DataError, match="does not belong"):
        Item("0" * 32, tuple(PROMPT), (Answer("a"),))


def test_a_uuid_has_one_spelling() -> None:
    name = uuid.uuid4()
    assert make_judgment(uuid=name.hex.upper()).uuid == str(name)
    with pytest.raises(DataError, match="not a UUID"):
        make_judgment(uuid="1")


@pytest.mark.parametrize(
    "changes", [{"annotator": " "}, {"seconds": -1}, {"seconds": float("inf")}, {"comment": "\ud800"}]
)
def test_judgments_that_cannot_be(changes: dict[str, Any]) -> None:
    with pytest.raises(DataError):
        make_judgment(**changes)


@pytest.mark.parametrize("messages", [[], [{"role": "user"}], [{"role": "user", "content": 3}], [{"content": "a"}]])
def test_messages_that_cannot_be(messages: list[Any]) -> None:
    with pytest.raises(DataError):
        check_messages(messages)
    with pytest.raises(DataError):
        Item.make(messages, [Answer("a")])


def test_half_a_character_is_refused_before_it_is_hashed() -> None:
    with pytest.raises(DataError, match="half a character"):
        Answer("\ud800")
    with pytest.raises(DataError, match="half a character"):
        RankedAnswers.make(PROMPT, ["a", "\udfff"], Ranking(((0,), (1,))))


def test_an_item_there_and_back() -> None:
    answers = [Answer("é\n\x1b", "length", (1, 2), -3.5, "hash", {"temperature": 0.8}), Answer("")]
    item = Item.make(PROMPT, answers, language="pt", source="s", task_id="t", gold=Ranking(((1,), (0,))))
    assert read_row(Item, write_row(item)) == item


@pytest.mark.parametrize("row", ["", "[]", "{}", '{"uuid": 3}'])
def test_a_row_that_does_not_fit(row: str) -> None:
    with pytest.raises(DataError, match="does not fit"):
        read_row(Judgment, row)


def make_judgment(**changes: Any) -> Judgment:
    fields = {"uuid": str(uuid.uuid4()), "item_id": "i", "annotator": "ana", "ranking": None}
    return Judgment(**{**fields, **changes})
