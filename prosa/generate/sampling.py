"""How the next token is chosen: logits and settings come in, one token id per row of the batch goes out.

Each row has its own settings and its own random numbers, so nothing a row writes depends on its neighbours.

    B rows   V vocab_size
    1. logit_bias is added; repetition (Keskar et al., CTRL, arXiv:1909.05858, as Hugging Face does it: of prompt and
       text), frequency and presence penalties (as OpenAI's API defines them: of the text written) are applied
    2. divided by temperature; 0 keeps only the likeliest token
    3. top_k, then top_p (Holtzman et al., arXiv:1904.09751), then min_p (Nguyen et al., arXiv:2407.01082) remove tokens
    4. a token is drawn in proportion to exp(score)
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from jaxtyping import Bool, Float, Int
from pydantic import Field
from torch import Tensor

from prosa.config import Settings
from prosa.errors import ModelFileRefused

# A nucleus of top_p rarely has more tokens than this, and finding the largest few is far cheaper than sorting all.
_SMALL_NUCLEUS = 256
# Smaller ones would overflow fp32; they are greedy in all but name.
_MIN_TEMPERATURE = 1e-6


class Sampling(Settings):
    """How to write on; the defaults of `LanguageModel.generate`."""

    temperature: float = Field(default=0.8, ge=0, le=10)
    # 0 keeps all.
    top_k: int = Field(default=0, ge=0, le=2**20)
    top_p: float = Field(default=1.0, gt=0, le=1)
    min_p: float = Field(default=0.0, ge=0, le=1)
    # 1 changes nothing, more discourages tokens of prompt and text.
    repetition_penalty: float = Field(default=1.0, ge=0.1, le=10)
    frequency_penalty: float = Field(default=0.0, ge=-2, le=2)
    presence_penalty: float = Field(default=0.0, ge=-2, le=2)
    logit_bias: dict[Annotated[int, Field(ge=0)], Annotated[float, Field(ge=-100, le=100)]] = Field(
        default={}, max_length=1024
    )
    # None draws a new one each time.
    seed: int | None = Field(default=None, ge=0, lt=2**63)
    max_new_tokens: int = Field(default=128, ge=1, le=2**20)
    # Writing ends before any of these.
    stop: Annotated[tuple[Annotated[str, Field(min_length=1, max_length=256)], ...], Field(max_length=16)] = ()
    n: int = Field(default=1, ge=1, le=1024)
    top_logprobs: int = Field(default=0, ge=0, le=100)
    # slide forgets the older half of the context and reads the newer half again; stop ends with reason "context".
    when_full: Literal["slide", "stop"] = "slide"


class Sampler:
    """The settings of a batch's rows as columns, and what each row has seen and written so far."""

    def __init__(
        self,
        settings: Sequence[Sampling],
        seen: Sequence[Sequence[int]],
        vocab_size: int,
        written: Sequence[Sequence[int]] = (),
    ) -> None:
        self.settings = list(settings)
        self.is_greedy = [s.temperature == 0 for s in settings]
        self.temperature, self.top_k = self._column("temperature"), self._column("top_k").long()
        self.top_p, self.min_p = self._column("top_p"), self._column("min_p")
        self.repetition = self._column("repetition_penalty")
        self.frequency, self.presence = self._column("frequency_penalty"), self._column("presence_penalty")
        self.seen: Bool[Tensor, "B V"] | None = None
        self.counts: Float[Tensor, "B V"] | None = None
        self.bias: Float[Tensor, "B V"] | None = None
        B = len(self.settings)
        if any(s.repetition_penalty != 1 for s in settings):
            self.seen = torch.zeros(B, vocab_size, dtype=torch.bool)
            for row, ids in enumerate(seen):
                self.seen[row, list(ids)] = True
        if any(s.frequency_penalty or s.presence_penalty for s in settings):
            self.counts = torch.zeros(B, vocab_size)
            for row, ids in enumerate(written):
                self.counts[row] = torch.bincount(torch.tensor(ids, dtype=torch.long), minlength=vocab_size)
        if any(s.logit_bias for s in settings):
            self.bias = torch.zeros(B, vocab_size)
            for row, s in enumerate(settings):
                self.bias[row, list(s.logit_bias)] = torch.tensor(list(s.logit_bias.values()), dtype=torch.float32)

    def _column(self, name: str) -> Float[Tensor, "B 1"]:
        return torch.tensor([[float(getattr(s, name))] for s in self.settings])

    def select(self, rows: Sequence[int]) -> None:
        """Keeps only these rows."""
        self.settings = [self.settings[row] for row in rows]
        self.is_greedy = [self.is_greedy[row] for row in rows]
        index = torch.tensor(rows)
        self.temperature, self.top_k = self.temperature[index], self.top_k[index]
        self.top_p, self.min_p, self.repetition = self.top_p[index], self.min_p[index], self.repetition[index]
        self.frequency, self.presence = self.frequency[index], self.presence[index]
        self.seen = None if self.seen is None else self.seen[index]
        self.counts = None if self.counts is None else self.counts[index]
        self.bias = None if self.bias is None else self.bias[index]

    def record(self, ids: Int[Tensor, " B"]) -> None:
        """Notes what each row has just written."""
        if self.seen is not None:
            self.seen.scatter_(1, ids[:, None], True)
        if self.counts is not None:
            self.counts.scatter_add_(1, ids[:, None], torch.ones(len(ids), 1))

    def scores(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """Logits after bias, penalties, temperature and cuts; removed tokens are at minus infinity."""
        scores = self._penalised(logits)
        if any(self.is_greedy):
            best = torch.full_like(scores, -torch.inf).scatter_(1, scores.argmax(-1, keepdim=True), 0.0)
            if all(self.is_greedy):
                return best
            warm = self._warm(scores)
            return torch.where(self.temperature == 0, best, warm)
        return self._warm(scores)

    def choose(self, logits: Float[Tensor, "B V"], uniforms: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
        """One token per row; row b's choice depends on its logits, its settings and `uniforms[b]` in [0, 1) alone."""
        if all(self.is_greedy):
            return self._penalised(logits).argmax(-1)
        return draw(self.scores(logits), uniforms)

    def _penalised(self, logits: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        scores = logits if self.bias is None else logits + self.bias
        if self.seen is not None:
            scores = torch.where(self.seen, penalise_repetition(scores, self.repetition), scores)
        if self.counts is not None:
            scores = scores - self.frequency * self.counts - self.presence * (self.counts > 0)
        return scores

    def _warm(self, scores: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        # The largest is subtracted first so that a tiny temperature cannot overflow.
        scores = (scores - scores.amax(-1, keepdim=True)) / self.temperature.clamp(min=_MIN_TEMPERATURE)
        if any(s.top_k for s in self.settings):
            scores = keep_top_k(scores, self.top_k)
        if any(s.top_p < 1 for s in self.settings):
            scores = keep_top_p(scores, self.top_p)
        if any(s.min_p for s in self.settings):
            scores = keep_min_p(scores, self.min_p)
        return scores


def penalise_repetition(scores: Float[Tensor, "B V"], penalty: Float[Tensor, "B 1"]) -> Float[Tensor, "B V"]:
    """Positive scores divided, negative ones multiplied by the penalty."""
    return torch.where(scores > 0, scores / penalty, scores * penalty)


def keep_top_k(scores: Float[Tensor, "B V"], k: Int[Tensor, "B 1"]) -> Float[Tensor, "B V"]:
    """Removes what scores below the k-th largest; ties with it stay; k = 0 keeps all."""
    V = scores.shape[1]
    k = torch.where(k == 0, V, k.clamp(max=V))
    # Rows that keep all need no place in the list of the largest.
    largest = int(k[k < V].max()) if bool((k < V).any()) else 1
    values = scores.topk(largest).values
    threshold = values.gather(1, (k - 1).clamp(max=largest - 1))
    return scores.masked_fill((scores < threshold) & (k < V), -torch.inf)


def keep_top_p(scores: Float[Tensor, "B V"], p: Float[Tensor, "B 1"]) -> Float[Tensor, "B V"]:
    """Keeps the fewest likeliest tokens whose probabilities sum to at least p; p = 1 keeps all."""
    probabilities = scores.softmax(-1)
    values, indices = probabilities.topk(min(_SMALL_NUCLEUS, scores.shape[1]))
    if bool(((values.sum(-1, keepdim=True) < p) & (p < 1)).any()):
        values, indices = probabilities.sort(-1, descending=True)
    # Mass of the likelier ones; the first token has none before it and always stays.
    before = values.cumsum(-1) - values
    is_kept = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, indices, before < p)
    return scores.masked_fill(~is_kept & (p < 1), -torch.inf)


def keep_min_p(scores: Float[Tensor, "B V"], min_p: Float[Tensor, "B 1"]) -> Float[Tensor, "B V"]:
    """Removes tokens less probable than min_p times the likeliest."""
    return scores.masked_fill(scores < scores.amax(-1, keepdim=True) + min_p.log(), -torch.inf)


def draw(scores: Float[Tensor, "B V"], uniforms: Float[Tensor, " B"]) -> Int[Tensor, " B"]:
    """The token at which the cumulative probability passes `uniforms` (inverse transform sampling)."""
    cumulative = scores.softmax(-1).cumsum(-1, dtype=torch.float64)
    total = cumulative[:, -1:]
    if not bool(torch.isfinite(total).all()):
        raise ModelFileRefused(
            "the model's logits are not finite", hint="its weights are damaged or its training diverged"
        )
    # A uniform below 1 stays below the total when multiplied with it, even rounded, so a token is always found.
    thresholds = uniforms[:, None].double() * total
    return torch.searchsorted(cumulative, thresholds, right=True)[:, 0]
