"""Multiple choice by log-likelihood: questions with several answers come in, accuracies go out.

The model's choice is the answer it finds most probable, as lm-evaluation-harness defines it. Nothing is generated.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from prosa.device import Device
from prosa.errors import DataError
from prosa.evaluate.continuations import encode_continuations, score_continuations
from prosa.evaluate.facts import Accuracy
from prosa.evaluate.item_files import read_records, text_of, texts_of
from prosa.evaluate.statistics import wilson_interval
from prosa.model import Transformer
from prosa.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class ChoiceItem:
    """A question: a context for each choice, mostly the same one, and which choice is right."""

    contexts: tuple[str, ...]
    choices: tuple[str, ...]
    answer: int


@dataclass(frozen=True, slots=True)
class ChoiceReport:
    """Accuracy of the choice with the highest log-probability: the sum over its tokens (`acc`), divided by its
    characters (`acc_norm`) or by its UTF-8 bytes (`acc_bytes`).

    `logprobs` has each item's sums in nats, in the order of its choices. `n_cut` choices had a context that lost its
    beginning; the `n_skipped` items with a choice longer than the model's context are left out.
    """

    acc: Accuracy
    acc_norm: Accuracy
    acc_bytes: Accuracy
    n_cut: int
    n_skipped: int
    logprobs: list[Float[np.ndarray, " k"]]

    def to_json(self) -> dict[str, Any]:
        """Everything but the single items."""
        accuracies = {name: asdict(getattr(self, name)) for name in ("acc", "acc_norm", "acc_bytes")}
        return accuracies | {"n_cut": self.n_cut, "n_skipped": self.n_skipped}


def measure_choices(
    model: Transformer,
    tokenizer: Tokenizer,
    items: Sequence[ChoiceItem],
    *,
    delimiter: str = " ",
    begins_document: bool = False,
    device: Device | None = None,
    batch_tokens: int = 4096,
    description: str = "",
) -> ChoiceReport:
    """Which choice the model finds most probable after its context, joined to it by `delimiter`.

    acc, acc_norm and their ties (the first choice wins) are those of lm-evaluation-harness with zero examples; its
    acc_norm divides by characters, without the delimiter, and acc_bytes is the same by bytes. How contexts and choices
    become tokens, and what `begins_document` changes, says `encode_continuations`. Raises DataError for items without
    two choices or a right one, or if all are too long.
    """
    for number, item in enumerate(items):
        n_choices = len(item.choices)
        if n_choices < 2 or n_choices != len(item.contexts) or "" in item.choices or not 0 <= item.answer < n_choices:
            raise DataError(f"item {number} ({item.contexts[:1]}) needs two choices, a context for each, and an answer")
    pairs = [
        (context, delimiter + choice)
        for item in items
        for context, choice in zip(item.contexts, item.choices, strict=True)
    ]
    passages = encode_continuations(tokenizer, pairs, model.settings.context_length, begins_document=begins_document)
    scores = score_continuations(model, passages, device=device, batch_tokens=batch_tokens, description=description)
    ends = np.cumsum([len(item.choices) for item in items])
    rows = np.split(scores, ends)[:-1]
    kept = [(item, row) for item, row in zip(items, rows, strict=True) if not np.isnan(row).any()]
    if not kept:
        raise DataError("no item fits the model's context", hint="use a model with a longer context")
    chance = float(np.mean([1 / len(item.choices) for item, _ in kept]))

    def accuracy(lengths: Sequence[Sequence[int]]) -> Accuracy:
        is_right = [
            np.argmax(row / np.array(length)) == item.answer for (item, row), length in zip(kept, lengths, strict=True)
        ]
        n_right = int(np.sum(is_right))
        return Accuracy(n_right / len(kept), wilson_interval(n_right, len(kept)), n_right, len(kept), chance)

    return ChoiceReport(
        acc=accuracy([[1] * len(item.choices) for item, _ in kept]),
        acc_norm=accuracy([[len(choice) for choice in item.choices] for item, _ in kept]),
        acc_bytes=accuracy([[len(choice.encode()) for choice in item.choices] for item, _ in kept]),
        n_cut=sum(passage is not None and passage.is_cut for passage in passages),
        n_skipped=len(items) - len(kept),
        logprobs=[row for _, row in kept],
    )


def read_choices(path: Path) -> list[ChoiceItem]:
    """Items of a .jsonl file, gzipped or not: `query`, `choices`, `gold`, or `context_options`, `continuation`, `gold`.

    A query that begins with `Question:` and does not ask for the answer gets the line `Answer:`, the prompt of
    lm-evaluation-harness for ARC and PIQA. Raises DataError naming the line that is neither.
    """
    items = []
    for place, record in read_records(path):
        if "context_options" in record:
            contexts = texts_of(record, "context_options", place)
            choices = (text_of(record, "continuation", place),) * len(contexts)
        else:
            choices = texts_of(record, "choices", place)
            query = text_of(record, "query", place)
            if query.startswith("Question:") and "Answer:" not in query:
                query = f"{query.rstrip()}\nAnswer:"
            contexts = (query,) * len(choices)
        gold = record.get("gold")
        if not isinstance(gold, int) or isinstance(gold, bool) or not 0 <= gold < len(choices):
            raise DataError(f"`{place}`: `gold` is {gold!r}, not the number of one of {len(choices)} choices")
        items.append(ChoiceItem(contexts, choices, gold))
    return items
