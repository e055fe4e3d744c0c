"""The report's figures are those of a direct count."""

from dataclasses import replace
from pathlib import Path

import pytest

from prosa.corpus import Corpus
from prosa.tokenizer import Tokenizer, describe_tokenizer
from tests.tokenizer.corpora import write_corpus, write_documents


def test_bytes_per_token(corpus: Corpus, tokenizer: Tokenizer) -> None:
    report = describe_tokenizer(tokenizer, corpus)
    documents = list(corpus.documents("validation"))
    assert (report["vocab_size"], report["hash"], report["split"]) == (700, tokenizer.hash, "validation")
    assert report["n_documents"] == len(documents)
    for key in ("language", "kind", "source"):
        for group, ratio in report["bytes_per_token"][key].items():
            texts = [document.text for document in documents if getattr(document, key) == group]
            n_bytes = sum(len(text.encode()) for text in texts)
            assert ratio == pytest.approx(n_bytes / sum(len(tokenizer.encode(text)) for text in texts), abs=1e-4)
    assert set(report["bytes_per_token"]["language"]) == {"pt", "en", "code"}
    assert 1 < report["bytes_per_token"]["all"] < 6


def test_longest_tokens(corpus: Corpus, tokenizer: Tokenizer) -> None:
    longest = describe_tokenizer(tokenizer, corpus)["longest_tokens"]
    assert len(longest) == 20
    sizes = [len(token.replace("␣", " ").replace("↵", "\n").encode()) for token in longest]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == tokenizer.n_bytes.max()


def test_pure_bytes_and_a_corpus_without_validation(tmp_path: Path) -> None:
    corpus = write_corpus(tmp_path / "corpus", write_documents("pt", 8)[1:], validation_every=1_000)
    train = tuple(part for part in corpus.parts if part.split == "train")
    report = describe_tokenizer(Tokenizer([]), replace(corpus, parts=train))
    assert report["split"] == "train"
    assert report["bytes_per_token"]["all"] == 1.0
