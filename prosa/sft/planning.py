"""Epochs, minutes or steps become a whole fine-tuning job: batch, rates, length, each with its reason.

The shape is the given model's. Nothing chosen by hand is overruled; the rules are explained in docs/sft.md.
"""

import math
from typing import Any

from pydantic import Field, model_validator

from prosa.config import Settings
from prosa.errors import ConfigError, OutOfMemory
from prosa.model import ModelSettings
from prosa.sft.conversations import ConversationSource
from prosa.sft.lora import LoraSettings
from prosa.training import Choice, FitSettings, OptimizerSettings, choose_micro_batch, choose_momentum, divide_steps

# Attention of longer rows costs more than packing them saves, and conversations are rarely longer.
_LONGEST_ROW = 2048
_DEFAULT_EPOCHS = 4.0
# Pre-training rates for this width, times this: what the model knows is to be kept, and the data are few.
_SHARE_OF_MUON, _SHARE_OF_ADAMW = 0.2, 0.05
_PRETRAINING_RATES = (0.02, 5e-3)
# Adapters want about ten times the rate that AdamW takes for a whole model (Schulman 2025, "LoRA Without Regret").
_LORA_SHARE = 0.4


class SftSettings(Settings):
    """What to teach, how long, how fast; 0 (or -1) means chosen by the planner, and no length at all four epochs."""

    sources: tuple[ConversationSource, ...] = ()
    """Where conversations come from: one table each, see docs/sft.md."""
    minutes: float = Field(default=0.0, ge=0, le=100_000)
    """Train for this long on this machine."""
    epochs: float = Field(default=0.0, ge=0, le=100_000)
    """Read all conversations this often. Exactly one of `epochs`, `minutes` and `steps` is given."""
    steps: int = Field(default=0, ge=0, le=10**9)
    """Train for this many steps."""
    validation_fraction: float = Field(default=0.05, ge=0, le=0.5)
    """Share of the questions held out, by their hash."""
    replay: float = Field(default=0.0, ge=0, le=100)
    """Tokens of the text that the base model learned from, read along with each token of the conversations, so that
    what it knows is not forgotten."""
    lora: LoraSettings = LoraSettings()
    """Adapters instead of the whole model."""
    context_length: int = Field(default=0, ge=0, le=1_048_576)
    """Positions in a row; 0: room for the longest conversation, at most the model's own and 2,048."""
    packs: bool = True
    """Several conversations share a row, none seeing another; false: each has a row of its own."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of activations dropped."""
    batch_size: int = Field(default=0, ge=0, le=1_000_000)
    """Rows a step, over all processes."""
    micro_batch: int = Field(default=0, ge=0, le=1_000_000)
    """Rows computed at once."""
    learning_rate: float = Field(default=0.0, ge=0, le=10)
    """Peak rate of AdamW; 0: a twentieth of pre-training's, for adapters two fifths."""
    matrix_learning_rate: float = Field(default=-1.0, ge=-1, le=10)
    """Peak rate of Muon for the matrices; 0: AdamW for all; -1: a fifth of pre-training's, for adapters 0."""
    matrix_momentum: float = Field(default=0.0, ge=0, lt=1)
    """Muon's momentum; 0: 0.9 below 500 steps, else 0.95."""
    weight_decay: float = Field(default=0.0, ge=0, le=10)
    """Of the matrices under Muon."""
    gradient_clip: float = Field(default=1.0, ge=0)
    """Largest norm of a step's gradient; 0: any."""
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    """Share of the steps in which the rates rise."""
    cooldown_fraction: float = Field(default=0.8, ge=0, le=1)
    """Share of the steps in which they fall."""
    final_fraction: float = Field(default=0.02, ge=0, le=1)
    """Share of the peak rates that is left at the last step."""
    compile: str = Field(default="no", pattern="^(yes|no)$")
    """Compile the training step with torch.compile."""
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda|mps)$")
    """Where to compute."""
    dtype: str = Field(default="auto", pattern="^(auto|float32|bfloat16)$")
    """Number format of the computation; auto: bfloat16 where it is faster."""
    threads: int = Field(default=0, ge=0, le=4096)
    """CPU threads; 0: torch's choice."""
    evaluate_every: int = Field(default=0, ge=0)
    """Steps between measurements on held-out conversations; 0: about a minute."""
    sample_every: int = Field(default=0, ge=0)
    """Steps between answers to held-out questions; 0: about a minute."""
    save_every: int = Field(default=0, ge=0)
    """Steps between checkpoints; 0: about two minutes."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept."""
    trackers: tuple[str, ...] = ()
    """`tensorboard`, `wandb`."""
    seed: int = 0
    """Draws the order of conversations, dropout and new adapters."""

    @model_validator(mode="before")
    @classmethod
    def _give_length(cls, values: dict[str, Any]) -> dict[str, Any]:
        is_given = any(name in values for name in ("minutes", "epochs", "steps"))
        return values if is_given else values | {"epochs": _DEFAULT_EPOCHS}


