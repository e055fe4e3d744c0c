"""The policy learns from its reward: it answers, the answers are scored, and likely becomes what scored well.

A fine-tuned model, prompts and a reward come in; a stage folder with metrics, samples, checkpoints and `model/` goes
out. PPO, GRPO and RLOO differ in `experience.py`, where advantages come from; what is learned from them is here.
"""

import copy
import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from prosa.config import Settings
from prosa.device import Device, choose_device
from prosa.errors import ConfigError
from prosa.generate import LanguageModel, load
from prosa.model import ModelSettings, Transformer, count_parameters, flops_per_token, save_model
from prosa.preferences import Prompt
from prosa.reward import check_pad
from prosa.rl.advantages import estimate_kl
from prosa.rl.experience import RlBatch, RolloutBatches, describe, token_records, updates_per_step, warmup_steps
from prosa.rl.invariants import check_answers, check_end, check_ratio, check_reference, check_reload
from prosa.rl.policy import ActorCritic, read_tokens, start_critic, start_policy
from prosa.rl.rollouts import EncodedPrompt, PromptCounts, encode_prompts, write_answers
from prosa.rl.settings import RlSettings
from prosa.rl.watch import find_peak, reason_to_stop, summarize
from prosa.rl.worth import Reward
from prosa.rundir import hash_json, write_json_durably
from prosa.sft import EncodedConversation, hash_weights
from prosa.tokenizer import Tokenizer
from prosa.training import (
    Choice,
    FitResult,
    FitSettings,
    OptimizerSettings,
    World,
    check_request,
    fit,
    job_fingerprint,
    keep_job,
    load_job,
    measure_step,
    open_stage,
)

_DEFAULT_STEPS = 60
_MICRO_BATCH_TOKENS = 8192
_CHECKED_PROMPTS = 32
# Ratios beyond e^20 are already clipped to nothing, and would overflow.
_MAX_LOG_RATIO = 20.0
# Answers of each step kept token by token, of one prompt each, and the steps between those that are shown.
_RECORDS, _SHOW_EVERY = 4, 10


class Job(Settings):
    """What was asked for and everything derived from it; written to `settings.toml`, which resuming reads."""

    requested: RlSettings
    inputs: dict[str, str]
    model: ModelSettings
    fit: FitSettings
    device: str
    dtype: str
    threads: int
    choices: tuple[Choice, ...]


def loss(
    model: ActorCritic, batch: RlBatch, *, settings: RlSettings, vocab_size: int
) -> tuple[Tensor, dict[str, Tensor]]:
    """Summed over tokens by their weights: -min(r A, clip(r) A), the price of KL if paid here, the critic's error.

    r = exp(logprob - old logprob), A the advantage. Schulman et al. 2017 (arXiv:1707.06347), equations 7 and 9; the
    upper clip of DAPO (Yu et al. 2025, arXiv:2503.14476), the dual clip of Ye et al. 2019 (arXiv:1912.09729). Kept
    conversations: Ouyang et al. 2022 (arXiv:2203.02155), equation 2, with fine-tuning's data instead of pre-training's.
    """
    is_written = batch.targets != -100
    weights, advantages, old = (getattr(batch, name)[is_written] for name in ("weights", "advantages", "logprobs"))
    logprobs, entropy = read_tokens(
        model.policy, batch.ids, batch.targets, temperature=settings.temperature, vocab_size=vocab_size
    )
    log_ratio = (logprobs - old).clamp(-_MAX_LOG_RATIO, _MAX_LOG_RATIO)
    ratio = log_ratio.exp()
    gain = clip_gain(ratio, advantages, settings)
    prices = batch.kl_prices[:, None].expand_as(batch.targets)[is_written]
    kl = estimate_kl(logprobs, batch.reference_logprobs[is_written], settings.kl_loss)
    policy_loss = (weights * (prices * kl - gain)).sum()
    total = policy_loss
    metrics = {
        "policy_loss": policy_loss,
        "step_kl": (weights * (torch.expm1(log_ratio) - log_ratio)).sum(),
        "clipped": (weights * ((ratio - 1).abs() > settings.ratio_clip)).sum(),
        "entropy": (weights * entropy).sum(),
    }
    if model.critic is not None:
        values, returns, before = (
            model.critic(batch.ids, is_written),
            batch.returns[is_written],
            batch.values[is_written],
        )
        near = before + (values - before).clamp(-settings.value_clip, settings.value_clip)
        error = torch.maximum((values - returns).square(), (near - returns).square()) / 2
        metrics["value_loss"] = (batch.value_weights[is_written] * error).sum()
        total = total + settings.value_coefficient * metrics["value_loss"]
    if batch.kept_ids.shape[1]:
        read = partial(read_tokens, temperature=1.0, vocab_size=vocab_size)
        kept, _ = read(model.policy, batch.kept_ids, batch.kept_targets)
        kept_weights = batch.kept_weights[:, None].expand_as(batch.kept_targets)[batch.kept_targets != -100]
        metrics["replay_loss"] = -(kept_weights * kept).sum()
        total = total + metrics["replay_loss"]
    return total, metrics


