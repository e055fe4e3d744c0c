"""Bits per byte: documents and a model come in, what the model needs to write them down comes out.

The one measure that is fair to models with different tokenizers. Numerator: -log2 p summed over all tokens of all
documents, each document from its own start with <|endoftext|> before it and including the <|endoftext|> that ends it;
denominator: the documents' UTF-8 bytes.
"""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from prosa.device import Device
from prosa.errors import ConfigError
from prosa.evaluate.documents import EncodedDocuments, encoded_split
from prosa.evaluate.scoring import score_passages
from prosa.evaluate.statistics import Interval, bootstrap_ratio
from prosa.metrics import Progress
from prosa.model import Transformer
from prosa.streams import numpy_stream
from prosa.tokenizer import TokenShards

# Blocks of a single document are this long: some paragraphs, so that neighbouring blocks are nearly independent.
_BLOCK_BYTES = 2048


@dataclass(frozen=True, slots=True)
class BitsScore:
    """One number with its interval: a bootstrap over documents, or over blocks of 2,048 bytes of the only document."""

    bits_per_byte: float
    interval: Interval
    nats_per_token: float
    nats_per_byte: float
    n_documents: int
    n_tokens: int
    n_bytes: int
    resampled: str


@dataclass(frozen=True, slots=True)
class Blocks:
    """What was measured, in blocks of documents, in stored order; short documents are one block."""

    document: Int[np.ndarray, " K"]
    nats: Float[np.ndarray, " K"]
    n_tokens: Int[np.ndarray, " K"]
    n_bytes: Float[np.ndarray, " K"]


@dataclass(frozen=True, slots=True)
class BitsPerByte:
    """Bits per byte of a split; `labels` has id, kind, language and source of each document for pairing."""

    total: BitsScore
    by_kind: dict[str, BitsScore]
    by_language: dict[str, BitsScore]
    by_source: dict[str, BitsScore]
    split: str
    context_length: int
    is_whole: bool
    labels: dict[str, list[str]]
    blocks: Blocks

    def to_json(self) -> dict[str, Any]:
        """Everything but the sums per document."""
        groups = {"by_kind": self.by_kind, "by_language": self.by_language, "by_source": self.by_source}
        return {
            "total": asdict(self.total),
            **{name: {key: asdict(score) for key, score in group.items()} for name, group in groups.items()},
            "split": self.split,
            "context_length": self.context_length,
            "is_whole": self.is_whole,
        }


@dataclass(frozen=True, slots=True)
class _Windows:
    """Stretches of documents: targets start..stop of `document`, of which the last `n_scored` count."""

    document: Int[np.ndarray, " P"]
    start: Int[np.ndarray, " P"]
    stop: Int[np.ndarray, " P"]
    n_scored: Int[np.ndarray, " P"]


def bits_per_byte(
    model: Transformer,
    documents: TokenShards | EncodedDocuments,
    *,
    split: str = "validation",
    device: Device | None = None,
    context_length: int | None = None,
    max_tokens: int | None = None,
    batch_tokens: int = 4096,
    seed: int = 0,
    description: str = "",
) -> BitsPerByte:
    """Bits per byte of a whole split of token shards, or of given documents, in total and by kind, language, source.

    A document longer than `context_length` (None: the model's own) is read in windows that overlap by half: each
    token is scored exactly once, with at least half a context before it wherever the document has that much.
    `max_tokens` scores a seeded sample of the windows instead of all: an estimate for use while training, whose bytes
    are counted in proportion to tokens. `device` None computes in float32 where the model lies; neither it nor
    `batch_tokens` changes the result beyond rounding. A `description` shows a progress bar under that name.
    Raises DataError if there is no text, ConfigError if the context is longer than the model's.
    """
    texts = documents if isinstance(documents, EncodedDocuments) else encoded_split(documents, split)
    C = context_length or model.settings.context_length
    if not 0 < C <= model.settings.context_length:
        raise ConfigError(f"context_length = {C} is outside 1..{model.settings.context_length}, the model's own")
    windows = _cut_windows(texts.n_tokens, C)
    if max_tokens is not None:
        windows = _sample(windows, max_tokens, seed)
    scored = score_passages(
        model,
        windows.stop - windows.start,
        windows.n_scored,
        lambda window: _read_window(texts, windows, window),
        batch_tokens=batch_tokens,
        device=device,
    )
    n_targets = int(windows.n_scored.sum())
    with Progress(description, n_targets, unit="token", is_shown=bool(description)) as progress:
        blocks = _add_up(texts, windows, scored, progress)
    return BitsPerByte(
        total=_score(blocks, np.ones(len(texts.n_tokens), bool), seed),
        by_kind=_score_groups(blocks, texts.labels["kind"], seed),
        by_language=_score_groups(blocks, texts.labels["language"], seed),
        by_source=_score_groups(blocks, texts.labels["source"], seed),
        split=texts.name,
        context_length=C,
        is_whole=n_targets == int(texts.n_tokens.sum()),
        labels=texts.labels,
        blocks=blocks,
    )


