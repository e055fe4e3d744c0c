"""How good is a model: bits per byte, facts, memorisation, test sets, and whether one model is better than another.

Stands after generation, which it uses, and before training, which uses it: docs/evaluate.md.
"""

from prosa.evaluate.assistant import (
    MEASURES,
    AssistantReport,
    CheckedAnswer,
    Drawing,
    Fluency,
    answer_with,
    distinct_2,
    evaluate_assistant,
)
from prosa.evaluate.assistant_tables import assistant_table
from prosa.evaluate.bits import BitsPerByte, BitsScore, bits_per_byte
from prosa.evaluate.choices import ChoiceItem, ChoiceReport, measure_choices, read_choices
from prosa.evaluate.comparison import Comparison, compare_bits, compare_cloze
from prosa.evaluate.compressors import xz_bits_per_byte
from prosa.evaluate.documents import EncodedDocuments, encode_documents, encoded_split
from prosa.evaluate.evaluation import (
    EvaluateSettings,
    Evaluation,
    ModelComparison,
    XzBits,
    choose_items,
    compare,
    evaluate,
)
from prosa.evaluate.facts import Accuracy, ClozeItem, ClozeReport, cloze
from prosa.evaluate.lambada import LambadaReport, LastWord, measure_lambada, read_lambada
from prosa.evaluate.memorisation import Copy, MemorisationReport, measure_memorisation
from prosa.evaluate.minimal_pairs import MinimalPair, MinimalPairsReport, measure_minimal_pairs, read_minimal_pairs
from prosa.evaluate.ngrams import ngram_bits_per_byte, ngram_nats
from prosa.evaluate.scoring import score_passages
from prosa.evaluate.similarity import (
    SimilarityReport,
    WordPair,
    list_words,
    measure_similarity,
    read_word_pairs,
    word_vectors,
)
from prosa.evaluate.statistics import (
    Interval,
    Share,
    bootstrap_ratio,
    mcnemar_exact,
    sign_flip_test,
    wilson_interval,
)
from prosa.evaluate.tables import comparison_table, evaluation_table
from prosa.evaluate.winrate import WinRate, win_rate

__all__ = [
    "MEASURES",
    "Accuracy",
    "AssistantReport",
    "BitsPerByte",
    "BitsScore",
    "CheckedAnswer",
    "ChoiceItem",
    "ChoiceReport",
    "ClozeItem",
    "ClozeReport",
    "Comparison",
    "Copy",
    "Drawing",
    "EncodedDocuments",
    "EvaluateSettings",
    "Evaluation",
    "Fluency",
    "Interval",
    "LambadaReport",
    "LastWord",
    "MemorisationReport",
    "MinimalPair",
    "MinimalPairsReport",
    "ModelComparison",
    "Share",
    "SimilarityReport",
    "WinRate",
    "WordPair",
    "XzBits",
    "answer_with",
    "assistant_table",
    "bits_per_byte",
    "bootstrap_ratio",
    "choose_items",
    "cloze",
    "compare",
    "compare_bits",
    "compare_cloze",
    "comparison_table",
    "distinct_2",
    "encode_documents",
    "encoded_split",
    "evaluate",
    "evaluate_assistant",
    "evaluation_table",
    "list_words",
    "mcnemar_exact",
    "measure_choices",
    "measure_lambada",
    "measure_memorisation",
    "measure_minimal_pairs",
    "measure_similarity",
    "ngram_bits_per_byte",
    "ngram_nats",
    "read_choices",
    "read_lambada",
    "read_minimal_pairs",
    "read_word_pairs",
    "score_passages",
    "sign_flip_test",
    "wilson_interval",
    "win_rate",
    "word_vectors",
    "xz_bits_per_byte",
]
