"""Without a reward model: the policy learns from rankings directly, its own log-probabilities being the reward.

A fine-tuned model and rankings come in, the same ones that a reward model learns from; a stage folder goes out.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from prosa.config import Settings
from prosa.device import Device, choose_device
from prosa.errors import DataError
from prosa.generate import load
from prosa.model import ModelSettings, Transformer, count_parameters, flops_per_token, save_model
from prosa.preferences import RankedAnswers, split_by_prompt
from prosa.reward import (
    EncodedRanking,
    LossSettings,
    RankedBatches,
    RewardBatch,
    agreement,
    encode_rankings,
    hash_rankings,
    ranking_loss,
)
from prosa.rl.policy import read_tokens, start_policy
from prosa.sft import hash_weights
from prosa.tokenizer import Tokenizer
from prosa.training import (
    Choice,
    FitResult,
    FitSettings,
    OptimizerSettings,
    World,
    check_request,
    divide_steps,
    fit,
    job_fingerprint,
    keep_job,
    load_job,
    open_stage,
)

_VALIDATION_RANKINGS = 128


class DirectSettings(Settings):
    """What is learned from rankings, and how far the policy may go."""

    method: Literal["dpo", "ipo"] = "dpo"
    """`dpo` or `ipo`."""
    beta: float = Field(default=0.1, gt=0, le=100)
    """The price of a nat of distance from the reference; the larger, the nearer the policy stays."""
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    """Share of the pairs that are taken to be judged the wrong way round (DPO)."""
    epochs: float = Field(default=1.0, gt=0, le=1000)
    """Read all rankings this often."""
    steps: int = Field(default=0, ge=0, le=10**9)
    """Train for this many updates instead."""
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Share of the prompts kept to check on."""
    batch_size: int = Field(default=16, ge=1, le=1_000_000)
    """Rankings in an update."""
    learning_rate: float = Field(default=0.0, ge=0, le=10)
    """Peak rate of AdamW; 0: by the size of the model."""
    gradient_clip: float = Field(default=1.0, ge=0)
    """Largest norm of an update's gradient; 0: any."""
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda|mps)$")
    """Where to compute."""
    dtype: str = Field(default="auto", pattern="^(auto|float32|bfloat16)$")
    """Number format of the computation; auto: bfloat16 where it is faster."""
    threads: int = Field(default=0, ge=0, le=4096)
    """CPU threads; 0: torch's choice."""
    save_every: int = Field(default=100, ge=1)
    """Updates between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """Checkpoints kept."""
    seed: int = 0
    """Draws the order of rankings."""


class Job(Settings):
    """What was asked for and everything derived from it; written to `settings.toml`, which resuming reads."""

    requested: DirectSettings
    inputs: dict[str, str]
    model: ModelSettings
    fit: FitSettings
    device: str
    dtype: str
    threads: int
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class _Data:
    """The policy as it starts, what it learns from and is checked on, and the hashes of where it came from."""

    policy: Transformer
    tokenizer: Tokenizer
    train: Sequence[EncodedRanking]
    validation: Sequence[EncodedRanking]
    inputs: dict[str, str]


class PolicyAndReference(nn.Module):
    """The policy, and as reference its copy from before training."""

    def __init__(self, policy: Transformer) -> None:
        super().__init__()
        self.policy = policy
        self.reference = copy.deepcopy(policy).requires_grad_(False)


def loss(
    model: PolicyAndReference, batch: RewardBatch, *, settings: DirectSettings, tokenizer: Tokenizer
) -> tuple[Tensor, dict[str, Tensor]]:
    """Summed loss of the rankings, all pairs of one ranking as one element.

    An answer's implicit reward is beta (log policy - log reference). DPO: -ln sigmoid of the difference of two
    (Rafailov et al. 2023, arXiv:2305.18290, equation 7). IPO: (difference of the log-ratios - 1 / (2 beta))^2
    (Azar et al. 2023, arXiv:2310.12036, equation 17).
    """
    ratios = log_ratios(model, batch, tokenizer)  # P K
    if settings.method == "ipo":
        by_ranking = squared_errors(ratios, batch.groups, settings.beta)
    else:
        kind = LossSettings(kind="pairwise", ties="drop", label_smoothing=settings.label_smoothing, centering=0)
        by_ranking = ranking_loss(settings.beta * ratios, batch.groups, kind, ratios.new_zeros(()))
    is_there = batch.groups >= 0
    distance = (ratios.detach() * is_there).sum(1) / is_there.sum(1)
    metrics = {"pair_accuracy": agreement(ratios.detach(), batch.groups).sum(), "log_ratio": distance.sum()}
    return (batch.weights[:, 0] * by_ranking).sum(), metrics


def log_ratios(model: PolicyAndReference, batch: RewardBatch, tokenizer: Tokenizer) -> Float[Tensor, "P K"]:
    """log policy - log reference of each whole answer, in nats; 0 where there is none."""
    is_there = batch.groups >= 0
    ids, last = batch.ids[is_there], batch.last[is_there]
    targets = answer_targets(ids, last, tokenizer)
    read = partial(read_tokens, ids=ids[:, :-1], targets=targets, temperature=1.0, vocab_size=tokenizer.vocab_size)
    logprobs, _ = read(model.policy)
    with torch.no_grad():
        references, _ = read(model.reference)
    rows = (targets != -100).nonzero()[:, 0]
    by_answer = logprobs.new_zeros(len(ids)).index_add(0, rows, logprobs - references)
    ratios = by_answer.new_zeros(is_there.shape)
    ratios[is_there] = by_answer
    return ratios


def answer_targets(ids: Int[Tensor, "N T"], last: Int[Tensor, " N"], tokenizer: Tokenizer) -> Int[Tensor, "N S"]:
    """The next ids where they belong to a row's last answer, its end included; -100 elsewhere. S = T - 1.

    An answer follows the last `<|im_start|>assistant` and line end; text cannot forge that token.
    """
    n_opening = 1 + len(tokenizer.encode("assistant\n"))
    places = torch.arange(ids.shape[1], device=ids.device)
    starts = (places * (ids == tokenizer.im_start_id)).argmax(1) + n_opening
    is_answer = (places >= starts[:, None]) & (places <= last[:, None])
    return torch.where(is_answer, ids, -100)[:, 1:]


def squared_errors(ratios: Float[Tensor, "P K"], groups: Int[Tensor, "P K"], beta: float) -> Float[Tensor, " P"]:
    """IPO's loss of each ranking: the mean over its pairs."""
    is_better = (groups[:, :, None] < groups[:, None, :]) & (groups >= 0)[:, :, None]
    errors = (ratios[:, :, None] - ratios[:, None, :] - 1 / (2 * beta)).square()
    return (errors * is_better).sum((1, 2)) / is_better.sum((1, 2)).clamp(min=1)


