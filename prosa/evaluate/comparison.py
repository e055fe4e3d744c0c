"""Which of two models is better, and could that be chance: two measurements of the same documents or items come in.

Both tests are paired, document by document and item by item, so what is hard for both models cancels out.
"""

import math
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from prosa.errors import DataError
from prosa.evaluate.bits import BitsPerByte
from prosa.evaluate.facts import ClozeReport
from prosa.evaluate.statistics import Interval, bootstrap_ratio, mcnemar_exact, sign_flip_test


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two numbers, b - a with its interval, and the p-value of no difference.

    For bits per byte less is better, for accuracy more. `n` pairs were compared; `n_better_a` and `n_better_b` count
    those in which one of the two was better, the rest are ties.
    """

    a: float
    b: float
    difference: float
    interval: Interval
    p_value: float
    n: int
    n_better_a: int
    n_better_b: int
    pairs: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def compare_bits(a: BitsPerByte, b: BitsPerByte, *, language: str | None = None, seed: int = 0) -> Comparison:
    """Difference in bits per byte on the same documents: bootstrap interval and sign-flip test over documents.

    A single document is paired in blocks of 2,048 bytes instead. The tokenizers may differ; the documents may not:
    DataError says how many are in one measurement only. `language` takes the documents of one language.
    """
    a_documents, b_documents = _pair_documents(a, b)
    if language is not None:
        chosen = np.array(a.labels["language"])[a_documents] == language
        a_documents, b_documents = a_documents[chosen], b_documents[chosen]
    if not len(a_documents):
        raise DataError(f"there is no document in language `{language}` to compare on")
    bits_a, n_bytes = _bits(a, a_documents)
    bits_b, _ = _bits(b, b_documents)
    differences = bits_b - bits_a
    return Comparison(
        a=float(bits_a.sum() / n_bytes.sum()),
        b=float(bits_b.sum() / n_bytes.sum()),
        difference=float(differences.sum() / n_bytes.sum()),
        interval=bootstrap_ratio(differences, n_bytes, seed=seed),
        p_value=sign_flip_test(differences, seed=seed),
        n=len(differences),
        n_better_a=int((differences > 0).sum()),
        n_better_b=int((differences < 0).sum()),
        pairs="documents" if len(a_documents) > 1 else "blocks",
    )


def compare_cloze(a: ClozeReport, b: ClozeReport, *, seed: int = 0) -> Comparison:
    """Difference in accuracy on the same items: bootstrap interval and exact McNemar test."""
    if a.prompts != b.prompts:
        raise DataError("the two models were asked different cloze items", hint="use one list of items for both")
    n_better_a = int((a.is_right & ~b.is_right).sum())
    n_better_b = int((b.is_right & ~a.is_right).sum())
    differences = b.is_right.astype(float) - a.is_right.astype(float)
    return Comparison(
        a=a.total.accuracy,
        b=b.total.accuracy,
        difference=float(differences.mean()),
        interval=bootstrap_ratio(differences, np.ones(len(differences)), seed=seed),
        p_value=mcnemar_exact(n_better_a, n_better_b),
        n=len(differences),
        n_better_a=n_better_a,
        n_better_b=n_better_b,
        pairs="items",
    )


def _pair_documents(a: BitsPerByte, b: BitsPerByte) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Numbers of the same documents in both measurements."""
    if not (a.is_whole and b.is_whole):
        raise DataError("an estimate on a sample of the tokens cannot be compared", hint="measure the whole split")
    a_ids, b_ids = a.labels["id"], b.labels["id"]
    n_different = (Counter(a_ids) - Counter(b_ids)).total() + (Counter(b_ids) - Counter(a_ids)).total()
    if n_different:
        raise DataError(
            f"{n_different:,} documents were measured for one of the two models only",
            hint="measure both on the documents of one run",
        )
    return np.argsort(a_ids, kind="stable"), np.argsort(b_ids, kind="stable")


def _bits(
    measured: BitsPerByte, documents: Int[np.ndarray, " n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Bits and bytes of each document, or of each block of the only one."""
    blocks = measured.blocks
    if len(documents) == 1:
        own = blocks.document == documents[0]
        return blocks.nats[own] / math.log(2), blocks.n_bytes[own]
    nats = np.bincount(blocks.document, weights=blocks.nats)
    n_bytes = np.bincount(blocks.document, weights=blocks.n_bytes)
    return nats[documents] / math.log(2), n_bytes[documents]