def _cut_windows(n_tokens: Int[np.ndarray, " n"], context_length: int) -> _Windows:
    """All windows of all documents; each after a document's first begins half a context before what it scores."""
    stride = context_length - context_length // 2
    n_windows = 1 + np.maximum(0, -(-(n_tokens - context_length) // stride))
    document = np.repeat(np.arange(len(n_tokens)), n_windows)
    number = np.arange(len(document)) - np.repeat(np.cumsum(n_windows) - n_windows, n_windows)
    start = number * stride
    stop = np.minimum(start + context_length, n_tokens[document])
    n_scored = np.where(number == 0, stop, stop - (start - stride + context_length))
    return _Windows(document, start, stop, n_scored)


def _sample(windows: _Windows, max_tokens: int, seed: int) -> _Windows:
    """Random windows, at least one, while they score no more than `max_tokens` together."""
    order = numpy_stream(seed, "evaluation windows").permutation(len(windows.document))
    n_kept = max(1, int(np.searchsorted(np.cumsum(windows.n_scored[order]), max_tokens, side="right")))
    kept = np.sort(order[:n_kept])
    return _Windows(windows.document[kept], windows.start[kept], windows.stop[kept], windows.n_scored[kept])


def _read_window(texts: EncodedDocuments, windows: _Windows, window: int) -> Int[np.ndarray, " L"]:
    document, start, stop = int(windows.document[window]), int(windows.start[window]), int(windows.stop[window])
    if start:
        return texts.read(document, start - 1, stop - start + 1)
    return np.concatenate([[texts.end_of_text_id], texts.read(document, 0, stop)])


def _add_up(
    texts: EncodedDocuments,
    windows: _Windows,
    scored: Iterable[tuple[int, Float[np.ndarray, " n"]]],
    progress: Progress,
) -> Blocks:
    """Sums the scored tokens into the blocks in which they begin; blocks without any are left out."""
    n_blocks = np.maximum(1, texts.n_bytes // _BLOCK_BYTES)
    document = np.repeat(np.arange(len(n_blocks)), n_blocks)
    last_block = np.cumsum(n_blocks) - 1
    n_bytes = np.full(len(document), float(_BLOCK_BYTES))
    n_bytes[last_block] = texts.n_bytes - _BLOCK_BYTES * (n_blocks - 1)
    # Tokens are numbered through all documents, so that one sorted array says where each block begins.
    offsets = np.cumsum(texts.n_tokens) - texts.n_tokens
    begins = np.repeat(offsets, n_blocks)
    for d in np.flatnonzero(n_blocks > 1):
        begins[last_block[d] - n_blocks[d] + 1 : last_block[d] + 1] += _block_begins(texts, int(d), int(n_blocks[d]))
    nats, n_scored, done = np.zeros(len(document)), np.zeros(len(document), np.int64), 0
    for window, values in scored:
        stop = int(offsets[windows.document[window]] + windows.stop[window])
        block = np.searchsorted(begins, np.arange(stop - len(values), stop), side="right") - 1
        np.add.at(nats, block, values.astype(np.float64))
        np.add.at(n_scored, block, 1)
        done += len(values)
        progress.update(done)
    kept = n_scored > 0
    share = n_scored[kept] / np.diff(begins, append=texts.n_tokens.sum())[kept]
    return Blocks(document[kept], nats[kept], n_scored[kept], n_bytes[kept] * share)


def _block_begins(texts: EncodedDocuments, document: int, n_blocks: int) -> Int[np.ndarray, " k"]:
    """The first token of each block of a document; a token belongs to the block in which its first byte lies."""
    n_tokens = int(texts.n_tokens[document])
    if texts.tokenizer is None:
        positions = np.arange(n_tokens) * (texts.n_bytes[document] / n_tokens)
    else:
        sizes = texts.tokenizer.n_bytes[texts.read(document, 0, n_tokens)]
        positions = np.cumsum(sizes, dtype=np.int64) - sizes
    return np.searchsorted(positions, np.arange(n_blocks) * _BLOCK_BYTES)


def _score_groups(blocks: Blocks, labels: list[str], seed: int) -> dict[str, BitsScore]:
    column = np.array(labels)
    return {label: _score(blocks, column == label, seed) for label in np.unique(column[blocks.document]).tolist()}


def _score(blocks: Blocks, is_chosen: Bool[np.ndarray, " n"], seed: int) -> BitsScore:
    chosen = is_chosen[blocks.document]
    document, nats, n_bytes = blocks.document[chosen], blocks.nats[chosen], blocks.n_bytes[chosen]
    names, unit = np.unique(document, return_inverse=True)
    n_tokens, total_nats, total_bytes = int(blocks.n_tokens[chosen].sum()), float(nats.sum()), float(n_bytes.sum())
    if len(names) > 1:
        nats, n_bytes = np.bincount(unit, weights=nats), np.bincount(unit, weights=n_bytes)
    return BitsScore(
        bits_per_byte=total_nats / total_bytes / math.log(2),
        interval=bootstrap_ratio(nats / math.log(2), n_bytes, seed=seed),
        nats_per_token=total_nats / n_tokens,
        nats_per_byte=total_nats / total_bytes,
        n_documents=len(names),
        n_tokens=n_tokens,
        n_bytes=round(total_bytes),
        resampled="documents" if len(names) > 1 else "blocks",
    )
