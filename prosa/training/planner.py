"""Minutes, tokens or steps become a whole training job: shape, batch, learning rates, length, each with its reason.

The shape follows from the compute that the time buys on this machine (device.measure_matmul); the length follows
from a measured step of that very shape. Nothing chosen by hand is overruled. The rules are starting points for models
of roughly 0.5M to 50M parameters, each explained in docs/training.md.
"""

import math
import operator
import sys
from typing import Any

import torch
from pydantic import Field, model_validator

from prosa.config import Settings
from prosa.device import Device, available_memory_bytes, find_compiler_problem
from prosa.errors import ConfigError, OutOfMemory
from prosa.model import ModelSettings, count_parameters, flops_per_token
from prosa.training.loop import FitSettings
from prosa.training.optimizers import OptimizerSettings
from prosa.training.schedule import divide_steps

# The share of the rate of large matrix products that a whole training step reaches at least, for choosing a shape
# only: small models reach a third more (benchmarks.quickstart, benchmarks.planner).
_EXPECTED_SHARES = {torch.float32: 0.45, torch.bfloat16: 0.30}
# Tokens trained on per parameter inside the blocks. Hoffmann et al. 2022 (arXiv:2203.15556) found 20 for large models
# with AdamW; small ones with Muon, in minutes, do best with fewer (docs/training.md).
_TOKENS_PER_PARAMETER = 2
# Compiling costs about half a minute and makes a step about 1.5 times as fast, so it pays after 90 seconds.
_SECONDS_WHERE_COMPILING_PAYS = 90
_DEFAULT_MINUTES = 5.0
# Weight decay times steps: weights remember a constant share of a run (Wang & Aitchison 2025, arXiv:2405.13698), which
# is 1 / (150 * 0.02), a third. It is measured at 500 and at 1,500 steps (docs/log.md); shorter runs get no more.
_DECAY_STEPS, _MOST_DECAY = 150, 0.3
_MICRO_BATCH_TOKENS = 16_384
# ln(bits per byte) by `describe_training`, fitted to benchmarks/results/planner_fit.json, and how far a run may be off.
_BITS = (-0.0109, 0.9603, -1.3126)
_BITS_BAND = 0.18
# Those runs read so many tokens at least, of about four bytes each, and no text more often than this.
_FITTED_TOKENS, _FITTED_BYTES_PER_TOKEN, _FITTED_EPOCHS = 1_400_000, 2, 15
_DEPTHS = (2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24)


class TrainingSettings(Settings):
    """How long, how large, how fast; 0 (or auto) means chosen by the planner, and no length at all five minutes."""

    minutes: float = Field(default=0.0, ge=0, le=100_000)
    tokens: int = Field(default=0, ge=0, le=10**15)
    steps: int = Field(default=0, ge=0, le=10**9)
    depth: int = Field(default=0, ge=0, le=256)
    d_model: int = Field(default=0, ge=0, le=32_768)
    d_head: int = Field(default=0, ge=0, le=256)
    n_head: int = Field(default=0, ge=0, le=512)
    n_kv_head: int = Field(default=0, ge=0, le=512)
    d_ff: int = Field(default=0, ge=0, le=131_072)
    context_length: int = Field(default=0, ge=0, le=1_048_576)
    ties_embeddings: bool = True
    dropout: float = Field(default=-1.0, ge=-1, lt=1)
    batch_size: int = Field(default=0, ge=0, le=1_000_000)
    micro_batch: int = Field(default=0, ge=0, le=1_000_000)
    learning_rate: float = Field(default=0.0, ge=0, le=10)
    matrix_learning_rate: float = Field(default=0.0, ge=0, le=10)
    matrix_momentum: float = Field(default=0.0, ge=0, lt=1)
    weight_decay: float = Field(default=-1.0, ge=-1, le=10)
    gradient_clip: float = Field(default=1.0, ge=0)
    warmup_fraction: float = Field(default=0.02, ge=0, le=1)
    cooldown_fraction: float = Field(default=0.6, ge=0, le=1)
    final_fraction: float = Field(default=0.02, ge=0, le=1)
    compile: str = Field(default="auto", pattern="^(auto|yes|no)$")
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda|mps)$")
    dtype: str = Field(default="auto", pattern="^(auto|float32|bfloat16)$")
    threads: int = Field(default=0, ge=0, le=4096)
    evaluate_every: int = Field(default=0, ge=0)
    sample_every: int = Field(default=0, ge=0)
    save_every: int = Field(default=0, ge=0)
    keep_checkpoints: int = Field(default=2, ge=1)
    trackers: tuple[str, ...] = ()
    seed: int = 0

    @model_validator(mode="before")
    @classmethod
    def _give_length(cls, values: dict[str, Any]) -> dict[str, Any]:
        is_given = any(name in values for name in ("minutes", "tokens", "steps"))
        return values if is_given else values | {"minutes": _DEFAULT_MINUTES}


