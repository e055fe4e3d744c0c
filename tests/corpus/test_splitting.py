import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.corpus.splitting import cut_pieces, fill_parts, first_occurrences, is_validation, tail_cut, tail_start


def book(n_paragraphs: int, seed: int = 0) -> str:
    rng = random.Random(seed)
    return "\n\n".join(
        " ".join(rng.choices(["maré", "céu", "barco", "vento", "luz"], k=rng.randint(5, 60)))
        for _ in range(n_paragraphs)
    )


@settings(max_examples=100, derandomize=True, deadline=None)
@given(st.text("aé😀 \n", max_size=400), st.integers(10, 60))
def test_pieces_joined_are_the_text(text: str, limit: int) -> None:
    pieces = cut_pieces(text.encode(), limit)
    assert "".join(piece.decode() for piece in pieces) == text
    assert max(map(len, pieces)) <= limit


def test_pieces_end_after_paragraphs_and_none_is_a_scrap() -> None:
    pieces = cut_pieces(book(2000).encode(), 20_000)
    assert len(pieces) > 10
    assert all(piece.endswith(b"\n\n") for piece in pieces[:-1])
    assert min(map(len, pieces)) >= 20_000 // 8


def test_an_edit_moves_only_the_pieces_around_it() -> None:
    text = book(6000)
    before = cut_pieces(text.encode(), 20_000)
    after = cut_pieces((book(150, seed=1)[:9000] + "\n\n" + text).encode(), 20_000)
    assert len(before) > 40
    assert len(set(before) & set(after)) > 0.8 * len(before)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=40))
def test_first_occurrences_as_with_a_set(pairs: list[tuple[int, int]]) -> None:
    seen: set[tuple[int, int]] = set()
    expected = []
    for pair in pairs:
        expected.append(pair not in seen)
        seen.add(pair)
    ids = np.array(pairs, dtype=np.uint64).reshape(-1, 2)
    assert first_occurrences(ids).tolist() == expected


def test_validation_is_a_share_chosen_by_each_id_alone() -> None:
    ids = np.random.default_rng(0).integers(0, 2**64, size=(20_000, 2), dtype=np.uint64)
    chosen = is_validation(ids, 0.1, seed=3)
    assert abs(chosen.mean() - 0.1) < 0.01
    alone = np.concatenate([is_validation(ids[index : index + 1], 0.1, seed=3) for index in range(0, 20_000, 97)])
    assert alone.tolist() == chosen[::97].tolist()
    assert not is_validation(ids, 0.0, seed=3).any()
    assert (is_validation(ids, 0.2, seed=3) | ~chosen).all(), "a larger share keeps what was chosen"
    assert (is_validation(ids, 0.1, seed=4) != chosen).any()


@pytest.mark.parametrize(("n", "fraction", "expected"), [(1_115_394, 0.1, 1_003_854), (1000, 0.07, 930), (10, 0.3, 7)])
def test_tails_start_where_people_expect(n: int, fraction: float, expected: int) -> None:
    assert tail_start(n, fraction) == expected


def test_tail_cuts() -> None:
    text = "um dois\ntrês quatro\n\ncinco seis"
    assert tail_cut(text, 10, "exact") == 10
    assert text[tail_cut(text, 10, "line") :] == "cinco seis"
    assert tail_cut("no line end here", 5, "line") == 5
    assert text[tail_cut(text, 21, "line") :] == "cinco seis", "already at a paragraph"


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 30), max_size=40), st.integers(5, 60))
def test_parts_hold_every_row_once_and_are_full(sizes: list[int], limit: int) -> None:
    ranges = fill_parts(np.array(sizes, dtype=np.int32), limit)
    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(len(sizes)))
    for start, stop in ranges:
        assert sum(sizes[start:stop]) <= limit or stop == start + 1
        assert stop == len(sizes) or sum(sizes[start : stop + 1]) > limit
