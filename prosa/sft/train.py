"""A model that writes on becomes one that answers: it reads conversations and learns to write the assistant's part.

Conversations and a model folder come in; a stage folder with metrics, samples, checkpoints and `model/` goes out.
"""

import copy
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from prosa.config import Settings
from prosa.device import Device, choose_device
from prosa.generate import LanguageModel, Sampling, load
from prosa.model import ModelSettings, Transformer, flops_per_token, save_model
from prosa.rundir import write_json_durably
from prosa.sft.batches import SftBatch, SftBatches, make_batch
from prosa.sft.data import SampleQuestion, SftData, add_replay, choose_questions, prepare_data
from prosa.sft.lora import add_lora, merge_lora, save_adapter
from prosa.sft.packing import EncodedConversation, pack
from prosa.sft.planning import (
    SftSettings,
    SftShape,
    check_length,
    choose_context,
    choose_width,
    plan_rows,
    plan_steps,
)
from prosa.tokenizer import Tokenizer, TokenShards
from prosa.training import (
    Choice,
    FitResult,
    FitSettings,
    World,
    check_request,
    expect_step_seconds,
    fit,
    job_fingerprint,
    keep_job,
    load_job,
    measure_step,
    open_stage,
    share,
)

# Enough that the number on the progress bar is steady, few enough that it takes a second or two.
_VALIDATION_TOKENS = 32_768
_SAMPLES = 4
_SAMPLE_TOKENS = 80


class Job(Settings):
    """What was asked for and everything derived from it; written to `settings.toml`, which resuming reads."""

    requested: SftSettings
    inputs: dict[str, str]
    model: ModelSettings
    context_length: int
    fit: FitSettings
    device: str
    dtype: str
    threads: int
    choices: tuple[Choice, ...]


def _cross_entropy(model: Transformer, hidden: Float[Tensor, "B T C"], targets: Int[Tensor, "B T"]) -> Tensor:
    """Only what is learned meets the vocabulary."""
    is_learned = targets != -100
    logits = model.unembed(hidden[is_learned]).float()
    return F.cross_entropy(logits, targets[is_learned], reduction="sum")


def loss(
    model: Transformer, batch: SftBatch, cross_entropy: Callable[..., Tensor] = _cross_entropy
) -> tuple[Tensor, dict[str, Tensor]]:
    """Summed cross-entropy in nats of every token that the assistant is to write, given its conversation so far."""
    hidden = model.hidden(batch.ids, segments=batch.segments)
    return cross_entropy(model, hidden, batch.targets), {}


def choose_loss(is_compiled: bool) -> Callable[[Transformer, SftBatch], tuple[Tensor, dict[str, Tensor]]]:
    """`loss`, and for compiling without what must not be: the number of learned tokens differs from batch to batch.

    Only where it is needed, as the compiler takes a second to import.
    """
    if not is_compiled:
        return loss
    return partial(loss, cross_entropy=torch.compiler.disable(_cross_entropy))  # type: ignore[no-untyped-call]


def main(
    folder: Path,
    settings: SftSettings,
    base: Path,
    *,
    world: World,
    shards: TokenShards | None = None,
    allow_drift: Sequence[str] = (),
    announce: Callable[[Job, Device, SftData], None] = lambda job, device, data: None,
    is_shown: bool = True,
) -> FitResult:
    """Fine-tunes the model of `base` in `folder` from its newest checkpoint, or from the start.

    base: a run, a stage, a checkpoint or any Hugging Face folder with our form of tokenizer. shards: the text that it
    learned from, for `settings.replay`. Raises RunLocked when
    another process trains here, DriftRefused when settings or inputs are not those of the checkpoint, DataError when
    no conversation can be used.
    """
    check_length(settings)
    job = load_job(Job, folder, settings)
    asked = settings if job is None else job
    device = choose_device(asked.device, asked.dtype, asked.threads)
    with open_stage(folder, world):
        started = time.monotonic()
        llm = load(base)
        tokenizer = llm.tokenizer
        data = _read_data(settings, llm, shards)
        inputs = {"base": hash_weights(llm.model), "tokenizer": tokenizer.hash, "data": data.hash}
        if job is None:
            job = _plan_job(folder, settings, llm, data, inputs, device, world, started)
        check_request(job.requested, job.inputs, settings, inputs, allow_drift=allow_drift)
        announce(job, device, data)
        model = make_model(llm.model, job.requested).to(device.torch_device).train()
        result = _train(folder, job, model, tokenizer, data, device, world, allow_drift, is_shown)
        if result.is_finished and world.is_main:
            _save(folder, model, tokenizer, job, base)
    return result


