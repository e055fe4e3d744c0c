"""The shape of a Transformer, from nothing but numbers.

What comes in are the sizes that a planner or a person chose, or those of a foreign config.json; what goes out is a
`ModelSettings` whose every combination can be built. Families differ only in what is derived here from their name.
"""

from typing import Literal, Self

from pydantic import Field, model_validator

from prosa.config import Settings
from prosa.errors import ConfigError

Family = Literal["qwen3", "qwen2", "llama", "mistral"]

# Head sizes for which vLLM and llama.cpp both have kernels; new models keep to them.
NEW_MODEL_HEADS = (32, 64, 96, 128, 256)
# llama.cpp quantises rows in blocks of 256, so a model worth quantising has rows that divide into them.
_LARGE_MODEL_PARAMETERS = 50_000_000
# Elements of the table of rotations, 512 MiB in fp32; Llama 3.1 405B needs an eighth.
_MAX_TABLE = 2**27


class RopeScaling(Settings):
    """Llama 3.1's stretching of slow RoPE frequencies to contexts longer than those of pre-training."""

    factor: float = Field(ge=1, le=1024)
    low_freq_factor: float = Field(default=1.0, gt=0, le=1024)
    high_freq_factor: float = Field(default=4.0, gt=0, le=1024)
    original_context_length: int = Field(default=8192, ge=1, le=2**20)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.high_freq_factor <= self.low_freq_factor:
            raise ValueError("high_freq_factor must be greater than low_freq_factor")
        return self


class ModelSettings(Settings):
    """Sizes of a decoder; bounds are far above any model this program can train, and stop absurd files early."""

    family: Family = "qwen3"
    vocab_size: int = Field(ge=2, le=2**20)
    n_layer: int = Field(ge=1, le=512)
    d_model: int = Field(ge=8, le=2**16)
    n_head: int = Field(ge=1, le=1024)
    n_kv_head: int = Field(ge=1, le=1024)
    d_head: int = Field(ge=2, le=1024, multiple_of=2)
    d_ff: int = Field(ge=1, le=2**18)
    context_length: int = Field(ge=1, le=2**20)
    rope_theta: float = Field(default=10_000.0, gt=1, le=1e12)
    rope_scaling: RopeScaling | None = None
    norm_eps: float = Field(default=1e-6, gt=0, le=0.1)
    ties_embeddings: bool = True
    sliding_window: int | None = Field(default=None, ge=1, le=2**20)
    # The first layers that attend to everything in spite of a sliding window (Qwen's max_window_layers).
    n_full_layer: int = Field(default=0, ge=0, le=512)
    # Of the embedding and of each residual branch while training; no other program reads it.
    dropout: float = Field(default=0.0, ge=0, lt=1)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.n_head % self.n_kv_head:
            raise ValueError(f"n_head = {self.n_head} is not a multiple of n_kv_head = {self.n_kv_head}")
        if self.family == "llama" and self.sliding_window is not None:
            raise ValueError("the llama family has no sliding window; use mistral or qwen3")
        if self.family == "llama" and self.d_model % self.n_head:
            raise ValueError(f"the llama family needs d_model = {self.d_model} divisible by n_head = {self.n_head}")
        if self.n_full_layer and (self.sliding_window is None or self.family == "mistral"):
            raise ValueError("n_full_layer needs a sliding_window and the family qwen2 or qwen3")
        if self.n_full_layer > self.n_layer:
            raise ValueError(f"n_full_layer = {self.n_full_layer} exceeds n_layer = {self.n_layer}")
        if self.context_length * self.d_head > _MAX_TABLE:
            raise ValueError(f"context_length x d_head = {self.context_length * self.d_head} exceeds {_MAX_TABLE}")
        return self

    @property
    def has_qk_norm(self) -> bool:
        return self.family == "qwen3"

    @property
    def has_qkv_bias(self) -> bool:
        return self.family == "qwen2"

    def window_of_layer(self, layer: int) -> int | None:
        """How many positions back layer `layer` sees, itself included; None is all."""
        return self.sliding_window if layer >= self.n_full_layer else None


def check_new_model(settings: ModelSettings) -> None:
    """ConfigError if a model of this shape could be trained but not run by vLLM or quantised by llama.cpp."""
    if settings.d_head not in NEW_MODEL_HEADS:
        raise ConfigError(
            f"d_head = {settings.d_head}: other programs run only {', '.join(map(str, NEW_MODEL_HEADS))}",
            hint="choose d_model and n_head so that d_head is one of these",
        )
    if count_parameters(settings) < _LARGE_MODEL_PARAMETERS:
        return
    for name, size in (("d_model", settings.d_model), ("d_ff", settings.d_ff)):
        if size % 256:
            raise ConfigError(
                f"{name} = {size} is not a multiple of 256, which a model of 50M parameters needs to be quantised",
                hint=f"the nearest is {max(256, round(size / 256) * 256)}",
            )


def count_parameters(settings: ModelSettings) -> int:
    """Numbers that training changes; tied embeddings count once."""
    s = settings
    attention = s.d_model * s.d_head * 2 * (s.n_head + s.n_kv_head)
    if s.has_qkv_bias:
        attention += s.d_head * (s.n_head + 2 * s.n_kv_head)
    if s.has_qk_norm:
        attention += 2 * s.d_head
    layer = attention + 3 * s.d_model * s.d_ff + 2 * s.d_model
    embeddings = s.vocab_size * s.d_model * (1 if s.ties_embeddings else 2)
    return s.n_layer * layer + s.d_model + embeddings


def flops_per_token(settings: ModelSettings, context_length: int) -> int:
    """Floating-point operations of forward and backward for one token of a training row of `context_length`.

    Counted: every matrix product at 2 per multiply-add, forward once and backward twice (one product for the input's
    gradient, one for the weight's), and attention's two products over the whole square of positions, masked or not,
    which is torch's own convention and that of PaLM's appendix B (arXiv:2204.02311). Not counted: norms, RoPE,
    activations, softmax, loss, embedding look-up and optimizer. A causal kernel does about half of the attention.
    """
    s = settings
    matrices = s.d_model * s.d_head * 2 * (s.n_head + s.n_kv_head) + 3 * s.d_model * s.d_ff
    attention = 2 * context_length * s.n_head * s.d_head
    return 3 * 2 * (s.n_layer * (matrices + attention) + s.vocab_size * s.d_model)