def main(
    folder: Path,
    settings: DirectSettings,
    start: Path,
    ranked: Sequence[RankedAnswers],
    *,
    world: World | None = None,
    allow_drift: Sequence[str] = (),
    announce: Callable[[Job, Device], None] = lambda job, device: None,
    is_shown: bool = True,
) -> FitResult:
    """Trains the model of `start` in `folder` from its newest checkpoint, or from the start.

    Raises RunLocked when another process trains here, DriftRefused when settings or inputs are not those of the
    checkpoint, DataError when no ranking can be used.
    """
    world = world or World()
    job = load_job(Job, folder, settings)
    asked = settings if job is None else job
    device = choose_device(asked.device, asked.dtype, asked.threads)
    with open_stage(folder, world):
        data = _read(settings, start, ranked)
        if job is None:
            job = keep_job(folder, _plan_job(settings, data, device), world)
        check_request(job.requested, job.inputs, settings, data.inputs, allow_drift=allow_drift)
        announce(job, device)
        model = PolicyAndReference(data.policy).to(device.torch_device)
        learn = partial(loss, settings=settings, tokenizer=data.tokenizer)
        result = fit(
            model,
            learn,
            make_batches(data.train, job.fit.batch_size, data.tokenizer, job.fit.seed),
            job.fit,
            folder=folder,
            fingerprint=job_fingerprint(job, world),
            device=device,
            world=world,
            evaluate=lambda: _evaluate(model, learn, data),
            sample=list,
            flops_per_token=4 * flops_per_token(job.model, max(one.length for one in data.train)),
            allow_drift=allow_drift,
            is_shown=is_shown,
        )
        if result.is_finished and world.is_main:
            save_model(folder / "model", model.policy, data.tokenizer)
    return result