def clip_gain(ratio: Tensor, advantages: Tensor, settings: RlSettings) -> Tensor:
    """What an update gains by each token, bounded so that it gains nothing by going too far."""
    high = 1 + (settings.ratio_clip_high or settings.ratio_clip)
    gain = torch.minimum(ratio * advantages, ratio.clamp(1 - settings.ratio_clip, high) * advantages)
    if settings.dual_clip:
        gain = torch.where(advantages < 0, torch.maximum(gain, settings.dual_clip * advantages), gain)
    return gain


def main(
    folder: Path,
    settings: RlSettings,
    start: Path,
    prompts: Sequence[Prompt],
    open_reward: Callable[[Tokenizer], Reward],
    *,
    replay: Callable[[Tokenizer], Sequence[EncodedConversation]] | None = None,
    world: World | None = None,
    allow_drift: Sequence[str] = (),
    announce: Callable[[Job, Device, PromptCounts], None] = lambda job, device, counts: None,
    is_shown: bool = True,
) -> FitResult:
    """Trains the model of `start` in `folder` from its newest checkpoint, or from the start.

    open_reward: given the policy's tokenizer, what answers are worth; replay: what is not to be forgotten. Raises
    RunLocked when another process trains here, DriftRefused when settings or inputs are not those of the checkpoint,
    DataError for prompts or rewards that cannot be used, and ModelFileRefused, TokenizerError or TrainingDiverged when
    an invariant does not hold.
    """
    world, wanted = world or World(), settings.fill()
    job = load_job(Job, folder, settings)
    asked = settings if job is None else job
    device = choose_device(asked.device, asked.dtype, asked.threads)
    with open_stage(folder, world):
        llm = load(start)
        tokenizer = llm.tokenizer
        check_pad(tokenizer)
        reward = open_reward(tokenizer)
        encoded, counts = encode_prompts(
            tokenizer, prompts, context_length=llm.model.settings.context_length, max_new_tokens=wanted.max_new_tokens
        )
        inputs = {
            "policy": hash_weights(llm.model),
            "tokenizer": tokenizer.hash,
            "prompts": hash_json([list(one.ids) for one in encoded]),
            **reward.inputs,
        }
        kept = replay(tokenizer) if replay is not None and wanted.replay_coefficient else []
        if kept:
            inputs["replay"] = hash_json([[one.ids.tolist(), one.is_target.tolist()] for one in kept])
        state = {"kl_coefficient": wanted.kl_coefficient, "history": []}
        stage = _start_stage(llm, encoded, reward, wanted, state, device, world, kept)
        if job is None:
            _check_all(stage, reward)
        if reward.trunk is not None:
            # What is learned from the scores has no more digits; before a step is measured, as it makes it faster.
            reward.trunk.dtype = device.compute_dtype
        if job is None:
            job = _plan_job(folder, settings, stage, inputs, device, world)
        check_request(job.requested, job.inputs, settings, inputs, allow_drift=allow_drift)
        announce(job, device, counts)
        result = _train(folder, job, stage, device, world, allow_drift, is_shown)
        if result.is_finished and world.is_main:
            _finish(folder, stage, result)
    return result


def read_job(folder: Path) -> Job | None:
    """The resolved job of a stage folder, or None when nothing was started there."""
    return load_job(Job, folder)


