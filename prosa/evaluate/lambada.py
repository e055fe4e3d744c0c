"""LAMBADA: the last word of a passage that only the whole of it gives away (Paperno et al., arXiv:1606.06031).

Passages with their last words come in; how often greedy writing finds the word, and its perplexity, go out.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from prosa.device import Device
from prosa.errors import DataError
from prosa.evaluate.continuations import encode_continuations, score_continuations
from prosa.evaluate.item_files import read_records, text_of
from prosa.evaluate.statistics import Interval, Share, bootstrap_ratio, wilson_interval
from prosa.generate import LanguageModel, Sampling
from prosa.model import Transformer
from prosa.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class LastWord:
    """A passage without its last word, and that word, joined by one space."""

    context: str
    word: str


@dataclass(frozen=True, slots=True)
class LambadaReport:
    """Share of words that greedy writing finds, and perplexity: exp of the mean of -log p(word | context).

    The mean is over words, whatever their tokens; its interval is a bootstrap over passages. `logprobs` (nats) and
    `is_found` are of the passages measured; the `n_skipped` words longer than the model's context are left out, and
    `n_cut` passages lost their beginning.
    """

    accuracy: Share
    perplexity: float
    perplexity_interval: Interval
    n_cut: int
    n_skipped: int
    logprobs: Float[np.ndarray, " n"]
    is_found: Bool[np.ndarray, " n"]

    def to_json(self) -> dict[str, Any]:
        """Everything but the single items."""
        return {
            "accuracy": asdict(self.accuracy),
            "perplexity": self.perplexity,
            "perplexity_interval": asdict(self.perplexity_interval),
            "n_cut": self.n_cut,
            "n_skipped": self.n_skipped,
        }


def measure_lambada(
    model: Transformer,
    tokenizer: Tokenizer,
    items: Sequence[LastWord],
    *,
    begins_document: bool = False,
    device: Device | None = None,
    batch_tokens: int = 4096,
    description: str = "",
    seed: int = 0,
) -> LambadaReport:
    """Accuracy and perplexity of lm-evaluation-harness's `lambada_openai`: a word counts if each of its tokens is the
    likeliest, that is, if greedy writing gives it.

    `begins_document`: see `encode_continuations`. Raises DataError if no item is left.
    """
    pairs = [(item.context, f" {item.word}") for item in items]
    encoded = encode_continuations(tokenizer, pairs, model.settings.context_length, begins_document=begins_document)
    passages = [passage for passage in encoded if passage is not None]
    if not passages:
        raise DataError("no passage fits the model's context", hint="use a model with a longer context")
    logprobs = score_continuations(model, passages, device=device, batch_tokens=batch_tokens, description=description)
    completions = LanguageModel(model, tokenizer).complete(
        [passage.ids[: -passage.n_scored] for passage in passages],
        [Sampling(temperature=0, max_new_tokens=passage.n_scored) for passage in passages],
    )
    is_found = np.array(
        [
            completion.ids == passage.ids[-passage.n_scored :]
            for passage, [completion] in zip(passages, completions, strict=True)
        ]
    )
    n, n_found = len(passages), int(is_found.sum())
    nats = bootstrap_ratio(-logprobs, np.ones(n), seed=seed)
    return LambadaReport(
        accuracy=Share(n_found, n, n_found / n, wilson_interval(n_found, n)),
        perplexity=math.exp(-float(logprobs.mean())),
        perplexity_interval=Interval(math.exp(nats.low), math.exp(nats.high)),
        n_cut=sum(passage.is_cut for passage in passages),
        n_skipped=len(items) - n,
        logprobs=logprobs,
        is_found=is_found,
    )


def read_lambada(path: Path) -> list[LastWord]:
    """Items of a .jsonl file, gzipped or not: `context` and `continuation`, or `text`, whose last word is cut off.

    Raises DataError naming the line that is neither.
    """
    items = []
    for place, record in read_records(path):
        if "text" in record:
            context, _, word = text_of(record, "text", place).rpartition(" ")
        else:
            context, word = text_of(record, "context", place), text_of(record, "continuation", place)
        items.append(LastWord(context, text_of({"last word": word}, "last word", place).strip()))
    return items
