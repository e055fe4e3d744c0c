"""How probable is a text after another: pairs of texts come in, log-probabilities of the second parts go out.

Tokens, border and context are those of lm-evaluation-harness's `hf` backend, so that the numbers are too.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from prosa.device import Device
from prosa.errors import DataError
from prosa.evaluate.scoring import score_passages
from prosa.metrics import Progress
from prosa.model import Transformer
from prosa.tokenizer import Tokenizer


@dataclass(frozen=True, slots=True)
class Passage:
    """Ids of a context and its continuation, the last `n_scored`; `is_cut`: the context lost its beginning."""

    ids: list[int]
    n_scored: int
    is_cut: bool


def encode_continuations(
    tokenizer: Tokenizer, pairs: Sequence[tuple[str, str]], context_length: int, *, begins_document: bool = False
) -> list[Passage | None]:
    """Passages of (context, continuation); None where the continuation alone is longer than the context length.

    Both are encoded as one text, and what follows as many tokens as the context has alone is the continuation. Spaces
    at the context's end go over to the continuation, before an empty context stands <|endoftext|>, and a long one
    loses its beginning, all as the harness does it. `begins_document` puts <|endoftext|> before every text, as in
    training, which the harness does not. Raises DataError for an empty continuation.
    """
    split = []
    for number, (context, continuation) in enumerate(pairs):
        if not continuation:
            raise DataError(f"continuation {number} (after {context[-40:]!r}) is empty")
        stripped = context.rstrip()
        split.append((stripped, context[len(stripped) :] + continuation))
    contexts = list(dict.fromkeys(context for context, _ in split))
    n_tokens = {c: len(ids) for c, ids in zip(contexts, tokenizer.encode_batch(contexts), strict=True)}
    passages: list[Passage | None] = []
    texts = tokenizer.encode_batch([context + continuation for context, continuation in split])
    for (context, _), whole in zip(split, texts, strict=True):
        # A token may span the border; it belongs to the continuation if that has no other.
        n_scored = max(1, len(whole) - n_tokens[context])
        ids = [tokenizer.end_of_text_id, *whole] if begins_document or n_scored == len(whole) else whole
        is_cut = len(ids) > context_length + 1
        passages.append(Passage(ids[-context_length - 1 :], n_scored, is_cut) if n_scored <= context_length else None)
    return passages


def score_continuations(
    model: Transformer,
    passages: Sequence[Passage | None],
    *,
    device: Device | None = None,
    batch_tokens: int = 4096,
    description: str = "",
) -> Float[np.ndarray, " P"]:
    """log p(continuation | context) of each passage, in nats; NaN where there is none."""
    places = [(place, passage) for place, passage in enumerate(passages) if passage is not None]
    logprobs = np.full(len(passages), np.nan)
    scored = score_passages(
        model,
        [len(passage.ids) - 1 for _, passage in places],
        [passage.n_scored for _, passage in places],
        lambda row: np.array(places[row][1].ids),
        batch_tokens=batch_tokens,
        device=device,
    )
    with Progress(description, len(places), unit="text", is_shown=bool(description)) as progress:
        for done, (row, nats) in enumerate(scored, start=1):
            logprobs[places[row][0]] = -nats.sum(dtype=np.float64)
            progress.update(done)
    return logprobs
