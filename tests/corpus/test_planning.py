import random
from itertools import groupby

import numpy as np
import pytest

from prosa.corpus.document import content_id
from prosa.corpus.planning import (
    RowCollector,
    Rows,
    choose_splits,
    join_selections,
    select_by_hash,
    select_tails,
)
from prosa.corpus.preparing import SpillRow


def corpus_of(seed: int, n_rows: int = 60) -> tuple[Rows, list[str], list[tuple[int, bool]]]:
    """Rows of three sources, their texts, and (source, is_continued) of each."""
    rng = random.Random(seed)
    collector, texts, places = RowCollector(), [], []
    for source in range(3):
        for spill in range(3):
            rows = []
            for _ in range(n_rows // 9):
                text = "".join(rng.choices("aé😀 \n", k=rng.randint(1, 40)))
                is_continued = rng.random() < 0.5
                n_bytes = len(text.encode())
                rows.append(SpillRow(content_id(text.encode()), n_bytes, len(text), is_continued, "book", "pt", "x"))
                texts.append(text)
                places.append((source, is_continued))
            collector.add(source, f"{source}-{spill}", rows)
    rows_found = collector.rows()
    assert rows_found is not None
    return rows_found, texts, places


def documents_of(places: list[tuple[int, bool]]) -> list[int]:
    """The slow way: a piece goes on with its predecessor if it says so and both are of one source."""
    numbers: list[int] = []
    for index, (source, is_continued) in enumerate(places):
        goes_on = index > 0 and is_continued and places[index - 1][0] == source
        numbers.append(numbers[-1] if goes_on else (numbers[-1] + 1 if numbers else 1))
    return numbers


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("fraction", [0.1, 0.37])
def test_tails_are_those_of_whole_documents(seed: int, fraction: float) -> None:
    rows, texts, places = corpus_of(seed)
    assert rows.documents.tolist() == documents_of(places)
    is_kept = np.random.default_rng(seed).random(len(texts)) < 0.8
    selection = select_tails(rows, is_kept, fraction, "exact", texts.__getitem__)
    sides: dict[int, list[str]] = {}
    columns = (selection.row, selection.split, selection.start, selection.stop, selection.n_bytes)
    for row, split, start, stop, n_bytes in zip(*(column.tolist() for column in columns), strict=True):
        text = texts[row][start : stop if stop >= 0 else None]
        assert len(text.encode()) == n_bytes > 0
        sides.setdefault(documents_of(places)[row], ["", ""])[split] += text
    kept = [(number, text) for number, text, keep in zip(documents_of(places), texts, is_kept, strict=True) if keep]
    for number, pieces in groupby(kept, key=lambda pair: pair[0]):
        whole = "".join(text for _, text in pieces)
        cut = int(len(whole) * round(1 - fraction, 12))
        assert sides[number] == [whole[:cut], whole[cut:]]


def test_joined_selections_are_in_reading_order() -> None:
    rows, texts, _ = corpus_of(1)
    first = rows.source == 0
    tails = select_tails(rows, first, 0.3, "exact", texts.__getitem__)
    joined = join_selections([select_by_hash(rows, ~first, 0.1, 0), tails])
    pairs = list(zip(joined.row.tolist(), joined.start.tolist(), strict=True))
    assert pairs == sorted(pairs) and set(joined.row.tolist()) == set(range(len(texts)))


def test_small_sources_are_divided_by_tails_and_large_ones_by_hash() -> None:
    rows, _, _ = corpus_of(2, n_rows=900)
    is_kept = rows.source != 1
    is_kept[np.flatnonzero(rows.source == 2)[20:]] = False
    assert choose_splits(rows, is_kept, 3, 0.1, 0, "auto") == ["hash", "none", "tail"]
    assert choose_splits(rows, is_kept, 3, 0.0, 0, "auto") == ["none"] * 3
    assert choose_splits(rows, is_kept, 3, 0.1, 0, "tail") == ["tail", "none", "tail"]


def test_piece_numbers_count_within_documents() -> None:
    rows, _, places = corpus_of(3)
    expected: list[int] = []
    for _, group in groupby(documents_of(places)):
        expected.extend(range(len(list(group))))
    assert rows.piece_numbers.tolist() == expected
