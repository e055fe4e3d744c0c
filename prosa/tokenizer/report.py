"""A tokenizer and a corpus go in, figures for people come out: how many bytes a token stands for, and of what.

More bytes per token means that the model reads and writes the same text in fewer steps.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from prosa.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from prosa.corpus import Corpus, Document

_BATCH_DOCUMENTS = 256
_N_EXAMPLES = 20


def describe_tokenizer(tokenizer: Tokenizer, corpus: "Corpus") -> dict[str, Any]:
    """Bytes per token on the validation split, in all and by language, kind and source, and the longest tokens.

    A corpus without validation text is measured on its training text; `split` says which it was.
    """
    split = "validation" if any(part.split == "validation" for part in corpus.parts) else "train"
    counts: dict[str, dict[str, list[int]]] = {
        name: defaultdict(lambda: [0, 0]) for name in ("all", "language", "kind", "source")
    }
    n_documents = 0
    for documents in _batches(corpus.documents(split)):
        n_documents += len(documents)
        encoded = tokenizer.encode_batch([document.text for document in documents])
        for document, ids in zip(documents, encoded, strict=True):
            n_bytes = len(document.text.encode())
            groups = {"all": "", "language": document.language, "kind": document.kind, "source": document.source}
            for name, group in groups.items():
                count = counts[name][group or "unknown"]
                count[0] += n_bytes
                count[1] += len(ids)
    ratios = {
        name: {group: round(n_bytes / max(n_tokens, 1), 4) for group, (n_bytes, n_tokens) in sorted(groups.items())}
        for name, groups in counts.items()
    }
    return {
        "vocab_size": tokenizer.vocab_size,
        "hash": tokenizer.hash,
        "split": split,
        "n_documents": n_documents,
        "bytes_per_token": {**ratios, "all": ratios["all"].get("unknown", 0.0)},
        "longest_tokens": _longest_tokens(tokenizer),
    }


def _batches(documents: "Iterator[Document]") -> "Iterator[list[Document]]":
    while batch := list(islice(documents, _BATCH_DOCUMENTS)):
        yield batch


def _longest_tokens(tokenizer: Tokenizer) -> list[str]:
    longest = sorted(range(tokenizer.vocab_size), key=lambda id: (-len(tokenizer.token_bytes(id)), id))
    return [tokenizer.show(id) for id in longest[:_N_EXAMPLES]]
