import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.corpus import ReadReport
from prosa.sft import Conversation, encode_conversations, pack
from prosa.tokenizer import render_conversation
from tests.sft.tiny_sft import TOKENIZER, chat, encode, some_chats


def encode_one(messages, context_length):
    report = ReadReport()
    found = list(encode_conversations(TOKENIZER, [Conversation(tuple(messages), "s", "x:7")], context_length, report))
    return found[0] if found else None, report


def test_ids_are_the_renderers_up_to_the_last_answers_end():
    messages = chat("Oi?", "Olá!", "E aí?", "Tudo.", system="Breve.")
    ids, loss_mask = render_conversation(TOKENIZER, messages)
    [item] = encode(messages, context_length=200)
    assert [*item.ids, *TOKENIZER.encode("\n")] == ids and [*item.is_target, False] == [bool(x) for x in loss_mask]
    assert item.ids[-1] == TOKENIZER.im_end_id and item.is_target[-1]
    learned = item.ids[item.is_target].tolist()
    assert learned == [*TOKENIZER.encode("Olá!"), TOKENIZER.im_end_id, *TOKENIZER.encode("Tudo."), TOKENIZER.im_end_id]
    assert item.length == len(ids) - 2 and item.n_targets == len(learned)


def test_long_ones_are_cut_after_an_answer_that_fits():
    messages = chat("Oi?", "Olá!", "E aí?", "Tudo.", "Sim?", "Sim.")
    whole = encode(messages, context_length=500)[0]
    ends = [
        place for place in range(len(whole.ids)) if whole.ids[place] == TOKENIZER.im_end_id and whole.is_target[place]
    ]
    for context_length in range(1, whole.length + 3):
        item, report = encode_one(messages, context_length)
        fitting = [end for end in ends if end <= context_length]
        if not fitting:
            assert item is None and list(report.skipped.counts) == ["longer than the context"]
            assert report.skipped.examples["longer than the context"][0].startswith("x:7: ")
            continue
        assert item.length == fitting[-1] <= context_length
        assert item.ids.tolist() == whole.ids[: fitting[-1] + 1].tolist()
        assert bool(report.repaired.counts) == (len(fitting) < 3)


def test_nothing_to_learn_is_skipped_and_counted():
    item, report = encode_one([{"role": "user", "content": "Oi?"}], 100)
    assert item is None and report.skipped.counts == {"nothing to learn": 1}


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(st.integers(1, 64), max_size=60), st.integers(64, 200), st.randoms(use_true_random=False))
def test_rows_hold_everything_once_within_bounds(lengths, capacity, chance):
    order = [number for number in range(len(lengths)) for _ in range(chance.choice([0, 1, 1, 2]))]
    chance.shuffle(order)
    rows = pack(lengths, order, capacity)
    assert sorted(number for row in rows for number in row) == sorted(order)
    totals = [sum(lengths[number] for number in row) for row in rows]
    assert all(0 < total <= capacity for total in totals)
    # No two rows could be one, so all but one are more than half full.
    assert len(rows) < 2 or sum(sorted(totals)[:2]) > capacity
    assert rows == pack(lengths, order, capacity)


def test_packing_equals_the_plain_definition_of_best_fit_decreasing():
    stream = random.Random(3)
    lengths = [stream.randint(1, 40) for _ in range(300)]
    order = list(range(300))
    stream.shuffle(order)
    slow: list[list[int]] = []
    for number in sorted(order, key=lambda number: -lengths[number]):
        spaces = [100 - sum(lengths[other] for other in row) for row in slow]
        fitting = [space for space in spaces if space >= lengths[number]]
        if fitting:
            slow[spaces.index(min(fitting))].append(number)
        else:
            slow.append([number])
    fast = pack(lengths, order, 100)
    # Which of two rows with equal space is filled differs; the spaces that are left do not.
    left = [sorted(100 - sum(lengths[n] for n in row) for row in rows) for rows in (fast, slow)]
    assert left[0] == left[1]


@pytest.mark.parametrize("seed", range(3))
def test_hardly_any_position_is_wasted(seed):
    """Rows are 97 % full where conversations are a third of the context or shorter."""
    chance = np.random.default_rng(seed)
    lengths = np.clip(chance.lognormal(3.5, 0.6, 2000), 8, 85).astype(int).tolist()
    rows = pack(lengths, range(2000), 256)
    assert sum(lengths) / (256 * len(rows)) > 0.97


def test_many_conversations_are_encoded_as_one_by_one():
    chats = some_chats(9)
    together = encode(*chats)
    for messages, item in zip(chats, together, strict=True):
        [alone] = encode(messages)
        assert alone.ids.tolist() == item.ids.tolist() and alone.id == item.id
