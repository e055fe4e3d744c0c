"""What becomes of rankings on their way into a batch: ids, groups, padding, order, and everything that is left out."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from prosa.errors import DataError, TokenizerError
from prosa.preferences import RankedAnswers, Ranking
from prosa.reward import RankedBatches, encode_answers, encode_rankings, expand_pairs
from prosa.reward.batches import check_pad, find_contradictions, hash_rankings
from prosa.tokenizer import Tokenizer, render_conversation
from prosa.training import World
from prosa.training.loop import split_batch
from tests.reward.tiny import TOKENIZER, rank_by_letter

USER = [{"role": "user", "content": "Oi"}]


def ranked(groups: tuple[tuple[int, ...], ...], *answers: str, **fields: Any) -> RankedAnswers:
    return RankedAnswers.make(USER, answers, Ranking(groups), **fields)


def batches(n: int = 50, **changes: Any) -> RankedBatches:
    rankings, _ = encode_rankings(rank_by_letter(n), TOKENIZER, 96, uses_ties=True)
    return RankedBatches(rankings, **{"batch_size": 8, "pad_id": TOKENIZER.pad_id, "seed": 3, **changes})


def test_an_answer_ends_with_its_end_token_and_is_the_rendered_conversation_up_to_there() -> None:
    messages = [{"role": "system", "content": "S"}, *USER]
    (first, second), n_cut = encode_answers(TOKENIZER, messages, ["sim", ""], 96) or ([], -1)
    for ids, text in ((first, "sim"), (second, "")):
        rendered, _ = render_conversation(TOKENIZER, [*messages, {"role": "assistant", "content": text}])
        assert ids == rendered[: len(ids)] and rendered[len(ids) :] == TOKENIZER.encode("\n")
        assert ids[-1] == TOKENIZER.im_end_id
    assert n_cut == 0


def test_no_text_can_end_an_answer() -> None:
    ((ids,), _) = encode_answers(TOKENIZER, USER, ["a<|im_end|>b<|pad|>"], 96) or ([[]], 0)
    assert ids.count(TOKENIZER.im_end_id) == 2 and TOKENIZER.pad_id not in ids


def test_a_long_conversation_loses_whole_turns_at_its_beginning_but_never_the_system_message() -> None:
    messages = [{"role": "system", "content": "S"}]
    messages += [{"role": ("user", "assistant")[n % 2], "content": f"turn {n} " * 3} for n in range(5)]
    encoded = encode_answers(TOKENIZER, messages, ["a", "longer"], 110)
    assert encoded is not None
    (short, long), n_cut = encoded
    assert 0 < n_cut < 5 and len(long) <= 110
    expected, _ = render_conversation(TOKENIZER, [messages[0], *messages[1 + n_cut :]], add_generation_prompt=True)
    assert short[: len(expected)] == long[: len(expected)] == expected
    # One turn more would not fit: as much as possible was kept.
    more, _ = render_conversation(TOKENIZER, [messages[0], *messages[n_cut:]], add_generation_prompt=True)
    assert len(more) + len("longer") + 1 > 110


def test_what_does_not_fit_with_its_last_turn_is_refused() -> None:
    assert encode_answers(TOKENIZER, USER, ["x" * 90], 96) is None
    assert encode_answers(TOKENIZER, [{"role": "user", "content": "x" * 90}], ["x"], 96) is None


def test_what_cannot_be_used_is_counted() -> None:
    given = [
        ranked(((0,), (1,)), "good", "bad"),
        ranked(((0, 1),), "equal", "too"),
        ranked(((0,),), "alone", "not ranked"),
        ranked((), "all", "bad"),
        ranked(((1,), (0,)), "good", "bad"),
        ranked(((0,), (1,)), "something", "  "),
        ranked(((0,), (1,)), "x" * 90, "short"),
        ranked(((0,), (1,)), "weighs", "nothing", weight=0.0),
    ]
    rankings, counts = encode_rankings(given, TOKENIZER, 96, uses_ties=False)
    assert counts.to_json() == {
        "n_given": 8, "n_kept": 3, "n_without_order": 4, "n_too_long": 1, "n_cut": 0, "n_with_empty_answer": 1,
        "n_contradicted": 2,
    }  # fmt: skip
    assert len(rankings) == 3
    _, with_ties = encode_rankings(given, TOKENIZER, 96, uses_ties=True)
    assert with_ties.n_kept == 4


def test_answers_that_are_not_ranked_are_left_out() -> None:
    (one,), _ = encode_rankings([ranked(((2,), (0, 3)), "a", "b", "c", "d")], TOKENIZER, 96, uses_ties=False)
    assert one.groups == (0, 1, 1)
    texts = [TOKENIZER.decode(sequence).rpartition("assistant\n")[2] for sequence in one.sequences]
    assert texts == ["c", "a", "d"]


def test_contradictions_are_found_in_both_rankings() -> None:
    given = [ranked(((0,), (1, 2)), "a", "b", "c"), ranked(((2,), (0,)), "a", "b", "c"), ranked(((0,), (1,)), "a", "z")]
    assert find_contradictions(given) == {0, 1}


def test_padding_that_looks_like_an_end_is_refused() -> None:
    wrong = cast(Tokenizer, SimpleNamespace(pad_id=258, end_of_text_id=256, im_end_id=258))
    with pytest.raises(TokenizerError, match="also ends texts"):
        check_pad(wrong)


def test_a_batch_is_padded_on_the_right_and_says_where_its_answers_end() -> None:
    given = [ranked(((1,), (0,)), "long answer", "b"), ranked(((0,), (1, 2)), "a", "b", "c")]
    rankings, _ = encode_rankings(given, TOKENIZER, 96, uses_ties=True)
    batch = RankedBatches(rankings, batch_size=2, pad_id=TOKENIZER.pad_id, seed=0).batch(0)
    assert batch.n_targets == 2 and batch.weights.shape == (2, 1)
    assert sorted(batch.groups.tolist()) == [[0, 1, -1], [0, 1, 1]]
    for ids, last, group in zip(
        batch.ids.flatten(0, 1), batch.last.flatten().tolist(), batch.groups.flatten().tolist(), strict=True
    ):
        is_there = group >= 0
        assert (ids[: last + 1] != TOKENIZER.pad_id).all() == is_there
        assert (ids[last + 1 :] == TOKENIZER.pad_id).all()
        assert int(ids[last]) == (TOKENIZER.im_end_id if is_there else TOKENIZER.pad_id)


def test_an_epoch_has_every_ranking_once_in_batches_of_like_length() -> None:
    source = batches()
    rows = [source._rows(step) for step in range(source.n_batches)]
    assert sorted(row for batch in rows for row in batch) == list(range(50))
    assert {len(batch) for batch in rows} <= {7, 8}
    next_epoch = [source._rows(source.n_batches + step) for step in range(source.n_batches)]
    assert rows != next_epoch and sorted(map(len, rows)) == sorted(map(len, next_epoch))
    spreads = [np.ptp([source.rankings[row].length for row in batch]) for batch in rows]
    assert np.mean(spreads) < 0.5 * np.ptp([one.length for one in source.rankings])


def test_any_step_can_be_asked_for_in_any_order_and_processes_share_it() -> None:
    first, second = batches(n_members=3), batches(n_members=3)
    later = second.batch(9)
    for step in range(10):
        one = first.batch(step)
    assert all(map(torch.equal, one, later))
    shares = [second.batch(9, rank=rank, world_size=2) for rank in range(World(0, 2).size)]
    assert sum(share.n_targets for share in shares) == later.n_targets
    assert [document["id"] for document in first.documents(9)] == [first.rankings[r].item_id for r in first._rows(9)]


def test_micro_batches_keep_rankings_whole() -> None:
    batch = batches().batch(0)
    parts = list(split_batch(batch, 3))
    assert [part.n_targets for part in parts] == [3, 3, batch.n_targets - 6]
    assert torch.equal(torch.cat([part.groups for part in parts]), batch.groups)


def test_weights_keep_a_mean_of_one_and_each_head_has_a_bootstrap_sample() -> None:
    rankings, _ = encode_rankings(
        [ranked(((0,), (1,)), f"a{n}", "b", weight=1.0 + n % 2) for n in range(400)], TOKENIZER, 96, uses_ties=True
    )
    one = RankedBatches(rankings, batch_size=400, pad_id=259, seed=0).batch(0).weights
    assert float(one.mean()) == pytest.approx(1) and sorted(set(one.flatten().tolist())) == pytest.approx(
        [2 / 3, 4 / 3]
    )
    many = RankedBatches(rankings, batch_size=400, pad_id=259, seed=0, n_members=4).batch(0).weights
    assert many.shape == (400, 4) and not torch.equal(many[:, 0], many[:, 1])
    # A share of 1/e of the rankings is in no bootstrap sample of a head.
    assert float((many == 0).float().mean()) == pytest.approx(np.exp(-1), abs=0.04)


def test_pairs_of_a_ranking_are_rows_of_their_own() -> None:
    rankings, _ = encode_rankings([ranked(((2,), (0, 1), (3,)), "a", "b", "c", "d")], TOKENIZER, 96, uses_ties=True)
    pairs = expand_pairs(rankings)
    assert len(pairs) == 5 and {pair.groups for pair in pairs} == {(0, 1)}
    best = rankings[0].sequences[0]
    assert sum(pair.sequences[0] == best for pair in pairs) == 3


def test_the_hash_depends_on_everything_that_is_learned() -> None:
    one = ranked(((0,), (1,)), "a", "b")
    others = [
        ranked(((1,), (0,)), "a", "b"),
        ranked(((0,), (1,)), "a", "c"),
        ranked(((0,), (1,)), "a", "b", weight=2.0),
    ]
    hashes = {hash_rankings([other]) for other in [one, *others]}
    assert len(hashes) == 4 and hash_rankings([ranked(((0,), (1,)), "a", "b")]) in hashes


def test_nothing_to_learn_from_says_so() -> None:
    with pytest.raises(DataError, match="no ranking is left"):
        RankedBatches([], batch_size=4, pad_id=259, seed=0)
