"""A corpus goes in, a trained tokenizer comes out, committed to its folder in one step.

The merges are learned by `tokenizers` on a seeded sample in which each source has its weight in the mixture.
"""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from prosa.config import Settings
from prosa.errors import ConfigError, DataError
from prosa.rundir import commit_folder, read_manifest, staging_folder
from prosa.streams import derive_seed
from prosa.tokenizer import files
from prosa.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    from prosa.corpus import Corpus

_N_FIXED = 256 + len(files.CONTROL_TOKENS)
_SPAN_CHARACTERS = 4_096


class TokenizerSettings(Settings):
    """`vocab_size` counts the 256 bytes and the 4 control tokens; 0 chooses it from the size of the corpus."""

    vocab_size: int = Field(0, ge=0, le=files.MAX_VOCAB_SIZE)
    # The trainer counts pairs in 32 bits; a sample of 1 GiB cannot overflow them, and far less is enough.
    sample_bytes: int = Field(20_000_000, ge=10_000, le=1 << 30)
    seed: int = 0


def train_tokenizer(corpus: "Corpus", settings: TokenizerSettings, folder: Path) -> Tokenizer:
    """Trains on the corpus's training split and commits `folder`; the same inputs give the same tokenizer anywhere.

    A sample too small for the vocabulary asked for gives a smaller one, see `training_report`. Raises ConfigError for
    a vocab_size of 1 to 259, DataError if there is no training text.
    """
    n_bytes = count_train_bytes(corpus)
    wanted = settings.vocab_size or choose_vocab_size(sum(n_bytes.values()))
    if wanted < _N_FIXED:
        raise ConfigError(
            f"`vocab_size` = {wanted} is below {_N_FIXED}: 256 bytes and {len(files.CONTROL_TOKENS)} control tokens",
            hint=f"{_N_FIXED} reads text byte by byte; 0 chooses from the size of the corpus",
        )
    n_sampled = dict.fromkeys(n_bytes, 0)
    tokenizer = Tokenizer(_learn_merges(_sample(corpus, n_bytes, settings, n_sampled), wanted - _N_FIXED))
    tokenizer.check_encoders()
    description = {
        "kind": "tokenizer",
        "hash": tokenizer.hash,
        "corpus": corpus.hash,
        "settings": settings.model_dump(mode="json"),
        "wanted_vocab_size": wanted,
        "vocab_size": tokenizer.vocab_size,
        "sample_bytes": n_sampled,
    }
    staging = staging_folder(folder)
    try:
        tokenizer.save(staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    commit_folder(staging, folder, description)
    return tokenizer


def choose_vocab_size(n_bytes: int) -> int:
    """Twice the square root of the training bytes, down to a power of two, from 512 to 32,768.

    The count of distinct words grows about as the square root of a text (Heaps 1978); 1 MiB gives 2,048, 4 MiB 4,096.
    """
    return min(max(1 << math.isqrt(4 * n_bytes).bit_length() >> 1, 512), 32_768)


def training_report(folder: Path) -> str:
    """One sentence on how the tokenizer in `folder` came out: its size, its sample, and what it fell short of."""
    description: dict[str, Any] = read_manifest(folder)["description"]
    found, wanted = description["vocab_size"], description["wanted_vocab_size"]
    sampled = sum(description["sample_bytes"].values())
    report = f"{found:,} tokens, learned from {sampled:,} bytes"
    if found < wanted:
        report += f"; {wanted:,} were wanted, but no further pair of tokens occurs twice"
    return report


def count_train_bytes(corpus: "Corpus") -> dict[str, int]:
    """Bytes of training text by source, in the order of the corpus; DataError if there are none at all."""
    n_bytes: dict[str, int] = {}
    for part in corpus.parts:
        if part.split == "train" and part.n_bytes:
            n_bytes[part.source] = n_bytes.get(part.source, 0) + part.n_bytes
    if not n_bytes:
        raise DataError(f"`{corpus.folder}` has no training text", hint="add sources, or lower `validation_fraction`")
    return n_bytes


def _sample(
    corpus: "Corpus", n_bytes: dict[str, int], settings: TokenizerSettings, n_sampled: dict[str, int]
) -> Iterator[str]:
    """Training text of each source for its weight, at most sample_bytes in all, counted in `n_sampled`.

    A source whose share is more than it has comes several times, as it will in training.
    """
    total = unspent = min(settings.sample_bytes, sum(n_bytes.values()))
    weights = {source: corpus.weights[source] for source in n_bytes}
    scale = sum(weights.values())
    for source, available in n_bytes.items():
        budget = min(round(total * weights[source] / scale), unspent)
        unspent -= budget
        for turn in range(math.ceil(budget / available)):
            share = (budget - turn * available) / available
            for text in _choose(corpus, source, share, derive_seed(settings.seed, "tokenizer sample", turn)):
                size = len(text.encode())
                if n_sampled[source] + size > budget:
                    break
                n_sampled[source] += size
                yield text


def _choose(corpus: "Corpus", source: str, share: float, seed: int) -> Iterator[str]:
    """Every document if `share` >= 1, else about that share of their spans, chosen by document id and position."""
    for document in corpus.documents("train", source):
        if share >= 1:
            yield document.text
            continue
        id = int(document.id[:15], 16)
        for start in range(0, len(document.text), _SPAN_CHARACTERS):
            if derive_seed(seed, "span", id, start) < share * (1 << 63):
                yield document.text[start : start + _SPAN_CHARACTERS]


def _learn_merges(texts: Iterator[str], n_merges: int) -> list[tuple[int, int]]:
    """The first n_merges merges, or as many as join a pair that occurs at least twice."""
    import tokenizers
    from tokenizers import models, pre_tokenizers, trainers

    if not n_merges:
        return []
    learner = tokenizers.Tokenizer(models.BPE())
    learner.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(tokenizers.Regex(files.SPLIT_PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = files.byte_alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=256 + n_merges,
        min_frequency=2,
        initial_alphabet=alphabet,
        max_token_length=files.MAX_TOKEN_BYTES,
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    ids = {character: byte for byte, character in enumerate(alphabet)}
    merges = []
    for left, right in json.loads(learner.to_str())["model"]["merges"]:
        merges.append((ids[left], ids[right]))
        ids[left + right] = 255 + len(merges)
    return merges
