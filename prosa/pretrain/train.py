"""A random network becomes a base model: it reads tokens and learns to predict the next one.

Token shards and a tokenizer come in; a stage folder with metrics, samples, checkpoints and `model/` goes out.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

import prosa
from prosa.config import Settings, diff_values, dump_settings, read_settings
from prosa.device import Device, choose_device
from prosa.errors import DriftRefused
from prosa.evaluate import bits_per_byte
from prosa.generate import LanguageModel
from prosa.model import ModelSettings, Transformer, flops_per_token, init_weights, save_model
from prosa.rundir import lock_run, remove_stale, write_durably
from prosa.tokenizer import Tokenizer, TokenShards, check_tokenizer
from prosa.training import (
    Batch,
    Batches,
    Choice,
    FitResult,
    FitSettings,
    TrainingSettings,
    World,
    fit,
    join_world,
    measure_step,
    plan_length,
    plan_shape,
    probe_settings,
)

# Enough windows that the number on the progress bar is steady, few enough that it takes a second or two.
_VALIDATION_TOKENS = 32_768
_SAMPLE_TOKENS = 60


class Job(Settings):
    """What was asked for and everything derived from it; written to `settings.toml`, which resuming reads."""

    requested: TrainingSettings
    model: ModelSettings
    fit: FitSettings
    device: str
    dtype: str
    threads: int
    choices: tuple[dict[str, str], ...]


def loss(model: Transformer, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
    """Summed cross-entropy in nats of every target given the tokens before it."""
    logits = model(batch.ids)
    total = F.cross_entropy(logits.flatten(0, 1).float(), batch.targets.flatten(), ignore_index=-100, reduction="sum")
    return total, {}


def main(
    folder: Path,
    settings: TrainingSettings,
    shards: TokenShards,
    tokenizer: Tokenizer,
    *,
    allow_drift: Sequence[str] = (),
    announce: Callable[[Sequence[Choice], Device], None] = lambda choices, device: None,
    is_shown: bool = True,
) -> FitResult:
    """Trains in `folder` from its newest checkpoint, or from nothing; the same call again goes on where it stopped.

    Raises RunLocked when another process trains here, DriftRefused when settings or inputs are not those of the
    checkpoint, DataError when the corpus is too small for one batch.
    """
    check_tokenizer(shards, tokenizer)
    job = read_job(folder)
    if job is None:
        device = choose_device(settings.device, settings.dtype, settings.threads)
    else:
        device = choose_device(job.device, job.dtype, job.threads)
    with join_world(device.type) as world, lock_run(folder / f"rank-{world.rank}" if world.rank else folder):
        if world.is_main:
            remove_stale(folder)
        started = time.monotonic()
        model, job = _prepare(folder, job, settings, shards, device, world, started, announce)
        batches = _make_batches(shards, job.model.context_length, job.fit.batch_size, settings.seed)
        writer = LanguageModel(model, tokenizer)
        prompts = _choose_prompts(shards, tokenizer)
        model.to(device.torch_device).train()
        result = fit(
            model,
            loss,
            batches,
            job.fit,
            folder=folder,
            fingerprint=_fingerprint(job, shards, tokenizer, world),
            device=device,
            world=world,
            evaluate=lambda: _evaluate(model, shards, device),
            sample=lambda: _sample(writer, prompts, settings.seed),
            flops_per_token=flops_per_token(job.model, job.model.context_length),
            trackers=settings.trackers,
            allow_drift=allow_drift,
            is_shown=is_shown,
        )
        if result.is_finished and world.is_main:
            save_model(folder / "model", model, tokenizer)
    return result


def read_job(folder: Path) -> Job | None:
    """The resolved job of a stage folder, or None when nothing was started there."""
    path = folder / "settings.toml"
    return read_settings(Job, path) if path.exists() else None


def _prepare(
    folder: Path,
    job: Job | None,
    settings: TrainingSettings,
    shards: TokenShards,
    device: Device,
    world: World,
    started: float,
    announce: Callable[[Sequence[Choice], Device], None],
) -> tuple[Transformer, Job]:
    """The freshly initialised model and its job: the one in the folder, or a new one measured on this machine."""
    if job is not None:
        changes = diff_values(job.requested.model_dump(), settings.model_dump())
        if changes:
            raise DriftRefused(
                f"`{folder}` was started with other settings:\n  " + "\n  ".join(changes),
                hint="give the former settings to go on, or another run folder to start anew",
            )
        announce([Choice(**choice) for choice in job.choices], device)
        model = Transformer(job.model)
        init_weights(model, settings.seed)
        return model, job
    train_tokens = sum(shards.n_tokens("train", name) for name in shards.sources)
    shape = plan_shape(
        settings, device, vocab_size=shards.vocab_size, train_tokens=train_tokens, world_size=world.size
    )
    model = Transformer(shape.model)
    init_weights(model, settings.seed)
    batches = _make_batches(shards, shape.model.context_length, shape.batch_size, settings.seed)
    probe = probe_settings(shape, settings.seed)
    step_seconds = measure_step(model.train(), loss, batches, probe, device=device, world=world)
    init_weights(model, settings.seed)
    fit_settings, choices = plan_length(
        settings, shape, step_seconds=step_seconds, seconds_spent=time.monotonic() - started
    )
    job = Job(
        requested=settings,
        model=shape.model,
        fit=fit_settings,
        device=device.type,
        dtype=str(device.compute_dtype).removeprefix("torch."),
        threads=device.threads,
        choices=tuple(asdict(choice) for choice in (*shape.choices, *choices)),
    )
    if world.is_main:
        write_durably(folder / "settings.toml", dump_settings(job).encode())
    announce([*shape.choices, *choices], device)
    return model, job


def _make_batches(shards: TokenShards, context_length: int, batch_size: int, seed: int) -> Batches:
    return Batches(shards, context_length=context_length, batch_size=batch_size, seed=seed)


def _fingerprint(job: Job, shards: TokenShards, tokenizer: Tokenizer, world: World) -> dict[str, Any]:
    import torch

    return {
        "settings": job.model_dump(mode="json", exclude={"choices"}),
        "tokenizer": tokenizer.hash,
        "tokens": shards.hash,
        "processes": world.size,
        "prosa": prosa.__version__,
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def _evaluate(model: Transformer, shards: TokenShards, device: Device) -> Mapping[str, float]:
    result = bits_per_byte(model, shards, device=device, max_tokens=_VALIDATION_TOKENS)
    return {"bits_per_byte": result.total.bits_per_byte}


def _choose_prompts(shards: TokenShards, tokenizer: Tokenizer) -> list[str]:
    """The first words of one validation document in each of the two commonest languages."""
    prompts: dict[str, str] = {}
    for source in shards.sources:
        for document in range(len(shards.document_lengths("validation", source))):
            language = shards.document("validation", source, document)["language"]
            if language not in prompts:
                beginning = tokenizer.decode(shards.read("validation", source, document, 0, 24).tolist())
                prompts[language] = " ".join(beginning.split()[:4])
            if len(prompts) == 2:
                return list(prompts.values())
    return list(prompts.values()) or [""]


def _sample(writer: LanguageModel, prompts: Sequence[str], seed: int) -> list[dict[str, str]]:
    records = []
    writer.model.eval()
    for prompt in prompts:
        text = writer.generate(prompt, max_new_tokens=_SAMPLE_TOKENS, temperature=0.8, top_p=0.95, seed=seed)
        records.append({"prompt": prompt, "text": text})
    writer.model.train()
    return records