class Choice(Settings):
    """One derived value and why it is what it is."""

    name: str
    value: str
    reason: str


class Shape(Settings):
    """The model and batch a job will use, before its length is known."""

    model: ModelSettings
    batch_size: int
    micro_batch: int
    is_compiled: bool
    memory_bytes: int
    choices: tuple[Choice, ...]


def plan_shape(
    wanted: TrainingSettings, device: Device, *, vocab_size: int, train_tokens: int, world_size: int = 1
) -> Shape:
    """The largest model that the time can feed, and the batch and memory it takes.

    Raises ConfigError when no length is given or two are, OutOfMemory when not even one sequence fits.
    """
    if sum(value > 0 for value in (wanted.minutes, wanted.tokens, wanted.steps)) != 1:
        raise ConfigError(
            "the length of training must be given once: minutes, tokens or steps", hint="for example `--minutes 10`"
        )
    choices: list[Choice] = []
    context_length = wanted.context_length or _choose_context(wanted, train_tokens, choices)
    model = _choose_model(wanted, device, vocab_size, context_length, train_tokens, choices)
    parameters = count_parameters(model)
    tokens = _expected_tokens(wanted, device, model)
    batch_size = wanted.batch_size or _choose_batch(tokens, context_length, train_tokens, world_size, choices)
    dropout = wanted.dropout if wanted.dropout >= 0 else _choose_dropout(tokens / train_tokens, choices)
    model = model.model_copy(update={"dropout": dropout})
    micro_batch, memory = _fit_memory(wanted, model, batch_size // world_size, parameters, choices)
    is_compiled = _choose_compile(wanted, device, model, tokens, choices)
    return Shape(
        model=model,
        batch_size=batch_size,
        micro_batch=micro_batch,
        is_compiled=is_compiled,
        memory_bytes=memory,
        choices=tuple(choices),
    )


def probe_settings(shape: Shape, seed: int) -> FitSettings:
    """Settings for the few steps that measure how long a step of this shape takes."""
    return FitSettings(
        steps=1000,
        batch_size=shape.batch_size,
        micro_batch=shape.micro_batch,
        warmup_steps=1000,
        cooldown_steps=0,
        seed=seed,
        is_compiled=shape.is_compiled,
    )


def expect_step_seconds(model: ModelSettings, tokens: float, device: Device, world_size: int) -> float:
    """Seconds of a step of so many tokens, by its products alone: near enough to say how often to save and look."""
    rate = device.matmul_flops_per_second * _EXPECTED_SHARES[device.compute_dtype]
    return tokens * flops_per_token(model, model.context_length) / rate / world_size


def plan_length(
    wanted: TrainingSettings, shape: Shape, *, step_seconds: float, seconds_spent: float
) -> tuple[FitSettings, tuple[Choice, ...]]:
    """Steps and rates for a shape whose step takes `step_seconds`, after `seconds_spent` on getting ready."""
    choices: list[Choice] = []
    batch_tokens = shape.batch_size * shape.model.context_length
    if wanted.minutes:
        seconds = wanted.minutes * 60 - seconds_spent
        # Validation, samples and checkpoints take a fiftieth of the time, and a processor that stays busy slows down:
        # with 0.9 runs took 0.90 to 1.05 of their minutes (benchmarks.planner).
        steps = max(20, int(0.92 * seconds / step_seconds))
        reason = f"{seconds:.0f} s left at {step_seconds * 1000:.0f} ms a step"
    else:
        steps = wanted.steps or max(1, round(wanted.tokens / batch_tokens))
        reason = "as given" if wanted.steps else f"{wanted.tokens:,} tokens"
    choices.append(Choice(name="steps", value=f"{steps:,}", reason=reason))
    optimizer = _choose_rates(wanted, shape.model, steps, choices)
    warmup = min(steps, max(1, round(wanted.warmup_fraction * steps)))
    cooldown = min(steps - warmup, round(wanted.cooldown_fraction * steps))
    choices.append(
        Choice(
            name="schedule",
            value=f"{warmup} / {steps - warmup - cooldown} / {cooldown}",
            reason="warmup, stable, decay",
        )
    )
    # Saving, checking and sampling by steps, not by the clock, so that a resumed run does the same again.
    per_minute = max(1, round(60 / step_seconds))
    fit = FitSettings(
        steps=steps,
        batch_size=shape.batch_size,
        micro_batch=shape.micro_batch,
        warmup_steps=warmup,
        cooldown_steps=cooldown,
        final_fraction=wanted.final_fraction,
        optimizer=optimizer,
        seed=wanted.seed,
        is_compiled=shape.is_compiled,
        evaluate_every=wanted.evaluate_every or divide_steps(steps, max(10, min(per_minute, steps // 8))),
        sample_every=wanted.sample_every or divide_steps(steps, max(20, min(per_minute, steps // 5))),
        save_every=wanted.save_every or divide_steps(steps, max(20, min(2 * per_minute, steps))),
        keep_checkpoints=wanted.keep_checkpoints,
    )
    return fit, tuple(choices)


def predict_memory(model: ModelSettings, micro_batch: int) -> int:
    """Bytes that training takes at its peak, apart from what Python and torch take by themselves.

    Weights, gradients and two optimizer moments in float32; per token and layer about 34 d_model + 8 d_ff bytes of
    kept activations, the attention of short rows, and logits with their gradient in 16 and 32 bits.
    """
    tokens = micro_batch * model.context_length
    states = 16 * count_parameters(model)
    # Rows are attended to in four parts at most, of 128 queries at least, each with the keys up to its end.
    n_keys = model.context_length + max(128, model.context_length // 4)
    attention = 3 * model.n_head * n_keys if model.context_length <= 2048 else 0
    activations = tokens * model.n_layer * (34 * model.d_model + 8 * model.d_ff + attention)
    logits = tokens * model.vocab_size * 10
    return states + activations + logits


def describe_training(ngram_bits: tuple[float, float], tokens: int) -> tuple[float, float, float]:
    """What bits per byte depend on: how far counting predicts the text, and what more text brings, where it is read.

    ngram_bits: what n-grams need, and what they need with a fifth of the training text.
    """
    text = math.log(ngram_bits[0])
    slope = (math.log(ngram_bits[1]) - text) / math.log(5)
    return 1.0, text, slope * math.log(tokens / 1e6)


def predict_bits(ngram_bits: tuple[float, float], tokens: int) -> Choice:
    """The band in which the validation text's bits per byte will be after so many tokens; see `describe_training`."""
    middle = math.exp(math.fsum(map(operator.mul, _BITS, describe_training(ngram_bits, tokens))))
    low, high = middle / (1 + _BITS_BAND), middle * (1 + _BITS_BAND)
    reason = f"expected; five-grams need {ngram_bits[0]:.3f}"
    return Choice(name="bits per byte", value=f"{low:.3f} to {high:.3f}", reason=reason)


def is_predictable(tokens: int, train_tokens: int, train_bytes: int) -> bool:
    """Whether `predict_bits` is fitted to such training: not shorter, nor of characters, nor of a text read again and
    again."""
    has_words = train_bytes >= _FITTED_BYTES_PER_TOKEN * train_tokens
    return has_words and _FITTED_TOKENS <= tokens <= _FITTED_EPOCHS * train_tokens


def choose_micro_batch(
    model: ModelSettings, batch_size: int, wanted: int, choices: list[Choice]
) -> tuple[int, int, int]:
    """The largest part of the batch that divides it and fits in four fifths of the free memory, if one row does.

    Returns its rows, the bytes predicted for it, and the bytes that may be taken.
    """
    free = int(0.8 * available_memory_bytes())
    micro_batch = min(batch_size, wanted or max(1, _MICRO_BATCH_TOKENS // model.context_length))
    while micro_batch > 1 and (batch_size % micro_batch or predict_memory(model, micro_batch) > free):
        micro_batch -= 1
    needed = predict_memory(model, micro_batch)
    reason = f"{needed / 1e9:.2f} GB predicted, {free / 1e9:.1f} GB free"
    choices.append(Choice(name="micro_batch", value=str(micro_batch), reason=reason))
    return micro_batch, needed, free


def choose_momentum(wanted: float, steps: int) -> float:
    """Muon's momentum: a short run has no time to fill a long memory.

    benchmarks/shakespeare.py: 0.9 beats 0.95 in 150 steps.
    """
    return wanted or (0.9 if steps < 500 else 0.95)


def _choose_context(wanted: TrainingSettings, train_tokens: int, choices: list[Choice]) -> int:
    minutes = wanted.minutes or 10
    context_length = 256 if minutes < 60 else 512 if minutes < 600 else 1024
    while context_length > 32 and context_length * 8 > train_tokens:
        context_length //= 2
    choices.append(
        Choice(name="context_length", value=str(context_length), reason="longer contexts pay in runs of hours")
    )
    return context_length


def _choose_model(
    wanted: TrainingSettings,
    device: Device,
    vocab_size: int,
    context_length: int,
    train_tokens: int,
    choices: list[Choice],
) -> ModelSettings:
    depth = wanted.depth
    if not depth:
        # From the deepest down: the first that sees enough tokens in the time.
        for depth in reversed(_DEPTHS):
            model = _shape_model(wanted, depth, vocab_size, context_length)
            tokens = _expected_tokens(wanted, device, model)
            in_blocks = count_parameters(model) - vocab_size * model.d_model
            if tokens >= _TOKENS_PER_PARAMETER * in_blocks:
                break
        reason = f"about {tokens / 1e6:.1f}M tokens fit in the time, {tokens / in_blocks:.0f} a parameter of the blocks"
        choices.append(Choice(name="depth", value=str(depth), reason=reason))
    model = _shape_model(wanted, depth, vocab_size, context_length)
    shape = f"{depth} layers of {model.d_model}, {model.n_head} heads of {model.d_head}, d_ff {model.d_ff}"
    choices.append(Choice(name="shape", value=shape, reason=f"{count_parameters(model):,} parameters"))
    return model


def _shape_model(wanted: TrainingSettings, depth: int, vocab_size: int, context_length: int) -> ModelSettings:
    d_model = wanted.d_model or (64 * depth if depth < 8 else 256 * round(64 * depth / 256))
    d_head = wanted.d_head or (64 if d_model % 64 == 0 and d_model >= 256 else 32)
    n_head = wanted.n_head or max(1, d_model // d_head)
    step = 256 if d_model >= 512 else 64
    return ModelSettings(
        vocab_size=vocab_size,
        n_layer=depth,
        d_model=d_model,
        n_head=n_head,
        n_kv_head=wanted.n_kv_head or n_head,
        d_head=d_head,
        d_ff=wanted.d_ff or step * math.ceil(d_model * 8 / 3 / step),
        context_length=context_length,
        ties_embeddings=wanted.ties_embeddings,
    )


def _expected_tokens(wanted: TrainingSettings, device: Device, model: ModelSettings) -> float:
    if wanted.minutes:
        return wanted.minutes * 60 / expect_step_seconds(model, 1, device, 1)
    batch_tokens = (wanted.batch_size or 32) * model.context_length
    return float(wanted.tokens or wanted.steps * batch_tokens)


def _choose_batch(tokens: float, context_length: int, train_tokens: int, world_size: int, choices: list[Choice]) -> int:
    batch_tokens = min(65_536, max(2048, 1 << round(math.log2(2 * math.sqrt(tokens)))))
    batch_size = max(1, batch_tokens // context_length)
    while batch_size > 1 and batch_size * context_length > train_tokens // 2:
        batch_size //= 2
    batch_size = max(world_size, batch_size // world_size * world_size)
    choices.append(
        Choice(name="batch_size", value=f"{batch_size} x {context_length}", reason="about 2 sqrt(tokens) tokens a step")
    )
    return batch_size


def _choose_dropout(epochs: float, choices: list[Choice]) -> float:
    # Measured at 10, 20 and 41 readings (docs/log.md).
    dropout = 0.0 if epochs < 10 else round(min(0.5, 0.1 + 0.15 * math.log2(epochs / 10)), 2)
    choices.append(Choice(name="dropout", value=str(dropout), reason=f"the text is read {epochs:.1f} times"))
    return dropout


def _choose_rates(
    wanted: TrainingSettings, model: ModelSettings, steps: int, choices: list[Choice]
) -> OptimizerSettings:
    matrix = wanted.matrix_learning_rate or 0.02
    other = wanted.learning_rate or round(5e-3 * (256 / model.d_model) ** 0.5, 5)
    value = f"{matrix:g} (Muon), {other:g} (AdamW)"
    choices.append(Choice(name="learning rates", value=value, reason="falls with the root of the width"))
    decay = wanted.weight_decay
    if decay < 0:
        decay = min(_MOST_DECAY, round(_DECAY_STEPS / steps, 4))
        reason = f"{_DECAY_STEPS} over the steps, at most {_MOST_DECAY}"
        choices.append(Choice(name="weight_decay", value=f"{decay:g}", reason=reason))
    return OptimizerSettings(
        matrix_learning_rate=matrix,
        learning_rate=other,
        matrix_momentum=choose_momentum(wanted.matrix_momentum, steps),
        weight_decay=decay,
        gradient_clip=wanted.gradient_clip,
    )


def _fit_memory(
    wanted: TrainingSettings, model: ModelSettings, batch_size: int, parameters: int, choices: list[Choice]
) -> tuple[int, int]:
    micro_batch, needed, free = choose_micro_batch(model, batch_size, wanted.micro_batch, choices)
    if needed > free:
        raise OutOfMemory(
            f"one sequence of {parameters:,} parameters needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            hint="lower depth, d_model, context_length or the vocabulary",
        )
    return micro_batch, needed


def _choose_compile(
    wanted: TrainingSettings, device: Device, model: ModelSettings, tokens: float, choices: list[Choice]
) -> bool:
    if wanted.compile != "auto":
        return wanted.compile == "yes"
    seconds = expect_step_seconds(model, tokens, device, 1)
    pays = seconds > _SECONDS_WHERE_COMPILING_PAYS and sys.platform != "win32"
    problem = find_compiler_problem(device.type) if pays else ""
    reason = f"about {seconds:.0f} s of training; compiling costs half a minute and saves a third"
    if problem:
        reason = f"torch.compile does not work here: {problem}"
    is_compiled = pays and not problem
    choices.append(Choice(name="compile", value="yes" if is_compiled else "no", reason=reason))
    return is_compiled