def make_batches(rankings: Sequence[EncodedRanking], batch_size: int, tokenizer: Tokenizer, seed: int) -> RankedBatches:
    """The order in which rankings are read."""
    return RankedBatches(rankings, batch_size=batch_size, pad_id=tokenizer.pad_id, seed=seed)


def _read(settings: DirectSettings, start: Path, ranked: Sequence[RankedAnswers]) -> _Data:
    llm = load(start)
    tokenizer, context_length = llm.tokenizer, llm.model.settings.context_length
    chosen, held_out = split_by_prompt(ranked, test_fraction=settings.validation_fraction)
    train, counts = encode_rankings(chosen, tokenizer, context_length, uses_ties=False)
    validation, _ = encode_rankings(held_out, tokenizer, context_length, uses_ties=False)
    if not train:
        raise DataError(f"none of {counts.n_given} rankings says which answer is better", hint="rank more answers")
    policy = start_policy(llm.model)
    inputs = {"policy": hash_weights(llm.model), "tokenizer": tokenizer.hash, "rankings": hash_rankings(ranked)}
    return _Data(policy, tokenizer, train, validation, inputs)


def read_job(folder: Path) -> Job | None:
    """The resolved job of a stage folder, or None when nothing was started there."""
    return load_job(Job, folder)


def _plan_job(settings: DirectSettings, data: _Data, device: Device) -> Job:
    model, n_rankings = data.policy.settings, len(data.train)
    batch_size = min(settings.batch_size, n_rankings)
    steps = settings.steps or max(1, round(settings.epochs * -(-n_rankings // batch_size)))
    parameters = count_parameters(model)
    rate = settings.learning_rate or round(1e-4 * min(1.5, (1.7e6 / parameters) ** 0.7), 7)
    warmup = max(1, steps // 10)
    choices = (
        Choice(name="steps", value=str(steps), reason="as given" if settings.steps else f"{settings.epochs:g} epochs"),
        Choice(name="learning_rate", value=f"{rate:g}", reason=f"{parameters:,} parameters"),
    )
    fit_settings = FitSettings(
        steps=steps,
        batch_size=batch_size,
        micro_batch=batch_size,
        warmup_steps=warmup,
        cooldown_steps=steps - warmup,
        optimizer=OptimizerSettings(
            matrix_learning_rate=0.0, learning_rate=rate, epsilon=1e-8, gradient_clip=settings.gradient_clip
        ),
        seed=settings.seed,
        evaluate_every=divide_steps(steps, max(1, steps // 4)),
        sample_every=steps,
        save_every=settings.save_every,
        keep_checkpoints=settings.keep_checkpoints,
    )
    return Job(
        requested=settings,
        inputs=data.inputs,
        model=model,
        fit=fit_settings,
        device=device.type,
        dtype=device.dtype,
        threads=device.threads,
        choices=choices,
    )


@torch.no_grad()
def _evaluate(
    model: PolicyAndReference,
    learn: Callable[[PolicyAndReference, RewardBatch], tuple[Tensor, dict[str, Tensor]]],
    data: _Data,
) -> dict[str, float]:
    if not data.validation:
        return {}
    batch = make_batches(data.validation, _VALIDATION_RANKINGS, data.tokenizer, seed=0).batch(0)
    total, metrics = learn(model, batch)
    n = batch.n_targets
    return {"validation_accuracy": float(metrics["pair_accuracy"]) / n, "validation_loss": float(total) / n}
