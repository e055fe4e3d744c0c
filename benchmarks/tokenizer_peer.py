"""A child of `benchmarks.tokenizer`: learns a vocabulary from a corpus, with Prosa or with `tokenizers` alone, or
encodes with `tokenizers`; prints the seconds. How many cores it uses is said by TOKENIZERS_PARALLELISM.

Learning is timed from the corpus on disk to a tokenizer on disk; encoding from texts in memory.
"""

import argparse
import tempfile
import time
from pathlib import Path

import tokenizers
from tokenizers import models, pre_tokenizers, trainers

from prosa.corpus import Corpus, open_corpus
from prosa.tokenizer import TokenizerSettings, train_tokenizer


def train_ours(corpus: Corpus, description: Path, vocab_size: int, sample_bytes: int) -> float:
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        settings = TokenizerSettings(vocab_size=vocab_size, sample_bytes=sample_bytes)
        train_tokenizer(corpus, settings, Path(name) / "tokenizer")
        return time.perf_counter() - started


def train_theirs(corpus: Corpus, description: Path, vocab_size: int, sample_bytes: int) -> float:
    """With the pre-tokenizer of `description`, as a reader of its documentation would have it."""
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        learner = tokenizers.Tokenizer(models.BPE())
        learner.pre_tokenizer = tokenizers.Tokenizer.from_file(str(description)).pre_tokenizer
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size - 4,
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        learner.train_from_iterator((document.text for document in corpus.documents("train")), trainer)
        learner.save(f"{name}/tokenizer.json")
        seconds = time.perf_counter() - started
    assert learner.get_vocab_size() == vocab_size - 4
    return seconds


def encode_theirs(corpus: Corpus, description: Path, vocab_size: int, sample_bytes: int) -> float:
    texts = [document.text for document in corpus.documents("train")]
    theirs = tokenizers.Tokenizer.from_file(str(description))
    started = time.perf_counter()
    encoded = theirs.encode_batch_fast(texts, add_special_tokens=False)
    seconds = time.perf_counter() - started
    assert len(encoded) == len(texts)
    return seconds


_WORK = {"prosa": train_ours, "tokenizers": train_theirs, "encode": encode_theirs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", choices=list(_WORK))
    parser.add_argument("corpus", type=Path)
    parser.add_argument("description", type=Path, help="a tokenizer.json that Prosa wrote")
    parser.add_argument("--vocab-size", type=int, required=True)
    parser.add_argument("--sample-bytes", type=int, required=True)
    chosen = parser.parse_args()
    work = _WORK[chosen.work]
    print(work(open_corpus(chosen.corpus), chosen.description, chosen.vocab_size, chosen.sample_bytes))


if __name__ == "__main__":
    main()
