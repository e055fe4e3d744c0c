"""Does the model recite: token ids that it wrote come in, the share that stands verbatim in its training text goes out.

Beside it the same share for validation text, which the model never saw: what ordinary writing shares with the corpus
anyway. The windows looked for are few, so they are indexed and the training text is streamed past them once.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Int, UInt64

from prosa.evaluate.documents import encoded_split
from prosa.evaluate.statistics import Interval, Share, bootstrap_ratio, wilson_interval
from prosa.metrics import Progress
from prosa.streams import numpy_stream
from prosa.tokenizer import TokenShards

# Training tokens hashed at once: some 40 MB of intermediate arrays.
_CHUNK_TOKENS = 2**20
# Bits of the table that most training windows fail to pass: 4 MB, small enough for a processor's cache.
_TABLE_BITS = 22
_MAX_COPIES = 10


@dataclass(frozen=True, slots=True)
class Copy:
    """A window found: where it begins in which text, and one training document that has it."""

    text: int
    start: int
    source: str
    document: int
    origin: str


@dataclass(frozen=True, slots=True)
class MemorisationReport:
    """Shares of windows of `window_tokens` that stand in the training split, with some of the copies found.

    Intervals resample texts, since windows of one text hang together. `generated.n` is 0 when every text was shorter
    than a window.
    """

    generated: Share
    validation: Share
    window_tokens: int
    copies: list[Copy]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Windows:
    """Windows with the text and position each was taken from."""

    tokens: Int[np.ndarray, "W n"]
    text: Int[np.ndarray, " W"]
    start: Int[np.ndarray, " W"]


def measure_memorisation(
    texts: Sequence[Sequence[int]],
    shards: TokenShards,
    *,
    window_tokens: int = 50,
    n_windows: int = 2000,
    seed: int = 0,
    description: str = "",
) -> MemorisationReport:
    """How much of `texts` (token ids that the model wrote, without their prompts) is copied from the training split.

    Up to `n_windows` windows are drawn from the texts, and as many from the validation split, uniformly over all
    positions; a text ends where its <|endoftext|> stands, so no window crosses documents. Exact: hashes only propose,
    the tokens themselves decide. One pass over the training tokens, in bounded memory.
    """
    validation = encoded_split(shards, "validation")
    written = [_until(ids, validation.end_of_text_id) for ids in texts]
    generated = _sample(
        np.array([len(ids) for ids in written], np.int64),
        lambda text, start, length: written[text][start : start + length],
        (window_tokens, n_windows, seed),
    )
    held_out = _sample(validation.n_tokens - 1, validation.read, (window_tokens, n_windows, seed))
    places = _find(np.concatenate([generated.tokens, held_out.tokens]), shards, description)
    is_copied = np.array([place is not None for place in places], bool)
    n = len(generated.text)
    copies = [
        _copy(int(generated.text[window]), int(generated.start[window]), place, shards)
        for window, place in enumerate(places[:n])
        if place is not None
    ]
    return MemorisationReport(
        generated=_share(is_copied[:n], generated.text, seed),
        validation=_share(is_copied[n:], held_out.text, seed),
        window_tokens=window_tokens,
        copies=copies[:_MAX_COPIES],
    )


def _until(ids: Sequence[int], end_of_text_id: int) -> Int[np.ndarray, " L"]:
    ids = list(ids)
    return np.array(ids[: ids.index(end_of_text_id)] if end_of_text_id in ids else ids, np.int64)


def _sample(
    lengths: Int[np.ndarray, " n"],
    read: Callable[[int, int, int], Int[np.ndarray, " L"]],
    size_count_seed: tuple[int, int, int],
) -> _Windows:
    """Windows drawn without replacement from all positions of all texts."""
    size, n_windows, seed = size_count_seed
    ends = np.cumsum(np.maximum(0, lengths - size + 1))
    total = int(ends[-1]) if len(ends) else 0
    random = numpy_stream(seed, "memorisation windows")
    n_drawn = min(n_windows, total)
    drawn = np.sort(random.choice(total, n_drawn, replace=False, shuffle=False)) if total else np.zeros(0, np.int64)
    text = np.searchsorted(ends, drawn, side="right")
    start = drawn - np.concatenate([[0], ends])[text]
    rows = [read(int(t), int(s), size) for t, s in zip(text, start, strict=True)]
    return _Windows(np.array(rows, np.int64).reshape(-1, size), text, start)


def _find(windows: Int[np.ndarray, "W n"], shards: TokenShards, description: str) -> list[tuple[str, int] | None]:
    """For each window the source and position of one place in the training split where it stands, or None."""
    unique, which = np.unique(windows, axis=0, return_inverse=True)
    search = _Search(unique, shards.vocab_size)
    sources = [source for source in shards.sources if shards.n_tokens("train", source)]
    total, done = sum(shards.n_tokens("train", source) for source in sources), 0
    with Progress(description, total, unit="token", is_shown=bool(description)) as progress:
        for source in sources:
            stream, n_tokens = shards.stream("train", source), shards.n_tokens("train", source)
            for position in range(0, n_tokens, _CHUNK_TOKENS):
                length = min(_CHUNK_TOKENS + windows.shape[1] - 1, n_tokens - position)
                search.scan(stream.read_span(position, length), source, position)
                done += min(_CHUNK_TOKENS, n_tokens - position)
                progress.update(done)
    return [search.places.get(int(row)) for row in which.reshape(-1)]


class _Search:
    """Distinct windows being looked for; `places` fills with where each was found first.

    Windows are hashed as polynomials of random 64-bit token codes, mod 2^64, so that the hashes of all windows of a
    chunk come from one running sum (Karp & Rabin 1987).
    """

    def __init__(self, windows: Int[np.ndarray, "W n"], vocab_size: int) -> None:
        self.windows, self.size = windows, windows.shape[1]
        self.places: dict[int, tuple[str, int]] = {}
        self.codes = _token_codes(vocab_size)
        base = 0x9E3779B97F4A7C15
        self.powers = _powers(base, _CHUNK_TOKENS + self.size)
        self.inverse_powers = _powers(pow(base, -1, 2**64), _CHUNK_TOKENS)
        hashes = (self.codes[windows] * self.powers[: self.size]).sum(axis=1, dtype=np.uint64)
        self.hashes, slot = np.unique(hashes, return_inverse=True)
        self.waiting = [np.flatnonzero(slot == s).tolist() for s in range(len(self.hashes))]
        self.is_open = np.ones(len(self.hashes), bool)
        self.table = np.zeros(1 << _TABLE_BITS, bool)
        self.table[self.hashes >> np.uint64(64 - _TABLE_BITS)] = True

    def scan(self, tokens: Int[np.ndarray, " L"], source: str, position: int) -> None:
        """Looks at all windows of a chunk of training tokens that begins at `position` of `source`."""
        if not self.is_open.any() or len(tokens) < self.size:
            return
        hashes = self._rolling_hashes(tokens)
        begins = np.flatnonzero(self.table[hashes >> np.uint64(64 - _TABLE_BITS)])
        slots = np.minimum(np.searchsorted(self.hashes, hashes[begins]), len(self.hashes) - 1)
        is_candidate = (self.hashes[slots] == hashes[begins]) & self.is_open[slots]
        begins, slots = begins[is_candidate], slots[is_candidate]
        order = np.argsort(slots, kind="stable")
        found, first = np.unique(slots[order], return_index=True)
        for slot, places in zip(found.tolist(), np.split(begins[order], first[1:]), strict=False):
            self._verify(slot, places, tokens, source, position)

    def _verify(
        self, slot: int, places: Int[np.ndarray, " K"], tokens: Int[np.ndarray, " L"], source: str, position: int
    ) -> None:
        """Compares token by token until every window of this hash is found or the places are exhausted."""
        waiting = self.waiting[slot]
        for place in places.tolist():
            stands_here = tokens[place : place + self.size]
            for window in [w for w in waiting if np.array_equal(self.windows[w], stands_here)]:
                self.places[window] = (source, position + place)
                waiting.remove(window)
            if not waiting:
                self.is_open[slot] = False
                return

    def _rolling_hashes(self, tokens: Int[np.ndarray, " L"]) -> UInt64[np.ndarray, " M"]:
        sums = np.zeros(len(tokens) + 1, np.uint64)
        np.cumsum(self.codes[tokens] * self.powers[: len(tokens)], out=sums[1:])
        hashes: UInt64[np.ndarray, " M"] = sums[self.size :] - sums[: -self.size]
        hashes *= self.inverse_powers[: len(hashes)]
        return hashes


def _token_codes(vocab_size: int) -> UInt64[np.ndarray, " V"]:
    return numpy_stream(0, "token codes").integers(0, 2**64, vocab_size, dtype=np.uint64)


def _powers(base: int, n: int) -> UInt64[np.ndarray, " n"]:
    powers = np.full(n, base, np.uint64)
    powers[0] = 1
    return np.cumprod(powers)


def _copy(text: int, start: int, place: tuple[str, int], shards: TokenShards) -> Copy:
    source, position = place
    ends = np.cumsum(shards.document_lengths("train", source))
    document = int(np.searchsorted(ends, position, side="right"))
    return Copy(text, start, source, document, str(shards.document("train", source, document)["origin"]))


def _share(is_copied: Bool[np.ndarray, " W"], text: Int[np.ndarray, " W"], seed: int) -> Share:
    """The wider of Wilson's interval, right for few hits, and the bootstrap over texts, right for clusters."""
    n_hits, n = int(is_copied.sum()), len(is_copied)
    interval = wilson_interval(n_hits, n)
    if n:
        per_text = np.bincount(text, weights=is_copied), np.bincount(text)
        wide = bootstrap_ratio(per_text[0][per_text[1] > 0], per_text[1][per_text[1] > 0], seed=seed)
        interval = Interval(min(interval.low, wide.low), max(interval.high, wide.high))
    return Share(n_hits, n, n_hits / n if n else 0.0, interval)
