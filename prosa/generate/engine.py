"""Many prompts are written on together: token ids and settings come in, one step of tokens at a time goes out.

Each distinct prompt is computed once and its cache copied for every sample, and so is a beginning that prompts share;
rows that are done leave the batch, others join it, and rows whose context is full forget its older half.

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
from prosa.generate.compiled import CompiledSteps
from prosa.generate.prefixes import Prefixes, find_shared
from prosa.generate.sampling import Sampler, Sampling
from prosa.generate.stopping import StopText
from prosa.model import KVCache, Transformer, group_by_length
from prosa.streams import numpy_stream
from prosa.tokenizer import StreamingDecoder, Tokenizer

# Rows computed together; more need more memory without being faster on a CPU.
MAX_ROWS = 64
# Positions of prompts read together, padding included: prompts of like length, so that there is little of it.
_PREFILL_TOKENS = 2048
# Tokens of beginnings that prompts written together share, kept while they are written.
_PREFIX_TOKENS = 4096
# Shares of the rows: taken out of the cache when an eighth is done, refilled when a quarter is free.
_COMPACT, _REFILL = 8, 4

FinishReason = Literal["stop", "length", "context", "cancelled"]


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
    model: Transformer,
    tokenizer: Tokenizer,
    rows: Sequence[Row],
    *,
    keeps_scores: bool = False,
    max_rows: int = MAX_ROWS,
    steps: CompiledSteps | None = None,
) -> Iterator[list[Drawn]]:
    """Writes all rows to their ends, yielding what each unfinished one drew at every step.

    At most `max_rows` are computed together; the others wait in order and take the places of those that are done.
    steps: compiled programs of the model, used from the moment that they are there.
    """
    if not rows:
        return
    was_training = model.training
    model.eval()
    try:
        yield from _write(model, tokenizer, list(rows), keeps_scores, max_rows, steps)
    finally:
        model.train(was_training)


def _write(
    model: Transformer,
    tokenizer: Tokenizer,
    rows: list[Row],
    keeps_scores: bool,
    max_rows: int,
    steps: CompiledSteps | None,
) -> Iterator[list[Drawn]]:
    batch = RowBatch(model, tokenizer, steps, Prefixes(_PREFIX_TOKENS))
    batch.join(rows[:max_rows])
    waiting = rows[max_rows:]
    while batch.rows:
        yield batch.draw(keeps_scores=keeps_scores)
        batch.drop_finished()
        batch.decode()
        room = max_rows - len(batch.rows)
        # A few at a time would copy the cache too often.
        if waiting and room * _REFILL >= max_rows:
            batch.join(waiting[:room])
            waiting = waiting[room:]


class RowBatch:
    """Rows computed together: `places` says which row of the cache is whose. What is done stays in the cache a while,
    as taking it out copies all the others.

    prefixes: beginnings known and worth knowing; with keeps_texts also those of all texts that are done.
    """

    def __init__(
        self,
        model: Transformer,
        tokenizer: Tokenizer,
        steps: CompiledSteps | None,
        prefixes: Prefixes,
        *,
        keeps_texts: bool = False,
    ) -> None:
        self.model, self.steps, self.prefixes, self.keeps_texts = model, steps, prefixes, keeps_texts
        self.vocab_size, self.stop_ids = tokenizer.vocab_size, {tokenizer.end_of_text_id, tokenizer.im_end_id}
        self.rows: list[Row] = []
        self.places: list[int] = []
        self.logits: Float[Tensor, "B V"]
        self.sampler: Sampler
        self.kv_cache: KVCache

    def draw(self, *, keeps_scores: bool = False) -> list[Drawn]:
        """A token for each row, from the logits at hand."""
        context_length = self.model.settings.context_length
        logits = self.logits[:, : self.vocab_size].float().cpu()
        scores = self.sampler.scores(logits) if keeps_scores else None
        drawn = []
        for number, (row, id) in enumerate(zip(self.rows, _choose(self.sampler, logits, self.rows), strict=True)):
            is_full = self.kv_cache.lengths[self.places[number]] == context_length
            piece = row.accept(id, is_stop_token=id in self.stop_ids, is_full=is_full)
            drawn.append(Drawn(row, id, piece, logits[number], None if scores is None else scores[number]))
        return drawn

    def drop_finished(self) -> None:
        """Only unfinished rows remain."""
        going = [number for number, row in enumerate(self.rows) if row.finish_reason is None]
        if len(going) == len(self.rows):
            return
        if self.keeps_texts:
            self._keep_texts()
        self.rows = [self.rows[number] for number in going]
        self.places = [self.places[number] for number in going]
        if self.rows:
            self.sampler.select(going)
        n_dead = len(self.kv_cache.lengths) - len(self.rows)
        if self.rows and n_dead * _COMPACT >= len(self.kv_cache.lengths):
            self.kv_cache = self.kv_cache.select(self.places)
            self.places = list(range(len(self.rows)))

    @torch.inference_mode()
    def decode(self) -> None:
        """Reads each row's newest token."""
        if not self.rows:
            return
        _slide(self.model, self.rows, self.places, self.kv_cache)
        context_length = self.model.settings.context_length
        is_dead = set(range(len(self.kv_cache.lengths))) - set(self.places)
        ids = [0] * len(self.kv_cache.lengths)
        for row, place in zip(self.rows, self.places, strict=True):
            ids[place] = row.ids[-1]
        # What is done still grows with the others and begins again where it would overflow.
        full = {place for place in is_dead if self.kv_cache.lengths[place] == context_length}
        self.kv_cache.lengths = [0 if place in full else n for place, n in enumerate(self.kv_cache.lengths)]
        logits = None if self.steps is None else self.steps.read(ids, self.kv_cache)
        if logits is None:
            logits = decode_one_token(self.model, ids, self.kv_cache)
        self.logits = logits[self.places] if is_dead else logits

    def join(self, rows: list[Row]) -> None:
        """New rows, their prompts read, beside those at work."""
        logits, kv_cache = _prefill_rows(self.model, rows, self.prefixes)
        if self.rows:
            logits = torch.cat([self.logits, logits])
            kv_cache = self.kv_cache.select(self.places).join(kv_cache)
        self.rows = [*self.rows, *rows]
        self.places = list(range(len(self.rows)))
        self.logits, self.kv_cache = logits, kv_cache
        written = [row.ids[row.n_prompt :] for row in self.rows]
        seen = [row.ids for row in self.rows]
        self.sampler = Sampler([row.sampling for row in self.rows], seen, self.vocab_size, written)

    @torch.inference_mode()
    def _keep_texts(self) -> None:
        for row, place in zip(self.rows, self.places, strict=True):
            n_read = self.kv_cache.lengths[place]
            # The last token is not read any more; a text that slid does not begin with its beginning.
            if row.finish_reason is not None and n_read == len(row.ids) - 1:
                self.prefixes.keep(row.ids[:-1], self.kv_cache.select([place]))