class SftShape(Settings):
    """The rows a job will use, before its length is known."""

    context_length: int
    batch_size: int
    micro_batch: int
    choices: tuple[Choice, ...]


def check_length(wanted: SftSettings) -> None:
    """ConfigError unless the length is given once."""
    if sum(value > 0 for value in (wanted.minutes, wanted.epochs, wanted.steps)) != 1:
        raise ConfigError(
            "the length of fine-tuning must be given once: epochs, minutes or steps", hint="for example `epochs=3`"
        )


def choose_context(wanted: SftSettings, model: ModelSettings) -> int:
    """Positions in a row: what is asked for, else the model's context up to 2,048."""
    if wanted.context_length > model.context_length:
        raise ConfigError(
            f"context_length {wanted.context_length} is more than the model's {model.context_length}",
            hint="leave it out to use the model's own",
        )
    return wanted.context_length or min(_LONGEST_ROW, model.context_length)


def choose_width(wanted: SftSettings, model: ModelSettings, longest: int) -> int:
    """Positions in a packed row: what is asked for, else room for the longest conversation and little more.

    Attention costs the square of the width, and wider rows are hardly fuller.
    """
    return wanted.context_length or min(choose_context(wanted, model), max(128, 64 * math.ceil(longest / 64)))


def plan_rows(
    wanted: SftSettings, model: ModelSettings, *, context_length: int, n_rows: int, n_tokens: int, world_size: int = 1
) -> SftShape:
    """Batch and micro-batch for an epoch of `n_rows` rows that hold `n_tokens` tokens.

    Raises OutOfMemory when not even one row fits.
    """
    choices: list[Choice] = []
    share = n_tokens / max(1, n_rows * context_length)
    if wanted.packs:
        choices.append(Choice(name="rows", value=f"{n_rows:,} x {context_length}", reason=f"packed, {share:.1%} full"))
    batch_size = wanted.batch_size
    if not batch_size:
        tokens = n_tokens * (wanted.epochs or _DEFAULT_EPOCHS)
        batch_tokens = min(32_768, max(2048, 1 << round(math.log2(2 * math.sqrt(max(1.0, tokens))))))
        batch_size = max(1, min(batch_tokens // context_length, n_rows // 8))
        if not wanted.packs:
            batch_size = max(1, min(round(batch_tokens * n_rows / n_tokens), n_rows // 8))
        batch_size = max(world_size, batch_size // world_size * world_size)
        reason = "about 2 sqrt(tokens) tokens a step, at least 8 steps an epoch"
        choices.append(Choice(name="batch_size", value=f"{batch_size} rows", reason=reason))
    micro_batch = _fit_memory(
        wanted, model.model_copy(update={"context_length": context_length}), batch_size // world_size, choices
    )
    return SftShape(
        context_length=context_length, batch_size=batch_size, micro_batch=micro_batch, choices=tuple(choices)
    )


def plan_steps(
    wanted: SftSettings,
    shape: SftShape,
    model: ModelSettings,
    *,
    n_rows: int,
    step_seconds: float,
    seconds_spent: float,
) -> tuple[FitSettings, tuple[Choice, ...]]:
    """Steps and rates for rows whose step takes `step_seconds`, after `seconds_spent` on getting ready."""
    choices: list[Choice] = []
    if wanted.minutes:
        seconds = wanted.minutes * 60 - seconds_spent
        steps = max(20, int(0.95 * seconds / step_seconds))
        reason = f"{seconds:.0f} s left at {step_seconds * 1000:.0f} ms a step"
    else:
        steps = wanted.steps or max(1, math.ceil(wanted.epochs * n_rows / shape.batch_size))
        reason = "as given" if wanted.steps else f"{wanted.epochs:g} epochs of {n_rows:,} rows"
    epochs = steps * shape.batch_size / n_rows
    choices.append(Choice(name="steps", value=f"{steps:,}", reason=f"{reason}: {epochs:.1f} epochs"))
    warmup = min(steps, max(1, round(wanted.warmup_fraction * steps)))
    per_minute = max(1, round(60 / step_seconds))
    fit = FitSettings(
        steps=steps,
        batch_size=shape.batch_size,
        micro_batch=shape.micro_batch,
        warmup_steps=warmup,
        cooldown_steps=min(steps - warmup, round(wanted.cooldown_fraction * steps)),
        final_fraction=wanted.final_fraction,
        optimizer=_choose_rates(wanted, model, steps, choices),
        seed=wanted.seed,
        is_compiled=wanted.compile == "yes",
        evaluate_every=wanted.evaluate_every or divide_steps(steps, max(5, min(per_minute, steps // 8))),
        sample_every=wanted.sample_every or divide_steps(steps, max(10, min(per_minute, steps // 4))),
        save_every=wanted.save_every or divide_steps(steps, max(10, min(2 * per_minute, steps))),
        keep_checkpoints=wanted.keep_checkpoints,
    )
    return fit, tuple(choices)


def _choose_rates(wanted: SftSettings, model: ModelSettings, steps: int, choices: list[Choice]) -> OptimizerSettings:
    matrix_rate, rate = _PRETRAINING_RATES
    has_lora = wanted.lora.rank > 0
    if wanted.matrix_learning_rate >= 0:
        matrix_rate = wanted.matrix_learning_rate
    else:
        matrix_rate = 0.0 if has_lora else matrix_rate * _SHARE_OF_MUON
    share = _LORA_SHARE if has_lora else _SHARE_OF_ADAMW
    rate = wanted.learning_rate or round(share * rate * (256 / model.d_model) ** 0.5, 6)
    names = f"{matrix_rate:g} (Muon), {rate:g} (AdamW)" if matrix_rate else f"{rate:g} (AdamW)"
    reason = f"{share:g} of pre-training's, adapters" if has_lora else "a fifth and a twentieth of pre-training's"
    choices.append(Choice(name="learning rates", value=names, reason=reason))
    return OptimizerSettings(
        matrix_learning_rate=matrix_rate,
        learning_rate=rate,
        matrix_momentum=choose_momentum(wanted.matrix_momentum, steps),
        weight_decay=wanted.weight_decay,
        gradient_clip=wanted.gradient_clip,
    )


def _fit_memory(wanted: SftSettings, model: ModelSettings, batch_size: int, choices: list[Choice]) -> int:
    micro_batch, needed, free = choose_micro_batch(model, batch_size, wanted.micro_batch, choices)
    # Adapters need neither gradients nor moments of the frozen weights, so what is predicted is an upper bound there.
    if needed > free and not wanted.lora.rank:
        raise OutOfMemory(
            f"one row of {model.context_length} tokens needs {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free",
            hint="lower context_length, or train adapters with lora.rank=8",
        )
    return micro_batch
