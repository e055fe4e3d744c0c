"""How good is a model: bits per byte, world facts, memorisation, and whether one model is better than another.

Stands after generation, which it uses, and before training, which uses it: docs/evaluate.md.
"""

from prosa.evaluate.bits import BitsPerByte, BitsScore, bits_per_byte
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
from prosa.evaluate.memorisation import Copy, MemorisationReport, measure_memorisation
from prosa.evaluate.scoring import score_passages
from prosa.evaluate.statistics import (
    Interval,
    Share,
    bootstrap_ratio,
    mcnemar_exact,
    sign_flip_test,
    wilson_interval,
)
from prosa.evaluate.tables import comparison_table, evaluation_table

__all__ = [
    "Accuracy",
    "BitsPerByte",
    "BitsScore",
    "ClozeItem",
    "ClozeReport",
    "Comparison",
    "Copy",
    "EncodedDocuments",
    "EvaluateSettings",
    "Evaluation",
    "Interval",
    "MemorisationReport",
    "ModelComparison",
    "Share",
    "XzBits",
    "bits_per_byte",
    "bootstrap_ratio",
    "choose_items",
    "cloze",
    "compare",
    "compare_bits",
    "compare_cloze",
    "comparison_table",
    "encode_documents",
    "encoded_split",
    "evaluate",
    "evaluation_table",
    "mcnemar_exact",
    "measure_memorisation",
    "score_passages",
    "sign_flip_test",
    "wilson_interval",
    "xz_bits_per_byte",
]
