"""Many prompts are written on together: token ids and settings come in, one step of tokens at a time goes out.

Each distinct prompt is computed once and its cache copied for every sample; rows that are done leave the batch, and
rows whose context is full forget its older half.

    B rows   T length of the longest prompt   V vocab_size
"""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from prosa.errors import ConfigError, DataError
from prosa.generate.sampling import Sampler, Sampling
from prosa.generate.stopping import StopText
from prosa.model import KVCache, Transformer
from prosa.streams import numpy_stream
from prosa.tokenizer import StreamingDecoder, Tokenizer

# Rows computed together; more need more memory without being faster on a CPU.
MAX_ROWS = 64

FinishReason = Literal["stop", "length", "context"]


@dataclass(slots=True)
class Row:
    """One text being written; `ids` are the prompt and everything drawn so far, a stop token included."""

    prompt_index: int
    sample_index: int
    sampling: Sampling
    ids: list[int]
    n_prompt: int
    stream: np.random.Generator
    decoder: StreamingDecoder
    stop_text: StopText
    text: str = ""
    logprobs: list[float] = field(default_factory=list)
    top_logprobs: list[list[tuple[int, float]]] = field(default_factory=list)
    finish_reason: FinishReason | None = None

    def accept(self, id: int, *, is_stop_token: bool, is_full: bool) -> str:
        """Adds a token, decides whether the row is done, and returns the text that is now certain."""
        self.ids.append(id)
        piece = self.stop_text.push("" if is_stop_token else self.decoder.push(id))
        if is_stop_token or self.stop_text.is_stopped:
            self.finish_reason = "stop"
        elif len(self.ids) - self.n_prompt == self.sampling.max_new_tokens:
            self.finish_reason = "length"
        elif is_full and self.sampling.when_full == "stop":
            self.finish_reason = "context"
        if self.finish_reason and not self.stop_text.is_stopped:
            piece += self.stop_text.push(self.decoder.finish()) + self.stop_text.finish()
        self.text += piece
        return piece


@dataclass(frozen=True, slots=True)
class Drawn:
    """One row's step: the token drawn, the text that became certain, the logits it was drawn from and, if asked for,
    its scores: logits after all sampling settings."""

    row: Row
    id: int
    piece: str
    logits: Float[Tensor, " V"]
    scores: Float[Tensor, " V"] | None


def make_rows(
    tokenizer: Tokenizer, prompts: Sequence[Sequence[int]], samplings: Sequence[Sampling], context_length: int
) -> list[Row]:
    """One row per sample of each prompt; an empty prompt becomes <|endoftext|>, after which documents begin.

    Raises DataError for an id outside the vocabulary or a prompt that is longer than a context that must not slide.
    """
    rows = []
    for index, (prompt, sampling) in enumerate(zip(prompts, samplings, strict=True)):
        ids = [int(id) for id in prompt] or [tokenizer.end_of_text_id]
        if not 0 <= min(ids) <= max(ids) < tokenizer.vocab_size:
            raise DataError(f"prompt {index} has a token id outside 0 to {tokenizer.vocab_size - 1}")
        if max(sampling.logit_bias, default=0) >= tokenizer.vocab_size:
            raise ConfigError(f"logit_bias has a token id outside 0 to {tokenizer.vocab_size - 1}")
        if sampling.when_full == "stop" and len(ids) > context_length:
            raise DataError(
                f"prompt {index} has {len(ids)} tokens, the context holds {context_length}",
                hint='shorten it, or use when_full = "slide" to forget its beginning',
            )
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed
        rows += [
            Row(
                index,
                sample,
                sampling,
                list(ids),
                len(ids),
                # The prompt is part of the key, so that equal seeds do not tie different prompts to the same chances.
                numpy_stream(seed, "sample", sample, *ids),
                tokenizer.stream(),
                StopText(sampling.stop),
            )
            for sample in range(sampling.n)
        ]
    return rows


def write(
    model: Transformer, tokenizer: Tokenizer, rows: Sequence[Row], *, keeps_scores: bool = False
) -> Iterator[list[Drawn]]:
    """Writes all rows to their ends, yielding what each unfinished one drew at every step."""
    was_training = model.training
    model.eval()
    try:
        yield from _write(model, tokenizer, list(rows), keeps_scores)
    finally:
        model.train(was_training)