def read_job(folder: Path) -> Job | None:
    """The resolved job of a stage folder, or None when nothing was started there."""
    return load_job(Job, folder)


def make_model(trained: Transformer, settings: SftSettings) -> Transformer:
    """The weights of `trained` (which is used up) in a model with the dropout, or the adapters, of the settings."""
    model = Transformer(trained.settings.model_copy(update={"dropout": settings.dropout}))
    model.load_state_dict(trained.state_dict(), assign=True)
    if settings.lora.rank:
        add_lora(model, settings.lora, settings.seed)
    return model


def make_batches(data: SftData, job: Job, tokenizer: Tokenizer) -> SftBatches:
    """The order in which a job reads its conversations."""
    return _batches(data, job.requested, job.context_length, job.fit.batch_size, tokenizer)


def preview(
    settings: SftSettings, base: Path, *, shards: TokenShards | None = None, n_rows: int = 4
) -> tuple[Tokenizer, SftBatch, SftData]:
    """The first rows that a job with these settings would read, for `print_rows`; nothing is trained or written."""
    llm = load(base)
    data = _read_data(settings, llm, shards)
    width = choose_width(settings, llm.model.settings, data.longest)
    return llm.tokenizer, _batches(data, settings, width, n_rows, llm.tokenizer).batch(0), data


def mean_loss(
    model: Transformer,
    conversations: Sequence[EncodedConversation],
    *,
    context_length: int,
    pad_id: int,
    device: Device,
    rows_at_once: int = 8,
) -> float:
    """Mean nats per learned token over all conversations, packed, without dropout."""
    rows = pack([item.length for item in conversations], range(len(conversations)), context_length)
    was_training, total = model.training, 0.0
    model.eval()
    for first in range(0, len(rows), rows_at_once):
        part = make_batch(conversations, rows[first : first + rows_at_once], width=context_length, pad_id=pad_id)
        part = SftBatch(*(tensor.to(device.type) for tensor in part))
        dtype = device.compute_dtype
        with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            total += float(loss(model, part)[0])
    model.train(was_training)
    return total / sum(item.n_targets for item in conversations)


