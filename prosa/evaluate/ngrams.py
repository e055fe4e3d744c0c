"""What a model that only counts needs for the same text: how far text is predictable before anything is trained."""

import math

import numpy as np
from jaxtyping import Int

from prosa.errors import DataError
from prosa.tokenizer import TokenShards

_ORDER = 5
# Enough to know a kind of text by, few enough to be counted in a second or two.
_TRAIN_TOKENS, _VALIDATION_TOKENS = 2_000_000, 100_000


def ngram_bits_per_byte(shards: TokenShards, share: float = 1.0) -> float:
    """Bits per byte of the validation split's first tokens under n-grams of the training split's, as `ngram_nats`.

    share: of the training tokens that would be counted. Raises DataError where one of the splits is empty.
    """
    n_train = sum(shards.n_tokens("train", source) for source in shards.sources)
    train = _first_tokens(shards, "train", int(share * min(n_train, _TRAIN_TOKENS)))
    validation = _first_tokens(shards, "validation", _VALIDATION_TOKENS)
    n_bytes, n_tokens = (
        sum(count("validation", source) for source in shards.sources) for count in (shards.n_bytes, shards.n_tokens)
    )
    return ngram_nats(train, validation, shards.vocab_size) / math.log(2) * n_tokens / n_bytes


def _first_tokens(shards: TokenShards, split: str, limit: int) -> Int[np.ndarray, " N"]:
    """Of every source the same share."""
    counts = {source: shards.n_tokens(split, source) for source in shards.sources}
    share = min(1.0, limit / max(1, sum(counts.values())))
    spans = [shards.stream(split, source).read_span(0, int(share * n)) for source, n in counts.items()]
    ids = np.concatenate(spans).astype(np.int64)
    if not len(ids):
        raise DataError(f"`{shards.folder}` has no {split} tokens", hint="add text to the corpus")
    return ids


def ngram_nats(
    train: Int[np.ndarray, " N"], validation: Int[np.ndarray, " M"], vocab_size: int, order: int = _ORDER
) -> float:
    """Mean nats a token of `validation` under the n-grams of `train`, interpolated as by Witten and Bell (1991):

    p(w | h) = (c(h w) + t(h) p(w | h')) / (c(h) + t(h)),  p(w) at last 1 / vocab_size

    c counts, t is the number of different tokens seen after h, and h' is h without its first token. About four
    operations of sorting N numbers.
    """
    probability = np.full(len(validation), 1 / vocab_size)
    # The number of the history before each position; -1 where training never saw it.
    seen, asked, n_histories = np.zeros(len(train), np.int64), np.zeros(len(validation), np.int64), 1
    for n in range(order):
        known, place, counts = np.unique(seen[n:] * vocab_size + train[n:], return_inverse=True, return_counts=True)
        n_seen = np.bincount(seen[n:], minlength=n_histories)
        n_after = np.bincount(known // vocab_size, minlength=n_histories)
        keys = asked * vocab_size + validation
        found = np.searchsorted(known, keys).clip(max=len(known) - 1)
        is_known = (known[found] == keys) & (asked >= 0)
        # A history that only ends the text was never followed by anything.
        is_useful = (asked >= 0) & (n_seen[asked] > 0)
        weight = n_after[asked]
        better = np.where(is_known, counts[found], 0) + weight * probability
        probability = np.where(is_useful, better / np.maximum(1, n_seen[asked] + weight), probability)
        seen = np.append(np.zeros(n + 1, np.int64), place[:-1])
        asked = np.append(-1, np.where(is_known, found, -1)[:-1])
        n_histories = len(known)
    return float(-np.log(probability).mean())
