"""A small model, a tokenizer with some merges, and token shards of invented documents."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from prosa.model import ModelSettings, Transformer, init_weights
from prosa.tokenizer import Tokenizer, TokenShards, build_shards

# "th", "e ", "the ", "ão", " a": enough that tokens are not bytes.
MERGES = [(116, 104), (101, 32), (256, 257), (195, 163), (259, 111), (32, 97)]


@dataclass(frozen=True)
class Text:
    """As much of a corpus's Document as is needed here."""

    text: str
    kind: str = "book"
    language: str = "en"
    source: str = "tales"
    licence: str = "CC0-1.0"
    origin: str = "tales.txt:1"

    @property
    def id(self) -> str:
        return hashlib.blake2b(self.text.encode(), digest_size=16).hexdigest()


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return Tokenizer(MERGES)


@pytest.fixture
def make_model() -> Callable[..., Transformer]:
    def make(vocab_size: int, *, context_length: int = 16, seed: int = 0, scale: float = 1.5) -> Transformer:
        settings = ModelSettings(
            vocab_size=vocab_size, n_layer=2, d_model=32, n_head=1, n_kv_head=1, d_head=32, d_ff=64,
            context_length=context_length,
        )  # fmt: skip
        model = Transformer(settings)
        init_weights(model, seed)
        random = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            # A fresh model is nearly uniform and looks only at the last token, which would hide mistakes.
            for matrix in (weight for weight in model.parameters() if weight.ndim == 2):
                matrix.normal_(0, scale / matrix.shape[1] ** 0.5, generator=random)
        return model.eval()

    return make


@pytest.fixture
def make_shards(tmp_path: Path) -> Callable[..., TokenShards]:
    def make(tokenizer: Tokenizer, validation: Sequence[Text], train: Sequence[Text] = ()) -> TokenShards:
        parts = []
        for split, texts in (("train", train), ("validation", validation)):
            for source in sorted({text.source for text in texts}):
                path = tmp_path / f"{split}-{source}.parquet"
                own = [text for text in texts if text.source == source]
                columns = ("id", "text", "kind", "language", "source", "licence", "origin")
                pq.write_table(pa.table({name: [getattr(text, name) for text in own] for name in columns}), path)
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                parts.append(SimpleNamespace(name=path.stem, split=split, source=source, path=path, sha256=digest))
        corpus = SimpleNamespace(hash="0" * 64, parts=parts, weights={part.source: 1.0 for part in parts})
        return build_shards(corpus, tokenizer, tmp_path / "tokens")  # type: ignore[arg-type]

    return make