@torch.inference_mode()
def prefill(
    model: Transformer, prompts: Sequence[Sequence[int]], capacity: int
) -> tuple[Float[Tensor, "B V"], KVCache]:
    """Reads whole prompts at once: the logits after each one's last token, and a cache with room for `capacity`."""
    kv_cache = _make_cache(model, len(prompts), capacity)
    return read_on(model, prompts, kv_cache), kv_cache


@torch.inference_mode()
def read_on(model: Transformer, texts: Sequence[Sequence[int]], kv_cache: KVCache) -> Float[Tensor, "B V"]:
    """Reads a text in every row of the cache, after what the row holds: the logits after each one's last token."""
    ids = torch.zeros(len(texts), max(map(len, texts)), dtype=torch.long)
    for row, text in enumerate(texts):
        ids[row, : len(text)] = torch.tensor(text)
    lengths = [before + len(text) for before, text in zip(kv_cache.lengths, texts, strict=True)]
    # Padding stands to the right, where causal attention hides it from every token that counts.
    hidden = model.hidden(ids.to(kv_cache.device), kv_cache)
    kv_cache.truncate(lengths)
    last = hidden[torch.arange(len(texts)), torch.tensor([len(text) - 1 for text in texts])]  # B C
    return model.unembed(last)


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
    logprobs = logits.log_softmax(-1)
    chosen_logprobs = logprobs.gather(1, chosen[:, None])[:, 0].tolist()
    for position, row in enumerate(rows):
        row.logprobs.append(chosen_logprobs[position])
        if row.sampling.top_logprobs:
            top = logprobs[position].topk(min(row.sampling.top_logprobs, logits.shape[1]))
            row.top_logprobs.append(list(zip(top.indices.tolist(), top.values.tolist(), strict=True)))
    ids: list[int] = chosen.tolist()
    return ids