def _write(model: Transformer, tokenizer: Tokenizer, rows: list[Row], keeps_scores: bool) -> Iterator[list[Drawn]]:
    context_length, vocab_size = model.settings.context_length, tokenizer.vocab_size
    stop_ids = {tokenizer.end_of_text_id, tokenizer.im_end_id}
    sampler = Sampler([row.sampling for row in rows], [row.ids for row in rows], vocab_size)
    logits, kv_cache = _prefill_rows(model, rows)
    while True:
        logits = logits[:, :vocab_size].float().cpu()
        scores = sampler.scores(logits) if keeps_scores else None
        drawn = []
        for position, (row, id) in enumerate(zip(rows, _choose(sampler, logits, rows), strict=True)):
            is_full = kv_cache.lengths[position] == context_length
            piece = row.accept(id, is_stop_token=id in stop_ids, is_full=is_full)
            drawn.append(Drawn(row, id, piece, logits[position], None if scores is None else scores[position]))
        yield drawn
        going = [position for position, row in enumerate(rows) if row.finish_reason is None]
        if not going:
            return
        if len(going) < len(rows):
            rows = [rows[position] for position in going]
            kv_cache = kv_cache.select(going)
            sampler.select(going)
        _slide(model, rows, kv_cache)
        logits = decode_one_token(model, [row.ids[-1] for row in rows], kv_cache)


@torch.inference_mode()
def prefill(
    model: Transformer, prompts: Sequence[Sequence[int]], capacity: int
) -> tuple[Float[Tensor, "B V"], KVCache]:
    """Reads whole prompts at once: the logits after each one's last token, and a cache with room for `capacity`."""
    weight = model.unembedding
    lengths = [len(prompt) for prompt in prompts]
    ids = torch.zeros(len(prompts), max(lengths), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    kv_cache = KVCache(model.settings, len(prompts), capacity, dtype=weight.dtype, device=weight.device)
    # Padding stands to the right, where causal attention hides it from every token that counts.
    hidden = model.hidden(ids.to(weight.device), kv_cache)
    kv_cache.truncate(lengths)
    last = hidden[torch.arange(len(prompts)), torch.tensor(lengths) - 1]  # B C
    return model.unembed(last), kv_cache


@torch.inference_mode()
def decode_one_token(model: Transformer, ids: Sequence[int], kv_cache: KVCache) -> Float[Tensor, "B V"]:
    """Reads one more token in every row of the cache: the logits after it."""
    return model(torch.tensor(ids, device=model.unembedding.device)[:, None], kv_cache)[:, 0]  # type: ignore[no-any-return]


@torch.inference_mode()
def _choose(sampler: Sampler, logits: Float[Tensor, "B V"], rows: Sequence[Row]) -> list[int]:
    """Draws a token for each row and notes its log-probability in the model's own distribution, before any setting."""
    uniforms = torch.tensor([row.stream.random() for row in rows], dtype=torch.float64)
    chosen = sampler.choose(logits, uniforms)
    sampler.record(chosen)
    normaliser = logits.logsumexp(-1, keepdim=True)
    logprobs = (logits.gather(1, chosen[:, None]) - normaliser)[:, 0].tolist()
    for position, row in enumerate(rows):
        row.logprobs.append(logprobs[position])
        if row.sampling.top_logprobs:
            top = (logits[position] - normaliser[position]).topk(min(row.sampling.top_logprobs, logits.shape[1]))
            row.top_logprobs.append(list(zip(top.indices.tolist(), top.values.tolist(), strict=True)))
    ids: list[int] = chosen.tolist()
    return ids


@torch.inference_mode()
def _prefill_rows(model: Transformer, rows: Sequence[Row]) -> tuple[Float[Tensor, "B V"], KVCache]:
    """Prefill of each distinct prompt once, its logits and cache then copied to every row that has it."""
    context_length = model.settings.context_length
    windows = [tuple(row.ids[-context_length:]) for row in rows]
    distinct = {window: index for index, window in enumerate(dict.fromkeys(windows))}
    capacity = min(context_length, max(row.n_prompt + row.sampling.max_new_tokens for row in rows))
    logits, kv_cache = prefill(model, list(distinct), max(map(len, distinct)))
    copies = [distinct[window] for window in windows]
    return logits[copies], kv_cache.select(copies, capacity)


@torch.inference_mode()
def _slide(model: Transformer, rows: Sequence[Row], kv_cache: KVCache) -> None:
    """In rows without room for their newest token, reads the newer half of the context again from position 0."""
    context_length = model.settings.context_length
    full = [position for position, length in enumerate(kv_cache.lengths) if length == context_length]
    if full:
        windows = [rows[position].ids[-1 - context_length // 2 : -1] for position in full]
        kv_cache.replace_rows(full, prefill(model, windows, context_length)[1])