def _start_stage(
    llm: LanguageModel,
    prompts: Sequence[EncodedPrompt],
    reward: Reward,
    settings: RlSettings,
    state: dict[str, Any],
    device: Device,
    world: World,
    replay: Sequence[EncodedConversation],
) -> RolloutBatches:
    """Policy, reference and critic as they are before the first step."""
    policy = start_policy(llm.model)
    critic = None
    if settings.algorithm == "ppo":
        trunk, head = llm.model, None
        if reward.trunk is not None:
            trunk, head = reward.trunk.model.trunk, reward.trunk.model.score.weight.mean(0)
        critic = start_critic(trunk, head)
    model = ActorCritic(policy, critic).to(device.torch_device).train()
    reference = copy.deepcopy(policy).eval().requires_grad_(False)
    worths = reward.worth, reward.gold
    dtype = device.compute_dtype
    return RolloutBatches(model, reference, llm.tokenizer, prompts, *worths, settings, state, world, replay, dtype)


def _check_all(stage: RolloutBatches, reward: Reward) -> None:
    """Every invariant, on answers to some prompts by the untrained policy."""
    s, policy, tokenizer = stage.settings, stage.model.policy, stage.tokenizer
    answers = write_answers(
        policy,
        tokenizer,
        stage.prompts[:_CHECKED_PROMPTS],
        n=1,
        temperature=s.temperature,
        max_new_tokens=s.max_new_tokens,
        seed=s.seed,
    )
    check_answers(answers, tokenizer)
    check_end(policy, tokenizer, answers)
    check_ratio(policy, tokenizer, answers, s.temperature)
    check_reference(stage.reference, tokenizer, answers, s.temperature)
    if reward.reload is not None:
        check_reload(reward.worth, reward.reload(), answers)


