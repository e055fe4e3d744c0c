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
from prosa.tokenizer.files import CONTROL_TOKENS


def train_ours(corpus: Corpus, theirs: tokenizers.Tokenizer) -> float:
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        train_tokenizer(corpus, TokenizerSettings(vocab_size=theirs.get_vocab_size()), Path(name) / "tokenizer")
        return time.perf_counter() - started


def train_theirs(corpus: Corpus, theirs: tokenizers.Tokenizer) -> float:
    """With the pre-tokenizer of ours and as many merges; it has no control tokens."""
    vocab_size = theirs.get_vocab_size() - len(CONTROL_TOKENS)
    with tempfile.TemporaryDirectory() as name:
        started = time.perf_counter()
        learner = tokenizers.Tokenizer(models.BPE())
        learner.pre_tokenizer = theirs.pre_tokenizer
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            min_frequency=2,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        learner.train_from_iterator((document.text for document in corpus.documents("train")), trainer)
        learner.save(f"{name}/tokenizer.json")
        seconds = time.perf_counter() - started
    assert learner.get_vocab_size() == vocab_size
    return seconds


def encode_theirs(corpus: Corpus, theirs: tokenizers.Tokenizer) -> float:
    texts = [document.text for document in corpus.documents("train")]
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
    chosen = parser.parse_args()
    theirs = tokenizers.Tokenizer.from_file(str(chosen.description))
    print(_WORK[chosen.work](open_corpus(chosen.corpus), theirs))


if __name__ == "__main__":
    main()
