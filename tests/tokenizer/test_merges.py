"""Merges are accepted exactly when both encoders must agree on them."""

import random

import pytest
import tiktoken
import tokenizers
from tokenizers import models

from prosa.errors import TokenizerError
from prosa.tokenizer.files import byte_alphabet, write_token
from prosa.tokenizer.merges import build_tokens, merge_pieces


def encode_both(merges: list[tuple[int, int]], text: str) -> tuple[list[int], list[int]]:
    """ids by merge order (`tokenizers`) and by rank of bytes (tiktoken), without any splitting or checking."""
    tokens = [bytes([byte]) for byte in range(256)]
    for left, right in merges:
        tokens.append(tokens[left] + tokens[right])
    words = [write_token(token, byte_alphabet()) for token in tokens]
    by_order = tokenizers.Tokenizer(
        models.BPE({word: id for id, word in enumerate(words)}, [(words[left], words[right]) for left, right in merges])
    )
    by_rank = tiktoken.Encoding(
        "test", pat_str=r"(?s:.+)", mergeable_ranks={token: id for id, token in enumerate(tokens)}, special_tokens={}
    )
    return by_order.encode(text).ids, by_rank.encode_ordinary(text)


def test_random_merges_that_are_accepted_give_equal_ids() -> None:
    stream = random.Random(1)
    n_accepted = n_refused = 0
    for _ in range(60):
        merges: list[tuple[int, int]] = []
        for _ in range(12):
            ids = [*b"abc", *range(256, 256 + len(merges))]
            merge = (stream.choice(ids), stream.choice(ids))
            try:
                build_tokens([*merges, merge])
            except TokenizerError:
                n_refused += 1
            else:
                merges.append(merge)
                n_accepted += 1
        for _ in range(10):
            text = "".join(stream.choices("abc", k=stream.randrange(1, 200)))
            by_order, by_rank = encode_both(merges, text)
            assert by_order == by_rank, (merges, text)
    assert n_accepted > 200
    assert n_refused > 100


def test_a_merge_that_cannot_be_reached_is_refused_because_encoders_differ_on_it() -> None:
    a, b, c = b"abc"
    merges = [(a, b), (b, c), (a, 257)]  # `abc` is always `ab` `c`, never `a` `bc`
    by_order, by_rank = encode_both(merges, "abc")
    assert by_order != by_rank
    with pytest.raises(TokenizerError, match="merge 2 can never be reached"):
        build_tokens(merges)


@pytest.mark.parametrize(
    ("merges", "reason"),
    [
        ([(97, 256)], "not made before it"),
        ([(97, -1)], "not made before it"),
        ([(97, 98), (97, 98)], "exists already"),
        ([(97, 97), (256, 256), (257, 257), (258, 258), (259, 259), (260, 260), (261, 261)], "128 bytes"),
    ],
)
def test_impossible_merges_are_refused(merges: list[tuple[int, int]], reason: str) -> None:
    with pytest.raises(TokenizerError, match=reason):
        build_tokens(merges)


def test_merge_pieces_by_hand() -> None:
    ranks = {bytes([byte]): byte for byte in range(256)} | {b"ab": 256, b"bc": 257, b"abab": 258}
    assert merge_pieces(b"ababc", ranks) == [b"abab", b"c"]
    assert merge_pieces(b"abcbc", ranks) == [b"ab", b"c", b"bc"]
    assert merge_pieces(b"", ranks) == []