def _plan_job(
    folder: Path, settings: RlSettings, stage: RolloutBatches, inputs: dict[str, str], device: Device, world: World
) -> Job:
    """The job for this policy on this machine; the same in every process."""
    s = stage.settings
    model, choices = stage.model.policy.settings, []
    n_rows = stage.n_answers // s.minibatches
    if s.prompts_per_step % (s.minibatches * world.size):
        raise ConfigError(
            f"{s.prompts_per_step} prompts a step cannot be shared by {s.minibatches} updates and {world.size} "
            "processes",
            hint="choose prompts_per_step as a multiple of minibatches and processes",
        )
    width = max(len(prompt.ids) for prompt in stage.prompts) + s.max_new_tokens
    micro_batch = s.micro_batch or max(1, min(n_rows // world.size, _MICRO_BATCH_TOKENS // width))
    parameters = count_parameters(model)
    # From the tiny to the large: Ziegler's 124M at 1e-5 lie on it.
    rate = s.learning_rate or round(2e-4 * min(1.5, (1.7e6 / parameters) ** 0.7), 7)
    choices += [
        Choice(
            name="answers",
            value=f"{s.prompts_per_step} x {s.answers_per_prompt} a step",
            reason=f"{updates_per_step(s)} updates of {n_rows} answers",
        ),
        Choice(name="micro_batch", value=str(micro_batch), reason=f"at most {width} tokens a row"),
        Choice(name="learning_rate", value=f"{rate:g}", reason=f"{parameters:,} parameters"),
    ]
    steps, reason = s.steps or _DEFAULT_STEPS, "as given" if s.steps else "by default"
    fit_settings = _fit_settings(s, steps, n_rows, micro_batch, rate)
    if s.minutes:
        seconds = _measure(stage, fit_settings, device, world)
        steps = max(1, int(0.95 * 60 * s.minutes / seconds))
        reason = f"{s.minutes:g} minutes at {seconds:.1f} s a step"
        fit_settings = _fit_settings(s, steps, n_rows, micro_batch, rate)
    choices.append(Choice(name="steps", value=str(steps), reason=reason))
    job = Job(
        requested=settings,
        inputs=inputs,
        model=model,
        fit=fit_settings,
        device=device.type,
        dtype=device.dtype,
        threads=device.threads,
        choices=tuple(choices),
    )
    return keep_job(folder, job, world)


def _fit_settings(s: RlSettings, steps: int, n_rows: int, micro_batch: int, rate: float) -> FitSettings:
    updates = updates_per_step(s)
    n = steps * updates
    warmup = min(n, 2 * updates)
    return FitSettings(
        steps=n,
        batch_size=n_rows,
        micro_batch=micro_batch,
        warmup_steps=warmup,
        cooldown_steps=n - warmup,
        final_fraction=s.final_fraction,
        optimizer=OptimizerSettings(
            matrix_learning_rate=0.0, learning_rate=rate, epsilon=1e-5, gradient_clip=s.gradient_clip
        ),
        seed=s.seed,
        evaluate_every=updates,
        sample_every=updates,
        show_every=_SHOW_EVERY * updates,
        save_every=s.save_every * updates,
        keep_checkpoints=s.keep_checkpoints,
        group_steps=updates,
    )


def _measure(stage: RolloutBatches, settings: FitSettings, device: Device, world: World) -> float:
    """Seconds of a step, on copies of everything that it would change."""
    probe = copy.copy(stage)
    probe.model = copy.deepcopy(stage.model)
    probe.seconds = {"answers": 0.0, "scores": 0.0}
    probe.experience = None
    probe.batch(0)
    learn = partial(loss, settings=stage.settings, vocab_size=stage.tokenizer.vocab_size)
    update = measure_step(probe.model, learn, probe, settings, device=device, world=world, n_steps=3)
    assert probe.experience is not None
    n_collected = probe.experience.step + 1
    return sum(probe.seconds.values()) / n_collected + updates_per_step(stage.settings) * update


def _train(
    folder: Path,
    job: Job,
    stage: RolloutBatches,
    device: Device,
    world: World,
    allow_drift: Sequence[str],
    is_shown: bool,
) -> FitResult:
    s = stage.settings
    watch = _Watch(folder, stage, is_keeping=world.is_main)
    rows = range(0, stage.n_answers, s.answers_per_prompt)[:_RECORDS]
    return fit(
        stage.model,
        partial(loss, settings=s, vocab_size=stage.tokenizer.vocab_size),
        stage,
        job.fit,
        folder=folder,
        fingerprint=job_fingerprint(job, world),
        device=device,
        world=world,
        evaluate=watch.note,
        sample=lambda: [] if stage.experience is None else token_records(stage.experience, stage.tokenizer, rows),
        flops_per_token=flops_per_token(job.model, s.max_new_tokens),
        trackers=s.trackers,
        allow_drift=allow_drift,
        is_shown=is_shown,
        state=stage.state,
        until=watch.reason,
    )


class _Watch:
    """Notes every step's numbers, adapts the price of KL, keeps the policy of the peak, and says when it is past."""

    def __init__(self, folder: Path, stage: RolloutBatches, *, is_keeping: bool) -> None:
        self.folder, self.stage, self.is_keeping = folder, stage, is_keeping

    def note(self) -> dict[str, float]:
        """The numbers of the step whose updates are done; their answers were of the policy before them."""
        stage, s = self.stage, self.stage.settings
        assert stage.experience is not None
        numbers = describe(stage.experience, s)
        history = [*stage.state["history"], {"step": stage.experience.step + 1, **numbers}]
        numbers["kl_coefficient"] = stage.state["kl_coefficient"]
        stage.state["history"] = history
        # Up to there the answers were the reference's own, whatever the price.
        if s.kl_target and stage.experience.step > warmup_steps(s):
            # As Ziegler et al. 2019 (arXiv:1909.08593, section 2.2), but never below 0.
            error = max(-0.2, min(0.2, numbers["kl"] / s.kl_target - 1))
            stage.state["kl_coefficient"] *= math.exp(error * stage.n_answers / s.kl_horizon)
        peak = find_peak(history)
        if s.stops_at_peak and self.is_keeping and peak is not None and peak.step == len(history):
            save_model(self.folder / "peak", stage.model.policy, stage.tokenizer)
        return numbers

    def reason(self) -> str:
        s = self.stage.settings
        return reason_to_stop(self.stage.state["history"], patience=s.patience) if s.stops_at_peak else ""


def _finish(folder: Path, stage: RolloutBatches, result: FitResult) -> None:
    """`model/` is the last policy, or that of the peak where training ended because it was past, and of the start."""
    policy: Transformer = load(folder / "peak").model if result.stopped_by else copy.deepcopy(stage.model.policy)
    with torch.no_grad():
        for mine, first in zip(policy.parameters(), stage.reference.parameters(), strict=True):
            mine.lerp_(first, stage.settings.start_share)
    save_model(folder / "model", policy, stage.tokenizer)
    summary = summarize(stage.state["history"]) | {"stopped_by": result.stopped_by, "seconds": stage.seconds}
    write_json_durably(folder / "course.json", summary)
