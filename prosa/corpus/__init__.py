"""The corpus: sources come in; clean, unique, identified documents go out, mixed and divided for training."""

from prosa.corpus.build import CorpusSettings, build_corpus, corpus_inputs
from prosa.corpus.document import KINDS, Document, ReadReport
from prosa.corpus.mixing import epochs_per_source, repeat_warnings, resolve_weights
from prosa.corpus.rows import read_rows
from prosa.corpus.sources import SourceSettings, read_source
from prosa.corpus.stored import Corpus, Part, describe_corpus, open_corpus

__all__ = [
    "KINDS",
    "Corpus",
    "CorpusSettings",
    "Document",
    "Part",
    "ReadReport",
    "SourceSettings",
    "build_corpus",
    "corpus_inputs",
    "describe_corpus",
    "epochs_per_source",
    "open_corpus",
    "read_rows",
    "read_source",
    "repeat_warnings",
    "resolve_weights",
]