@torch.inference_mode()
def _prefill_rows(model: Transformer, rows: Sequence[Row], prefixes: Prefixes) -> tuple[Float[Tensor, "B V"], KVCache]:
    """Prefill of each distinct prompt once, its logits and cache then copied to every row that has it."""
    context_length = model.settings.context_length
    windows = [tuple(row.ids[-context_length:]) for row in rows]
    distinct = {window: index for index, window in enumerate(dict.fromkeys(windows))}
    shared = [ids for ids in find_shared(list(distinct)) if prefixes.find(ids)[0] < len(ids)]
    if shared:
        _, kv_cache = _read(model, shared, prefixes)
        for number, ids in enumerate(shared):
            prefixes.keep(ids, kv_cache.select([number]))
    logits, kv_cache = _read(model, list(distinct), prefixes)
    copies = [distinct[window] for window in windows]
    return logits[copies], kv_cache.select(copies)


def _read(
    model: Transformer, prompts: Sequence[Sequence[int]], prefixes: Prefixes
) -> tuple[Float[Tensor, "B V"], KVCache]:
    """Prefill of what is not known of each prompt, in groups of like length; at least its last token is read."""
    known = [prefixes.find(prompt[:-1]) for prompt in prompts]
    rest = [prompt[n:] for prompt, (n, _) in zip(prompts, known, strict=True)]
    kv_cache = _make_cache(model, len(prompts), max(map(len, prompts)))
    for place, (_, beginning) in enumerate(known):
        if beginning is not None:
            kv_cache.replace_rows([place], beginning)
    logits = torch.empty(len(prompts), model.settings.vocab_size, device=kv_cache.device)
    for group in group_by_length([len(text) for text in rest], _PREFILL_TOKENS):
        # Padded, a long known beginning beside a long rest could exceed the context.
        is_long = max(known[place][0] for place in group) + len(rest[group[-1]]) > model.settings.context_length
        for places in [[place] for place in group] if is_long else [group]:
            part = kv_cache.select(places)
            logits[places] = read_on(model, [rest[place] for place in places], part).float()
            kv_cache.replace_rows(places, part)
    return logits, kv_cache


def _make_cache(model: Transformer, n_rows: int, capacity: int) -> KVCache:
    weight = model.unembedding
    return KVCache(model.settings, n_rows, capacity, dtype=weight.dtype, device=weight.device)


@torch.inference_mode()
def _slide(model: Transformer, rows: Sequence[Row], places: Sequence[int], kv_cache: KVCache) -> None:
    """In rows without room for their newest token, reads the newer half of the context again from position 0."""
    context_length = model.settings.context_length
    full = [number for number, place in enumerate(places) if kv_cache.lengths[place] == context_length]
    if full:
        windows = [rows[number].ids[-1 - context_length // 2 : -1] for number in full]
        kv_cache.replace_rows([places[number] for number in full], prefill(model, windows, context_length)[1])
