"""Minimal pairs: sentences that differ in one point of grammar come in; how often the right one is likelier goes out.

As BLiMP measures it (Warstadt et al., TACL 8, 2020): the probabilities of whole sentences are compared.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from prosa.device import Device
from prosa.errors import DataError
from prosa.evaluate.continuations import encode_continuations, score_continuations
from prosa.evaluate.facts import Accuracy
from prosa.evaluate.item_files import read_records, text_of
from prosa.evaluate.statistics import wilson_interval
from prosa.model import Transformer
from prosa.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class MinimalPair:
    """A sentence that people accept and one that they do not; `paradigm` says by what they differ, within a `term` of
    linguistics, within a `field` of it."""

    good: str
    bad: str
    paradigm: str = ""
    term: str = ""
    field: str = ""


@dataclass(frozen=True, slots=True)
class MinimalPairsReport:
    """Accuracy over all pairs, by field, by term and by paradigm; `mean_of_paradigms` is the number BLiMP reports.

    `margins` are the nats by which the good sentence beats the bad one, of the pairs measured; the `n_skipped` others
    are longer than the model's context.
    """

    total: Accuracy
    mean_of_paradigms: float
    by_field: dict[str, Accuracy]
    by_term: dict[str, Accuracy]
    by_paradigm: dict[str, Accuracy]
    n_skipped: int
    margins: Float[np.ndarray, " n"]

    def to_json(self) -> dict[str, Any]:
        """Everything but the single pairs."""
        groups = {"by_field": self.by_field, "by_term": self.by_term, "by_paradigm": self.by_paradigm}
        return {
            "total": asdict(self.total),
            "mean_of_paradigms": self.mean_of_paradigms,
            **{name: {key: asdict(value) for key, value in group.items()} for name, group in groups.items()},
            "n_skipped": self.n_skipped,
        }


def measure_minimal_pairs(
    model: Transformer,
    tokenizer: Tokenizer,
    pairs: Sequence[MinimalPair],
    *,
    delimiter: str = " ",
    device: Device | None = None,
    batch_tokens: int = 4096,
    description: str = "",
) -> MinimalPairsReport:
    """Whether each good sentence has a higher log-probability than its bad one; a tie counts as wrong.

    Sentences stand after <|endoftext|> and `delimiter`, which is the space that lm-evaluation-harness puts there; ""
    begins as a document does. Raises DataError if no pair fits the model's context.
    """
    texts = [("", delimiter + sentence) for pair in pairs for sentence in (pair.good, pair.bad)]
    passages = encode_continuations(tokenizer, texts, model.settings.context_length)
    scores = score_continuations(model, passages, device=device, batch_tokens=batch_tokens, description=description)
    all_margins = scores[::2] - scores[1::2]
    is_kept = ~np.isnan(all_margins)
    margins = all_margins[is_kept]
    kept = [pair for pair, is_one in zip(pairs, is_kept, strict=True) if is_one]
    if not kept:
        raise DataError("no pair fits the model's context", hint="use a model with a longer context")
    by_paradigm = _group([pair.paradigm for pair in kept], margins > 0)
    return MinimalPairsReport(
        total=_accuracy(margins > 0),
        mean_of_paradigms=float(np.mean([accuracy.accuracy for accuracy in by_paradigm.values()])),
        by_field=_group([pair.field for pair in kept], margins > 0),
        by_term=_group([pair.term for pair in kept], margins > 0),
        by_paradigm=by_paradigm,
        n_skipped=len(pairs) - len(kept),
        margins=margins,
    )


def read_minimal_pairs(path: Path) -> list[MinimalPair]:
    """Pairs of a .jsonl file, gzipped or not, or of all such files of a folder: BLiMP's own fields (`sentence_good`,
    `sentence_bad`, `UID`, `linguistics_term`, `field`) or `good`, `bad`, `uid`, `term`, `field`.

    A pair of equal sentences, of which BLiMP has some, asks nothing: it is left out with a warning. Raises DataError
    naming the line without two sentences.
    """
    files = sorted(path.glob("*.jsonl*")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"`{path}` has no .jsonl files")
    pairs = []
    n_equal = 0
    for place, record in (found for file in files for found in read_records(file)):
        prefix = "sentence_" if "sentence_good" in record else ""
        good, bad = text_of(record, f"{prefix}good", place), text_of(record, f"{prefix}bad", place)
        if good == bad:
            n_equal += 1
            continue
        paradigm, term = (
            record.get("uid", record.get("UID", "")),
            record.get("term", record.get("linguistics_term", "")),
        )
        pairs.append(MinimalPair(good, bad, str(paradigm), str(term), str(record.get("field", ""))))
    if n_equal:
        warnings.warn(f"`{path}`: {n_equal} pairs of equal sentences are left out", stacklevel=2)
    return pairs


def _group(labels: Sequence[str], is_right: Bool[np.ndarray, " n"]) -> dict[str, Accuracy]:
    column = np.array(labels)
    return {label: _accuracy(is_right[column == label]) for label in sorted(set(labels))}


def _accuracy(is_right: Bool[np.ndarray, " n"]) -> Accuracy:
    n_right, n = int(is_right.sum()), len(is_right)
    return Accuracy(n_right / n, wilson_interval(n_right, n), n_right, n, 0.5)
