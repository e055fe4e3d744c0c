"""Rankings become a reward model: it reads conversations and learns to score answers in the order people gave.

A model folder for the trunk and rankings come in; a stage folder with metrics, samples, checkpoints, `model/` and a
report card goes out.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from prosa.config import Settings
from prosa.device import Device, choose_device
from prosa.errors import ConfigError, DataError, TokenizerError
from prosa.model import ModelSettings, count_parameters, flops_per_token, load_model, load_settings
from prosa.preferences import RankedAnswers, split_by_prompt
from prosa.reward.batches import (
    EncodedRanking,
    RankedBatches,
    RankingCounts,
    RewardBatch,
    encode_answers,
    encode_rankings,
    expand_pairs,
    hash_rankings,
)
from prosa.reward.finishing import Sample, evaluate_rankings, finish, head_scores
from prosa.reward.losses import LossSettings, agreement, ranking_loss
from prosa.reward.model import RewardModel, start_reward_model
from prosa.rundir import hash_file, hash_json, is_complete, read_manifest
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

_MICRO_BATCH_TOKENS = 16_384
# Enough that the number on the bar is steady; the report card takes all.
_VALIDATION_RANKINGS = 256


class RewardSettings(Settings):
    """What to learn and how fast; 0 means chosen from the data and the size of the trunk."""

    loss: LossSettings = LossSettings()
    n_members: int = Field(default=1, ge=1, le=64)
    epochs: float = Field(default=1.0, gt=0, le=1000)
    steps: int = Field(default=0, ge=0, le=10**9)
    # Each pair a row of its own, shuffled: what others do, kept for comparison.
    expands_pairs: bool = False
    validation_fraction: float = Field(default=0.1, ge=0, lt=1)
    batch_size: int = Field(default=0, ge=0, le=1_000_000)
    micro_batch: int = Field(default=0, ge=0, le=1_000_000)
    learning_rate: float = Field(default=0.0, ge=0, le=10)
    # Of the trunk's matrices under Muon; 0: AdamW for them too.
    matrix_learning_rate: float = Field(default=0.0, ge=0, le=10)
    gradient_clip: float = Field(default=1.0, ge=0)
    warmup_fraction: float = Field(default=0.05, ge=0, le=1)
    cooldown_fraction: float = Field(default=0.7, ge=0, le=1)
    final_fraction: float = Field(default=0.02, ge=0, le=1)
    device: str = Field(default="auto", pattern="^(auto|cpu|cuda|mps)$")
    dtype: str = Field(default="auto", pattern="^(auto|float32|bfloat16)$")
    threads: int = Field(default=0, ge=0, le=4096)
    evaluate_every: int = Field(default=0, ge=0)
    sample_every: int = Field(default=0, ge=0)
    save_every: int = Field(default=0, ge=0)
    keep_checkpoints: int = Field(default=2, ge=1)
    trackers: tuple[str, ...] = ()
    seed: int = 0


class Job(Settings):
    """What was asked for and everything derived from it; written to `settings.toml`, which resuming reads."""

    requested: RewardSettings
    inputs: dict[str, str]
    counts: dict[str, int]
    model: ModelSettings
    fit: FitSettings
    device: str
    dtype: str
    threads: int
    choices: tuple[Choice, ...]


@dataclass(frozen=True, slots=True)
class _Data:
    """What is learned from and checked on, and the hashes of where it came from."""

    tokenizer: Tokenizer
    shape: ModelSettings
    train: Sequence[EncodedRanking]
    counts: RankingCounts
    validation: Sequence[EncodedRanking]
    held_out: Sequence[RankedAnswers]
    inputs: dict[str, str]


def loss(model: RewardModel, batch: RewardBatch, settings: LossSettings) -> tuple[Tensor, dict[str, Tensor]]:
    """Summed loss of the rankings, in nats, each by its weight; and how well each is agreed with.

    One forward pass for each answer, whatever the number of pairs; several heads each take their own share.
    """
    scores = score_answers(model, batch)  # P K H
    P, K, H = scores.shape
    groups = batch.groups.repeat(H, 1)
    by_head = ranking_loss(scores.permute(2, 0, 1).reshape(H * P, K), groups, settings, model.tie).view(H, P)
    total = (batch.weights.T * by_head).sum() / H
    return total, {"pair_accuracy": agreement(scores.detach().mean(2), batch.groups).sum()}


def score_answers(model: RewardModel, batch: RewardBatch) -> Float[Tensor, "P K H"]:
    """What each head says of each answer; 0 where there is none. What answers share is computed once."""
    is_there = batch.groups >= 0
    texts: list[list[int]] = []
    starts: list[int] = []
    for rows, ends, there in zip(batch.ids.tolist(), batch.last.tolist(), is_there.tolist(), strict=True):
        answers = [row[: end + 1] for row, end, is_one in zip(rows, ends, there, strict=True) if is_one]
        columns = enumerate(zip(*answers, strict=False))
        differs_at = next((n for n, ids in columns if len(set(ids)) > 1), len(answers[0]))
        texts += answers
        starts += [min(differs_at, *(len(answer) - 1 for answer in answers))] * len(answers)
    found = model.judge(model.branch_features(texts, starts))  # N H
    scores = found.new_zeros(*is_there.shape, found.shape[1])
    scores[is_there] = found
    return scores


def main(
    folder: Path,
    settings: RewardSettings,
    trunk: Path,
    ranked: Sequence[RankedAnswers],
    *,
    references: Sequence[Sample] = (),
    world: World | None = None,
    allow_drift: Sequence[str] = (),
    announce: Callable[[Job, Device], None] = lambda job, device: None,
    is_shown: bool = True,
) -> FitResult:
    """Trains in `folder` from its newest checkpoint, or from nothing; the same call again goes on where it stopped.

    trunk: a model folder, normally the one whose answers were ranked. references: samples of the policy that scores
    are normalised on; without any, the answers trained on. Raises RunLocked when another process trains here,
    DriftRefused when settings or inputs are not those of the checkpoint, DataError when no ranking can be used,
    TokenizerError when the trunk's folder holds a tokenizer of another run.
    """
    world = world or World()
    data = _read(settings, trunk, ranked)
    tokenizer, job = data.tokenizer, load_job(Job, folder, settings)
    asked = settings if job is None else job
    device = choose_device(asked.device, asked.dtype, asked.threads)
    with open_stage(folder, world):
        if job is None:
            job = _plan_job(folder, settings, data, device, world)
        check_request(job.requested, job.inputs, settings, data.inputs, allow_drift=allow_drift)
        announce(job, device)
        model = make_model(trunk, job).to(device.torch_device).train()
        shown = data.validation[:_VALIDATION_RANKINGS]
        result = fit(
            model,
            partial(loss, settings=settings.loss),
            make_batches(data.train, job, tokenizer),
            job.fit,
            folder=folder,
            fingerprint=job_fingerprint(job, world),
            device=device,
            world=world,
            evaluate=lambda: evaluate_rankings(model, shown, settings.loss, tokenizer),
            sample=lambda: _sample(model, data.held_out, tokenizer),
            flops_per_token=_flops_per_ranking(model.settings, data.train),
            trackers=settings.trackers,
            allow_drift=allow_drift,
            is_shown=is_shown,
        )
        if result.is_finished and world.is_main:
            model.eval()
            finish(
                folder, model, tokenizer, data.train, data.held_out, references, counts=job.counts, seed=job.fit.seed
            )
    return result


def read_job(folder: Path) -> Job | None:
    """The resolved job of a stage folder, or None when nothing was started there."""
    return load_job(Job, folder)


def make_model(trunk: Path, job: Job) -> RewardModel:
    """The untrained reward model of a job."""
    model = start_reward_model(load_model(trunk), n_members=job.requested.n_members, seed=job.fit.seed)
    model.tie.data.fill_(job.requested.loss.tie_start)
    model.tie.requires_grad_(job.requested.loss.learns_tie)
    return model


def make_batches(rankings: Sequence[EncodedRanking], job: Job, tokenizer: Tokenizer) -> RankedBatches:
    """The order in which a job reads its rankings."""
    return RankedBatches(
        rankings,
        batch_size=job.fit.batch_size,
        pad_id=tokenizer.pad_id,
        seed=job.fit.seed,
        n_members=job.requested.n_members,
    )


def load_tokenizer(trunk: Path) -> Tokenizer:
    """The tokenizer beside a trunk; TokenizerError if the weights were made with another one."""
    tokenizer = Tokenizer.load(trunk)
    made_with = read_manifest(trunk)["description"].get("tokenizer") if is_complete(trunk) else None
    vocab_size = load_settings(trunk).vocab_size
    if made_with not in (None, tokenizer.hash) or tokenizer.vocab_size > vocab_size:
        raise TokenizerError(
            f"`{trunk}` holds a tokenizer of another run ({tokenizer.vocab_size:,} tokens, the model has "
            f"{vocab_size:,})",
            hint="give the model folder as it was saved",
        )
    return tokenizer


def hash_trunk(trunk: Path) -> str:
    """sha256 over the weights and the shape of a model folder."""
    files = [path for path in sorted(trunk.iterdir()) if path.suffix == ".safetensors" or path.name == "config.json"]
    return hash_json({path.name: hash_file(path) for path in files})


def _read(settings: RewardSettings, trunk: Path, ranked: Sequence[RankedAnswers]) -> _Data:
    tokenizer, shape = load_tokenizer(trunk), load_settings(trunk)
    chosen, held_out = split_by_prompt(ranked, test_fraction=settings.validation_fraction)
    train, counts = encode_rankings(chosen, tokenizer, shape.context_length, uses_ties=settings.loss.uses_ties)
    validation, _ = encode_rankings(held_out, tokenizer, shape.context_length, uses_ties=True)
    if settings.expands_pairs:
        train = expand_pairs(train)
    if not train:
        raise DataError(
            f"none of {counts.n_given} rankings can be learned from: {counts.n_without_order} say of no answer that it "
            f"is better, {counts.n_too_long} are too long for the context of {shape.context_length} tokens",
            hint="rank more answers, or choose a trunk with a longer context",
        )
    inputs = {"trunk": hash_trunk(trunk), "tokenizer": tokenizer.hash, "rankings": hash_rankings(ranked)}
    return _Data(tokenizer, shape, train, counts, validation, held_out, inputs)


def _plan_job(folder: Path, settings: RewardSettings, data: _Data, device: Device, world: World) -> Job:
    """The job for these rankings on this trunk; the same in every process."""
    fit_settings, choices = _plan_fit(settings, data, world)
    job = Job(
        requested=settings,
        inputs=data.inputs,
        counts=data.counts.to_json(),
        model=data.shape,
        fit=fit_settings,
        device=device.type,
        dtype=device.dtype,
        threads=device.threads,
        choices=choices,
    )
    return keep_job(folder, job, world)


def _plan_fit(settings: RewardSettings, data: _Data, world: World) -> tuple[FitSettings, tuple[Choice, ...]]:
    """Batch, rate and length, each with its reason."""
    n, parameters = len(data.train), count_parameters(data.shape)
    if world.size > n:
        raise ConfigError(f"{n} rankings cannot be shared by {world.size} processes")
    # Some sixty updates at least, where there are rankings for them: fewer do not move a small trunk.
    batch_size = settings.batch_size or max(4, min(64, 1 << max(0, (n // 64).bit_length() - 1)))
    batch_size = max(world.size, min(batch_size, n) // world.size * world.size)
    rate = settings.learning_rate or round(5e-4 * min(2.0, (1e6 / parameters) ** 0.65), 7)
    steps = settings.steps or max(1, round(settings.epochs * -(-n // batch_size)))
    warmup = min(steps, max(1, round(settings.warmup_fraction * steps)))
    tokens = max(len(one.sequences) for one in data.train) * max(one.length for one in data.train)
    choices = (
        Choice(name="batch_size", value=str(batch_size), reason=f"{n:,} rankings to learn from"),
        Choice(name="learning_rate", value=f"{rate:g}", reason=f"{parameters:,} parameters"),
        Choice(name="steps", value=str(steps), reason="as given" if settings.steps else f"{settings.epochs:g} epochs"),
    )
    optimizer = OptimizerSettings(
        matrix_learning_rate=settings.matrix_learning_rate,
        learning_rate=rate,
        epsilon=1e-8,
        gradient_clip=settings.gradient_clip,
    )
    fit_settings = FitSettings(
        steps=steps,
        batch_size=batch_size,
        micro_batch=settings.micro_batch or max(1, min(batch_size, _MICRO_BATCH_TOKENS // tokens)),
        warmup_steps=warmup,
        cooldown_steps=min(steps - warmup, round(settings.cooldown_fraction * steps)),
        final_fraction=settings.final_fraction,
        optimizer=optimizer,
        seed=settings.seed,
        evaluate_every=settings.evaluate_every or divide_steps(steps, max(1, steps // 8)),
        sample_every=settings.sample_every or steps,
        save_every=settings.save_every or divide_steps(steps, max(20, steps // 4)),
        keep_checkpoints=settings.keep_checkpoints,
    )
    return fit_settings, choices


def _flops_per_ranking(model: ModelSettings, rankings: Sequence[EncodedRanking]) -> int:
    """What the loop counts as a target is a ranking; the matrix over the vocabulary has no part in it."""
    lengths = [len(sequence) for ranking in rankings for sequence in ranking.sequences]
    mean_length = sum(lengths) / len(lengths)
    per_token = flops_per_token(model, round(mean_length)) - 6 * model.vocab_size * model.d_model
    return round(per_token * sum(lengths) / len(rankings))


def _sample(model: RewardModel, held_out: Sequence[RankedAnswers], tokenizer: Tokenizer) -> list[dict[str, Any]]:
    """Two validation items with the answer the model likes best, and all scores beside the people's order."""
    records = []
    for one in held_out[:2]:
        encoded = encode_answers(tokenizer, one.messages, one.answers, model.settings.context_length)
        if encoded is not None:
            scores = head_scores(model, encoded[0]).mean(1).tolist()
            best = max(range(len(scores)), key=scores.__getitem__)
            prompt = f"{one.messages[-1]['content']} "
            found = {"prompt": prompt, "text": one.answers[best], "scores": scores, "groups": one.ranking.groups}
            records.append(found)
    return records
