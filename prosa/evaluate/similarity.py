"""Do words that people find alike have vectors that point alike: pairs with judgements come in, a correlation goes out.

Vectors are a word's token embeddings, or what the model makes of it at a layer; the judgements are those of
WordSim-353 (Finkelstein et al., ACM TOIS 20, 2002) or SimLex-999 (Hill et al., Computational Linguistics 41, 2015).
"""

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from prosa.errors import ConfigError, DataError
from prosa.evaluate.item_files import read_lines
from prosa.evaluate.statistics import Interval
from prosa.model import Transformer
from prosa.streams import numpy_stream
from prosa.tokenizer import Tokenizer

_BATCH_WORDS = 256
_WORD = re.compile(r"[^\W\d_]+")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True, slots=True)
class WordPair:
    """Two words and how alike people find them, on any scale."""

    first: str
    second: str
    judgement: float


@dataclass(frozen=True, slots=True)
class SimilarityReport:
    """Spearman's correlation of cosines and judgements with its 95 % bootstrap interval over pairs.

    `n` pairs were measured; `n_skipped` have a word among `missing`. Of the words measured, `n_whole_words` are one
    token.
    """

    correlation: float
    interval: Interval
    layer: int
    n: int
    n_skipped: int
    missing: tuple[str, ...]
    n_words: int
    n_whole_words: int

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_similarity(
    model: Transformer,
    tokenizer: Tokenizer,
    pairs: Sequence[WordPair],
    *,
    layer: int = 0,
    known_words: Collection[str] | None = None,
    n_resamples: int = 1000,
    seed: int = 0,
) -> SimilarityReport:
    """How the cosines of the words' vectors at `layer` (see `word_vectors`) follow people's judgements.

    known_words: lower-case words of the text the model learned from, as `list_words` gives them; words not among them
    are missing, since byte-level tokens write any word but say nothing of one never seen. Raises DataError if fewer
    than three pairs are left, ConfigError for a layer the model does not have.
    """
    words = list(dict.fromkeys(word for pair in pairs for word in (pair.first, pair.second)))
    missing = tuple(word for word in words if known_words is not None and word.lower() not in known_words)
    kept = [pair for pair in pairs if pair.first not in missing and pair.second not in missing]
    if len(kept) < 3:
        raise DataError(f"only {len(kept)} of {len(pairs)} pairs have words that the model knows")
    used = list(dict.fromkeys(word for pair in kept for word in (pair.first, pair.second)))
    vectors = word_vectors(model, tokenizer, used, layer=layer)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    row = {word: number for number, word in enumerate(used)}
    cosines = np.array([unit[row[pair.first]] @ unit[row[pair.second]] for pair in kept])
    judgements = np.array([pair.judgement for pair in kept])
    return SimilarityReport(
        correlation=spearman(cosines, judgements),
        interval=_bootstrap_spearman(cosines, judgements, n_resamples, seed),
        layer=layer,
        n=len(kept),
        n_skipped=len(pairs) - len(kept),
        missing=missing,
        n_words=len(used),
        n_whole_words=sum(len(ids) == 1 for ids in _encode_words(tokenizer, used)),
    )


@torch.inference_mode()
def word_vectors(
    model: Transformer, tokenizer: Tokenizer, words: Sequence[str], *, layer: int = 0
) -> Float[np.ndarray, "W C"]:
    """One vector a word: the mean over its tokens of their embeddings (`layer` 0), or of the residual stream after
    that many layers, the word standing alone after <|endoftext|>.

    Words are encoded with a space before them, as within a text. Raises ConfigError for a layer the model does not
    have, DataError for a word longer than the context.
    """
    if not 0 <= layer <= model.settings.n_layer:
        raise ConfigError(f"layer = {layer}: the model has layers 1 to {model.settings.n_layer}, 0 is the embedding")
    encoded = _encode_words(tokenizer, words)
    longest = max(encoded, key=len)
    if len(longest) >= model.settings.context_length:
        raise DataError(f"the word {tokenizer.decode(longest)!r} is longer than the model's context")
    rows = [[tokenizer.end_of_text_id, *ids] for ids in encoded]
    return np.concatenate(
        [_mean_vectors(model, rows[first : first + _BATCH_WORDS], layer) for first in range(0, len(rows), _BATCH_WORDS)]
    )


def _encode_words(tokenizer: Tokenizer, words: Sequence[str]) -> list[list[int]]:
    return tokenizer.encode_batch([f" {word}" for word in words])


def _mean_vectors(model: Transformer, rows: Sequence[list[int]], layer: int) -> Float[np.ndarray, "B C"]:
    """Means over all tokens but the first; padding stands to the right, where a causal model does not see it."""
    width = max(map(len, rows))
    ids = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.unembedding.device)  # B T
    is_word = torch.tensor([[0 < place < len(row) for place in range(width)] for row in rows], device=ids.device)
    stream: list[Tensor] = []
    part = model.model.embed_tokens if layer == 0 else model.model.layers[layer - 1]
    hook = part.register_forward_hook(lambda _part, _inputs, output: stream.append(output))
    was_training = model.training
    model.eval()
    try:
        model.hidden(ids)
    finally:
        hook.remove()
        model.train(was_training)
    weights = is_word[:, :, None].double()
    means = (stream[0].double() * weights).sum(1) / weights.sum(1)  # B T C -> B C
    vectors: Float[np.ndarray, "B C"] = means.cpu().numpy()
    return vectors


def spearman(first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"]) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, ties having the mean of theirs; NaN if one is constant."""
    x, y = rank(first), rank(second)
    x, y = x - x.mean(), y - y.mean()
    scale = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / scale if scale else float("nan")


def rank(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Ranks from 1; equal values share the mean of their ranks."""
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: Float[np.ndarray, " n"] = (np.cumsum(counts) - (counts - 1) / 2)[group]
    return ranks


def _bootstrap_spearman(
    first: Float[np.ndarray, " n"], second: Float[np.ndarray, " n"], n_resamples: int, seed: int
) -> Interval:
    """Percentile bootstrap (Efron 1979) over pairs."""
    random = numpy_stream(seed, "similarity", len(first))
    draws = (random.integers(0, len(first), len(first)) for _ in range(n_resamples))
    low, high = np.nanquantile([spearman(first[drawn], second[drawn]) for drawn in draws], [0.025, 0.975])
    return Interval(float(low), float(high))


def list_words(texts: Iterable[str]) -> frozenset[str]:
    """All words of some texts, in lower case."""
    return frozenset(word for text in texts for word in _WORD.findall(text.lower()))


def read_word_pairs(path: Path) -> list[WordPair]:
    """Pairs of a file with two words and a number a line, divided by tabs, gzipped or not; `#` begins a comment.

    Raises DataError naming a line of another form.
    """
    pairs = []
    for place, line in read_lines(path):
        if line.startswith("#"):
            continue
        match line.strip().split("\t"):
            case [first, second, judgement] if _NUMBER.fullmatch(judgement):
                pairs.append(WordPair(first, second, float(judgement)))
            case _:
                raise DataError(f"`{place}` is not two words and a number divided by tabs")
    return pairs
