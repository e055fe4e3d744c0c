"""Tokenized documents to measure on, wherever they lie: token shards or texts come in, one view of both goes out."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from prosa.corpus import Document
from prosa.errors import DataError
from prosa.tokenizer import Tokenizer, TokenShards

LABELS = ("id", "kind", "language", "source")


@dataclass(frozen=True, slots=True)
class EncodedDocuments:
    """Documents as token ids, each ending with `end_of_text_id`; `read(document, start, length)` gives ids.

    `labels` has a column for each of LABELS; `tokenizer` is None if only the ids are known.
    """

    name: str
    labels: dict[str, list[str]]
    n_tokens: Int[np.ndarray, " n"]
    n_bytes: Int[np.ndarray, " n"]
    end_of_text_id: int
    tokenizer: Tokenizer | None
    read: Callable[[int, int, int], Int[np.ndarray, " L"]]

    def text(self, document: int) -> str:
        """The document's text; only with a tokenizer."""
        assert self.tokenizer is not None
        return self.tokenizer.decode(self.read(document, 0, int(self.n_tokens[document])).tolist())


def encode_documents(tokenizer: Tokenizer, documents: Iterable[Document], *, name: str = "given") -> EncodedDocuments:
    """Documents in memory, so that models with different tokenizers can be measured on the same text.

    Raises DataError if there is none, or one without text.
    """
    documents = list(documents)
    if not documents:
        raise DataError("there are no documents to measure")
    for number, document in enumerate(documents):
        if not document.text:
            raise DataError(f"document {number} ({document.origin}) has no text to measure")
    encoded = tokenizer.encode_batch([document.text for document in documents])
    ids = [np.array([*row, tokenizer.end_of_text_id], np.int64) for row in encoded]
    return EncodedDocuments(
        name=name,
        labels={label: [getattr(document, label) for document in documents] for label in LABELS},
        n_tokens=np.array([len(row) for row in ids], np.int64),
        n_bytes=np.array([len(document.text.encode()) for document in documents], np.int64),
        end_of_text_id=tokenizer.end_of_text_id,
        tokenizer=tokenizer,
        read=lambda document, start, length: ids[document][start : start + length],
    )


def encoded_split(shards: TokenShards, split: str, tokenizer: Tokenizer | None = None) -> EncodedDocuments:
    """The documents of one split of token shards, source by source; nothing is copied into memory.

    With the shards' `tokenizer`, positions in a document are known to the byte. Raises DataError if there is none.
    """
    sources = [source for source in shards.sources if shards.n_tokens(split, source)]
    places = [(source, n) for source in sources for n in range(len(shards.document_lengths(split, source)))]
    if not places:
        raise DataError(f"`{shards.folder}` has no {split} documents", hint="add text to the corpus")
    table = shards.document_table(split)
    n_tokens = table["n_tokens"].to_numpy()
    return EncodedDocuments(
        name=split,
        labels={label: table[label].to_pylist() for label in LABELS},
        n_tokens=n_tokens,
        n_bytes=table["n_bytes"].to_numpy(),
        end_of_text_id=int(shards.read(split, *places[0], int(n_tokens[0]) - 1, 1)[0]),
        tokenizer=tokenizer,
        read=lambda document, start, length: shards.read(split, *places[document], start, length),
    )
