"""A random network becomes a base model: it reads tokens and learns to predict the next one.

Token shards and a tokenizer come in; a stage folder with metrics, samples, checkpoints and `model/` goes out.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from prosa.config import Settings
from prosa.corpus import KINDS
from prosa.device import Device, choose_device
from prosa.evaluate import EncodedDocuments, bits_per_byte, encoded_split, ngram_bits_per_byte
from prosa.generate import LanguageModel
from prosa.model import ModelSettings, Transformer, flops_per_token, init_weights, save_model
from prosa.tokenizer import Tokenizer, TokenShards, check_tokenizer
from prosa.training import (
    Batch,
    Batches,
    Choice,
    FitResult,
    FitSettings,
    Shape,
    TrainingSettings,
    World,
    check_request,
    expect_step_seconds,
    fit,
    is_predictable,
    job_fingerprint,
    keep_job,
    load_job,
    measure_step,
    open_stage,
    plan_length,
    plan_shape,
    predict_bits,
    probe_settings,
    share,
)

# Enough windows that the number on the progress bar is steady, few enough that it takes a second or two.
# Of the validation split, at most; and less in short runs, which would spend their time on it.
_VALIDATION_TOKENS, _VALIDATION_SHARE = 32_768, 0.01
_SAMPLE_TOKENS = 60
_PROBE_SECONDS = 10.0
_PROMPT_TOKENS = 24


class Job(Settings):
    """What was asked for and everything derived from it; written to `settings.toml`, which resuming reads."""

    requested: TrainingSettings
    inputs: dict[str, str]
    model: ModelSettings
    fit: FitSettings
    device: str
    dtype: str
    threads: int
    choices: tuple[Choice, ...]


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
    world: World,
    allow_drift: Sequence[str] = (),
    announce: Callable[[Job, Device], None] = lambda job, device: None,
    is_shown: bool = True,
) -> FitResult:
    """Trains in `folder` from its newest checkpoint, or from nothing; the same call again goes on where it stopped.

    Raises RunLocked when another process trains here, DriftRefused when settings or inputs are not those of the
    checkpoint, DataError when the corpus is too small for one batch.
    """
    check_tokenizer(shards, tokenizer)
    job = load_job(Job, folder, settings)
    asked = settings if job is None else job
    device = choose_device(asked.device, asked.dtype, asked.threads)
    with open_stage(folder, world):
        if job is None:
            job = keep_job(folder, _plan_job(settings, shards, tokenizer, device, world), world)
        check_request(job.requested, job.inputs, settings, _inputs(shards, tokenizer), allow_drift=allow_drift)
        announce(job, device)
        model = Transformer(job.model)
        init_weights(model, job.fit.seed)
        model.to(device.torch_device).train()
        writer = LanguageModel(model, tokenizer)
        validation = encoded_split(shards, "validation", tokenizer)
        n_validation = min(_VALIDATION_TOKENS, int(_VALIDATION_SHARE * _count_tokens(job)))
        prompts = choose_prompts(shards, tokenizer)
        result = fit(
            model,
            loss,
            make_batches(shards, job),
            job.fit,
            folder=folder,
            fingerprint=job_fingerprint(job, world),
            device=device,
            world=world,
            evaluate=lambda: _evaluate(model, validation, n_validation, device),
            sample=lambda: _sample(writer, prompts, job.fit.seed),
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
    return load_job(Job, folder)


def make_batches(shards: TokenShards, job: Job) -> Batches:
    """The order in which a job reads the training split."""
    return Batches(shards, context_length=job.model.context_length, batch_size=job.fit.batch_size, seed=job.fit.seed)


def _count_tokens(job: Job) -> int:
    """Those it is trained on, from first to last."""
    return job.fit.steps * job.fit.batch_size * job.model.context_length


def _inputs(shards: TokenShards, tokenizer: Tokenizer) -> dict[str, str]:
    return {"tokenizer": tokenizer.hash, "tokens": shards.hash}


def plan(
    settings: TrainingSettings, shards: TokenShards, device: Device, world: World, *, is_measured: bool = True
) -> tuple[ModelSettings, FitSettings, tuple[Choice, ...]]:
    """What would be trained on this corpus on this machine, and every choice with its reason.

    Minutes become steps by a measured step, or, where nothing is to be trained, by what a step's products take here.
    Every process gets the same, but for the bits per byte to expect, which the first one alone counts.
    """
    started = time.monotonic()
    train_tokens = sum(shards.n_tokens("train", name) for name in shards.sources)
    shape = plan_shape(settings, device, vocab_size=shards.vocab_size, train_tokens=train_tokens, world_size=world.size)
    shape = Shape.model_validate_json(share(shape.model_dump_json(), world))
    batch_tokens = shape.batch_size * shape.model.context_length
    step_seconds = expect_step_seconds(shape.model, batch_tokens, device, world.size)
    if settings.minutes and is_measured:
        step_seconds = _measure_step(settings, shape, shards, device, world)
    ngram_bits = None
    # Counting takes a second, which steps alone are not slowed down for; only the first process keeps the job.
    if settings.minutes and world.is_main:
        ngram_bits = ngram_bits_per_byte(shards), ngram_bits_per_byte(shards, 1 / 5)
    seconds_spent = time.monotonic() - started
    length, choices = plan_length(settings, shape, step_seconds=step_seconds, seconds_spent=seconds_spent)
    tokens, train_bytes = length.steps * batch_tokens, sum(shards.n_bytes("train", name) for name in shards.sources)
    expected = []
    if ngram_bits and is_predictable(tokens, train_tokens, train_bytes):
        expected = [predict_bits(ngram_bits, tokens)]
    return shape.model, length, (*shape.choices, *choices, *expected)


def _plan_job(
    settings: TrainingSettings, shards: TokenShards, tokenizer: Tokenizer, device: Device, world: World
) -> Job:
    model, length, choices = plan(settings, shards, device, world)
    return Job(
        requested=settings,
        inputs=_inputs(shards, tokenizer),
        model=model,
        fit=length,
        device=device.type,
        dtype=device.dtype,
        threads=device.threads,
        choices=choices,
    )


def _measure_step(settings: TrainingSettings, shape: Shape, shards: TokenShards, device: Device, world: World) -> float:
    model = Transformer(shape.model).to(device.torch_device).train()
    init_weights(model, settings.seed)
    batches = Batches(
        shards, context_length=shape.model.context_length, batch_size=shape.batch_size, seed=settings.seed
    )
    # A shared machine is not equally fast from second to second.
    least = min(_PROBE_SECONDS, 60 * settings.minutes / 20)
    probe = probe_settings(shape, settings.seed)
    return measure_step(model, loss, batches, probe, device=device, world=world, least_seconds=least)


def _evaluate(model: Transformer, validation: EncodedDocuments, n_tokens: int, device: Device) -> Mapping[str, float]:
    result = bits_per_byte(model, validation, device=device, max_tokens=n_tokens)
    return {"bits_per_byte": result.total.bits_per_byte}


def choose_prompts(shards: TokenShards, tokenizer: Tokenizer, n_words: int = 4) -> list[str]:
    """How the text of a validation document begins, one in each of the two commonest languages, stories first."""
    table = [
        row | {"source": source, "document": document}
        for source in shards.sources
        for document, row in enumerate(shards.stream("validation", source).table.to_pylist())
    ]
    n_bytes = Counter[str]()
    for row in table:
        n_bytes[row["language"]] += row["n_bytes"] if row["kind"] != "code" else 1
    prompts = []
    for language, _ in n_bytes.most_common(2):
        rows = [row for row in table if row["language"] == language and row["n_tokens"] > _PROMPT_TOKENS]
        if rows:
            row = min(rows, key=lambda row: KINDS.index(row["kind"]))
            ids = shards.read("validation", row["source"], row["document"], 0, _PROMPT_TOKENS)
            lines = [line.split() for line in tokenizer.decode(ids.tolist()).splitlines()]
            # The first line is often a title, and a line that begins with a dash answers another.
            told = (words for words in lines[1:] if len(words) > n_words and words[0][0].isalpha())
            words = next(told, lines[0] if lines else [])
            prompts.append(" ".join(words[:n_words]))
    return prompts or [""]


def _sample(writer: LanguageModel, prompts: Sequence[str], seed: int) -> list[dict[str, str]]:
    records = []
    writer.model.eval()
    for prompt in prompts:
        text = writer.generate(prompt, max_new_tokens=_SAMPLE_TOKENS, temperature=0.8, top_p=0.95, seed=seed)
        records.append({"prompt": prompt, "text": text})
    writer.model.train()
    return records
