"""Token shards in memory, for tests of what is done with tokens rather than of how they are stored."""

from typing import Any

import numpy as np


class FakeShards:
    """As many documents as `lengths` has, of ids drawn from a small pattern language, in one or more sources."""

    def __init__(self, lengths: dict[str, list[int]], *, vocab_size: int = 64, weights: dict[str, float] | None = None):
        stream = np.random.Generator(np.random.Philox(7))
        self.vocab_size = vocab_size
        self.sources = tuple(lengths)
        self.weights = weights or dict.fromkeys(lengths, 0.0)
        self.hash = "fake"
        self.tokenizer_hash = "fake"
        self.ids: dict[str, list[np.ndarray]] = {}
        for name, sizes in lengths.items():
            self.ids[name] = [self._document(stream, size) for size in sizes]

    def _document(self, stream: np.random.Generator, size: int) -> np.ndarray:
        # Each id follows from the one before but for one time in eight, so that there is something to learn.
        ids = np.zeros(size, dtype=np.uint16)
        for i in range(1, size):
            is_surprise = stream.random() < 1 / 8
            ids[i] = stream.integers(1, self.vocab_size) if is_surprise else (ids[i - 1] * 5 + 3) % self.vocab_size
        ids[-1] = 0
        return ids

    def n_tokens(self, split: str, source: str) -> int:
        return sum(map(len, self.ids[source]))

    def document_lengths(self, split: str, source: str) -> np.ndarray:
        return np.array([len(ids) for ids in self.ids[source]], dtype=np.int64)

    def read(self, split: str, source: str, document: int, start: int, length: int) -> np.ndarray:
        return self.ids[source][document][start : start + length]

    def document(self, split: str, source: str, document: int) -> dict[str, Any]:
        return {"id": f"{source}-{document}", "language": "en", "kind": "book"}
