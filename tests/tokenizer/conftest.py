from pathlib import Path

import pytest

from prosa.corpus import Corpus
from prosa.tokenizer import Tokenizer, TokenizerSettings, train_tokenizer
from tests.tokenizer.corpora import write_corpus, write_documents


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Portuguese, English and code, about 200 kB."""
    documents = write_documents("pt", 300) + write_documents("en", 300) + write_documents("code", 100)
    return write_corpus(tmp_path_factory.mktemp("corpus") / "corpus", documents)


@pytest.fixture(scope="session")
def tokenizer_folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer") / "tokenizer"
    train_tokenizer(corpus, TokenizerSettings(vocab_size=700), folder)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tokenizer_folder: Path) -> Tokenizer:
    return Tokenizer.load(tokenizer_folder)
