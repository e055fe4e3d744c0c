"""Does the model know a fact: prompts with a true and some false answers come in, accuracy goes out.

The model is right when it finds the true continuation more probable than every false one. Nothing is generated.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float

from prosa.device import Device
from prosa.errors import DataError
from prosa.evaluate.scoring import score_passages
from prosa.evaluate.statistics import Interval, wilson_interval
from prosa.metrics import Progress
from prosa.model import Transformer
from prosa.tokenizer import Tokenizer


class Related(Protocol):
    """What an item is about."""

    @property
    def relation(self) -> str: ...


class ClozeItem(Protocol):
    """A beginning and its possible continuations, joined by one space; `prosa.corpus.world` has them for its facts."""

    @property
    def prompt(self) -> str: ...
    @property
    def answer(self) -> str: ...
    @property
    def distractors(self) -> Sequence[str]: ...
    @property
    def fact(self) -> Related: ...
    @property
    def language(self) -> str: ...
    @property
    def is_seen_phrasing(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Share of right answers with Wilson's 95 % interval, beside what guessing would give."""

    accuracy: float
    interval: Interval
    n_right: int
    n: int
    chance: float


@dataclass(frozen=True, slots=True)
class ClozeReport:
    """Accuracy in total, by language, relation, and phrasing ("seen" in the corpus or "held_out" of it).

    `prompts` and `margins` are in the order of the items: nats by which the true answer beats the best false one.
    `n_skipped` items were longer than the model's context.
    """

    total: Accuracy
    by_language: dict[str, Accuracy]
    by_relation: dict[str, Accuracy]
    by_phrasing: dict[str, Accuracy]
    n_skipped: int
    prompts: list[str]
    margins: Float[np.ndarray, " n"]

    @property
    def is_right(self) -> Bool[np.ndarray, " n"]:
        """A tie is not knowledge."""
        return self.margins > 0

    def to_json(self) -> dict[str, Any]:
        """Everything but the single items."""
        groups = {"by_language": self.by_language, "by_relation": self.by_relation, "by_phrasing": self.by_phrasing}
        return {
            "total": asdict(self.total),
            **{name: {key: asdict(value) for key, value in group.items()} for name, group in groups.items()},
            "n_skipped": self.n_skipped,
        }


def cloze(
    model: Transformer,
    tokenizer: Tokenizer,
    items: Sequence[ClozeItem],
    *,
    device: Device | None = None,
    batch_tokens: int = 4096,
    description: str = "",
) -> ClozeReport:
    """Whether the model gives each item's answer a higher log-probability than any of its distractors.

    Compared is log p(answer | prompt), summed over the answer's tokens; a tie counts as wrong. A prompt is read as
    what it is, a sentence from within a text: no <|endoftext|> stands before it (lm-evaluation-harness puts none
    either), as no document begins like that; only an answer with nothing before it is read after the mark. The text
    is tokenized as a whole, as in training, so the space between belongs to the answer. All continuations of
    an item are scored from the same place, the end of the ids that the prompt alone and the prompt with every
    continuation have in common: where a token spans the border, the prompt's last characters are scored for all.
    Items that do not fit the context are counted and left out; DataError if none is left.
    """
    encoded = _encode(tokenizer, items)
    kept = [i for i, one in enumerate(encoded) if max(map(len, one.rows)) <= model.settings.context_length + 1]
    if not kept:
        raise DataError("no cloze item fits the model's context", hint="use a model with a longer context")
    rows = [row for i in kept for row in encoded[i].rows]
    n_scored = [len(row) - encoded[i].start for i in kept for row in encoded[i].rows]
    scored = score_passages(
        model,
        [len(row) - 1 for row in rows],
        n_scored,
        lambda row: np.array(rows[row]),
        batch_tokens=batch_tokens,
        device=device,
    )
    nats = np.zeros(len(rows))
    with Progress(description, len(rows), unit="answer", is_shown=bool(description)) as progress:
        for done, (row, values) in enumerate(scored, start=1):
            nats[row] = values.sum(dtype=np.float64)
            progress.update(done)
    n_rows = [len(encoded[i].rows) for i in kept]
    first = np.cumsum(n_rows) - n_rows
    margins = np.array([nats[i + 1 : i + n].min() - nats[i] for i, n in zip(first, n_rows, strict=True)])
    return _report([items[i] for i in kept], margins, len(items) - len(kept))


@dataclass(frozen=True, slots=True)
class _Encoded:
    """Ids of an item with each continuation, the true one first; from `start` on they are scored."""

    rows: list[list[int]]
    start: int


def _encode(tokenizer: Tokenizer, items: Sequence[ClozeItem]) -> list[_Encoded]:
    texts = []
    for number, item in enumerate(items):
        if not item.distractors or item.answer in item.distractors or "" in (item.answer, *item.distractors):
            raise DataError(f"cloze item {number} ({item.prompt!r}) needs an answer and other, false answers")
        texts += [item.prompt, *(f"{item.prompt} {answer}" for answer in (item.answer, *item.distractors))]
    ids = iter(tokenizer.encode_batch(texts))
    encoded = []
    for item in items:
        prompt_ids = next(ids)
        rows = [next(ids) for _ in range(1 + len(item.distractors))]
        n_shared = min(_shared_length(prompt_ids, row) for row in rows)
        if not n_shared:
            rows, n_shared = [[tokenizer.end_of_text_id, *row] for row in rows], 1
        encoded.append(_Encoded(rows, n_shared))
    return encoded


def _shared_length(first: Sequence[int], second: Sequence[int]) -> int:
    n = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        n += 1
    return n


def _report(items: Sequence[ClozeItem], margins: Float[np.ndarray, " n"], n_skipped: int) -> ClozeReport:
    is_right = margins > 0
    chances = np.array([1 / (1 + len(item.distractors)) for item in items])

    def accuracy(chosen: Bool[np.ndarray, " n"]) -> Accuracy:
        n_right, n = int(is_right[chosen].sum()), int(chosen.sum())
        return Accuracy(n_right / n, wilson_interval(n_right, n), n_right, n, float(chances[chosen].mean()))

    def by(labels: list[str]) -> dict[str, Accuracy]:
        column = np.array(labels)
        return {label: accuracy(column == label) for label in sorted(set(labels))}

    return ClozeReport(
        total=accuracy(np.ones(len(items), bool)),
        by_language=by([item.language for item in items]),
        by_relation=by([item.fact.relation for item in items]),
        by_phrasing=by(["seen" if item.is_seen_phrasing else "held_out" for item in items]),
        n_skipped=n_skipped,
        prompts=[item.prompt for item in items],
        margins=margins,
    )