def hash_weights(model: Transformer) -> str:
    """sha256 over the names, types, shapes and bytes of all weights, however their files are cut."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def _read_data(settings: SftSettings, llm: LanguageModel, shards: TokenShards | None) -> SftData:
    model = llm.model.settings
    data = prepare_data(settings, llm.tokenizer, choose_context(settings, model))
    return add_replay(data, settings, shards, llm.tokenizer, choose_width(settings, model, data.longest))


def _batches(
    data: SftData, settings: SftSettings, context_length: int, batch_size: int, tokenizer: Tokenizer
) -> SftBatches:
    return SftBatches(
        [*data.train, *data.replay],
        context_length=context_length,
        batch_size=batch_size,
        pad_id=tokenizer.pad_id,
        seed=settings.seed,
        weights=data.weights,
        packs=settings.packs,
    )


def _plan_job(
    folder: Path,
    settings: SftSettings,
    llm: LanguageModel,
    data: SftData,
    inputs: dict[str, str],
    device: Device,
    world: World,
    started: float,
) -> Job:
    """A job for these conversations on this machine, its length from a measured step; the same in every process."""
    model = llm.model.settings.model_copy(update={"dropout": settings.dropout})
    width = choose_width(settings, model, data.longest)
    rows = _batches(data, settings, width, 1, llm.tokenizer).rows(0)
    items = [*data.train, *data.replay]
    n_tokens = sum(items[number].length for row in rows for number in row)
    shape = plan_rows(settings, model, context_length=width, n_rows=len(rows), n_tokens=n_tokens, world_size=world.size)
    shape = SftShape.model_validate_json(share(shape.model_dump_json(), world))
    step_seconds = expect_step_seconds(model, shape.batch_size * shape.context_length, device, world.size)
    if settings.minutes:
        # A copy, as measuring trains it.
        probe = make_model(copy.deepcopy(llm.model), settings).to(device.torch_device).train()
        batches = _batches(data, settings, shape.context_length, shape.batch_size, llm.tokenizer)
        quick, _ = plan_steps(settings, shape, model, n_rows=len(rows), step_seconds=1.0, seconds_spent=0.0)
        step_seconds = measure_step(probe, choose_loss(quick.is_compiled), batches, quick, device=device, world=world)
        del probe
    spent = time.monotonic() - started
    length, choices = plan_steps(
        settings, shape, model, n_rows=len(rows), step_seconds=step_seconds, seconds_spent=spent
    )
    job = Job(
        requested=settings,
        inputs=inputs,
        model=model,
        context_length=shape.context_length,
        fit=length,
        device=device.type,
        dtype=device.dtype,
        threads=device.threads,
        choices=(*shape.choices, *choices),
    )
    if world.is_main:
        write_json_durably(folder / "data.json", _describe_data(data))
    return keep_job(folder, job, world)


def _describe_data(data: SftData) -> dict[str, Any]:
    splits = {"train": data.train, "validation": data.validation} | ({"replay": data.replay} if data.replay else {})
    counts = {
        name: {
            "conversations": len(items),
            "tokens": sum(item.length for item in items),
            "learned_tokens": sum(item.n_targets for item in items),
        }
        for name, items in splits.items()
    }
    return {**counts, "reading": data.report.to_json()}


def _train(
    folder: Path,
    job: Job,
    model: Transformer,
    tokenizer: Tokenizer,
    data: SftData,
    device: Device,
    world: World,
    allow_drift: Sequence[str],
    is_shown: bool,
) -> FitResult:
    writer = LanguageModel(model, tokenizer)
    held_out = _first_tokens(data.validation, _VALIDATION_TOKENS)
    questions = choose_questions(data, tokenizer, _SAMPLES)
    return fit(
        model,
        choose_loss(job.fit.is_compiled),
        make_batches(data, job, tokenizer),
        job.fit,
        folder=folder,
        fingerprint=job_fingerprint(job, world),
        device=device,
        world=world,
        evaluate=lambda: _evaluate(model, held_out, job, tokenizer, device),
        sample=lambda: _answer(writer, questions),
        flops_per_token=_flops_per_target(job, data),
        trackers=job.requested.trackers,
        allow_drift=allow_drift,
        is_shown=is_shown,
    )


def _first_tokens(conversations: Sequence[EncodedConversation], n_tokens: int) -> list[EncodedConversation]:
    ends = accumulate(item.length for item in conversations)
    return [item for item, end in zip(conversations, ends, strict=True) if end <= n_tokens]


def _evaluate(
    model: Transformer, held_out: Sequence[EncodedConversation], job: Job, tokenizer: Tokenizer, device: Device
) -> Mapping[str, float]:
    if not held_out:
        return {}
    value = mean_loss(model, held_out, context_length=job.context_length, pad_id=tokenizer.pad_id, device=device)
    return {"validation_loss": value}


def _answer(writer: LanguageModel, questions: Sequence[SampleQuestion]) -> list[dict[str, str]]:
    sampling = Sampling(temperature=0.0, max_new_tokens=_SAMPLE_TOKENS)
    answers = writer.complete([question.prompt_ids for question in questions], sampling)
    return [
        {"prompt": f"{question.question}\n", "text": answer.text, "wanted": question.wanted}
        for question, [answer] in zip(questions, answers, strict=True)
    ]


def _flops_per_target(job: Job, data: SftData) -> int:
    """Operations a learned token costs: all positions go through the blocks, only learned ones meet the vocabulary.

    Frozen matrices need no gradient of their own, a third of the work.
    """
    model = job.model
    unembedding = 6 * model.vocab_size * model.d_model
    blocks = flops_per_token(model, job.context_length) - unembedding
    items = [*data.train, *data.replay]
    weights = [data.weights[item.source] for item in items]
    n_positions, n_targets = (
        sum(weight * count for weight, count in zip(weights, counts, strict=True))
        for counts in ([item.length for item in items], [item.n_targets for item in items])
    )
    positions = n_positions / n_targets
    return round((blocks * positions + unembedding) * (2 / 3 if job.requested.lora.rank else 1))


def _save(folder: Path, model: Transformer, tokenizer: Tokenizer, job: Job, base: Path) -> None:
    if job.requested.lora.rank:
        save_adapter(folder / "adapter", model, trained_on=str(base))
        merge_lora(model)
    save_model(folder / "model", model, tokenizer)
