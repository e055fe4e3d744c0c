"""The loop that all training stages share: batches, gradients, updates, checks, saving and resuming.

What a stage learns is in its own room: it gives `loss(model, batch)`, which returns the summed loss over what the batch
counts and a dict of further sums. What must be right everywhere is here, once.
"""

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from rich.text import Text
from torch import Tensor, nn

from prosa.checkpoint import check_fingerprint, load_newest, prune_checkpoints, save_checkpoint
from prosa.config import Settings
from prosa.device import Device, FreedMemory, compile_function, seed_everything
from prosa.errors import CheckpointError, TrainingDiverged
from prosa.metrics import MetricsLog, Progress, Trackers
from prosa.training.bar import name_columns, render_sample
from prosa.training.distributed import World, agree, check_batch, sum_gradients, sum_numbers
from prosa.training.optimizers import MuonAdamW, OptimizerSettings, gradient_norm
from prosa.training.schedule import learning_rate_factor
from prosa.training.signals import StopRequest, catch_stop_signals

# A model of any stage, and one stage's batch: a NamedTuple of tensors with rows in front.
Loss = Callable[[Any, Any], tuple[Tensor, dict[str, Tensor]]]
B = TypeVar("B", bound="StageBatch")

_BAD_UPDATES_TO_ROLL_BACK = 3
_ROLLBACKS_TO_GIVE_UP = 3


class FitSettings(Settings):
    """Everything the loop needs to know, in numbers: nothing here is chosen later."""

    steps: int
    batch_size: int
    micro_batch: int
    warmup_steps: int
    cooldown_steps: int
    final_fraction: float = 0.0
    optimizer: OptimizerSettings = OptimizerSettings()
    seed: int = 0
    is_compiled: bool = False
    evaluate_every: int = 100
    sample_every: int = 500
    show_every: int = 1
    save_every: int = 500
    keep_checkpoints: int = 2
    # Steps that belong together: the run is saved, stopped and rolled back between such groups only.
    group_steps: int = 1


class StageBatch(Protocol):
    """Tensors with as many rows each, and the number that the summed loss is divided by: targets, or rankings."""

    def __iter__(self) -> Iterator[Tensor]: ...

    @property
    def n_targets(self) -> float: ...


class BatchSource(Protocol):
    """Where batches come from: any step's can be asked for, in any order."""

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> StageBatch: ...

    def documents(self, step: int) -> list[dict[str, Any]]: ...


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands. The batch of the next step is number `step + skipped_batches`."""

    step: int = 0
    tokens_seen: int = 0
    skipped_batches: int = 0
    bad_updates: int = 0
    bad_updates_in_a_row: int = 0
    rollbacks: int = 0


@dataclass(frozen=True, slots=True)
class FitResult:
    """How a call of `fit` ended: finished, or stopped early by a signal after saving."""

    position: Position
    is_finished: bool
    stopped_by: str
    tokens_per_second: float
    evaluation: Mapping[str, float]


def fit(
    model: nn.Module,
    loss: Loss,
    batches: BatchSource,
    settings: FitSettings,
    *,
    folder: Path,
    fingerprint: Mapping[str, Any],
    device: Device,
    world: World,
    evaluate: Callable[[], Mapping[str, float]],
    sample: Callable[[], Sequence[Mapping[str, Any]]],
    flops_per_token: int,
    trackers: Sequence[str] = (),
    allow_drift: Sequence[str] = (),
    is_shown: bool = True,
    state: dict[str, Any] | None = None,
    until: Callable[[], str] = lambda: "",
) -> FitResult:
    """Trains `model` in place until `settings.steps`, from the newest checkpoint in `folder` if there is one.

    `evaluate` returns numbers (first of them the one the progress bar shows), `sample` returns records to keep.
    state: what else a stage must remember, saved with every checkpoint and put back by it; JSON. until: asked after
    every group of steps, ends the training well when it gives a reason, which is the result's `stopped_by`.
    Raises DriftRefused when the checkpoint was made with another fingerprint, TrainingDiverged when rolling back
    does not help, StorageError when a checkpoint cannot be written.
    """
    check_batch(settings.batch_size, world)
    run = _Run(model, loss, batches, settings, folder, fingerprint, device, world, flops_per_token, state)
    run.resume(allow_drift)
    with (
        catch_stop_signals() as stop,
        Progress("training", settings.steps, is_shown=is_shown and world.is_main) as bar,
        Trackers(trackers if world.is_main else (), folder, resume_step=run.position.step) as tracked,
    ):
        run.open_logs()
        if settings.is_compiled and run.position.step < settings.steps:
            bar.print(Text("compiling the training step; the first time this takes about half a minute", style="dim"))
        return _run_steps(run, bar, tracked, stop, evaluate, sample, until)


def measure_step(
    model: nn.Module,
    loss: Loss,
    batches: BatchSource,
    settings: FitSettings,
    *,
    device: Device,
    world: World,
    n_steps: int = 5,
    least_seconds: float = 0.0,
) -> float:
    """Seconds that a training step takes here, compiled if `settings` says so: the median of some real steps.

    They are `n_steps`, or more until they took `least_seconds`. They change the model; the caller makes it anew.
    """
    run = _Run(model, loss, batches, settings, Path(), {}, device, world, flops_per_token=0)
    run.train_step()
    seconds: list[float] = []
    while len(seconds) < n_steps or sum(seconds) < least_seconds:
        seconds.append(sum_numbers([run.train_step()[1]["seconds"]], world)[0] / world.size)
    # The first ones are a tenth slower, while memory is still asked for.
    late = sorted(seconds[len(seconds) // 3 :])
    return late[len(late) // 2]


def _run_steps(
    run: "_Run",
    bar: Progress,
    tracked: Trackers,
    stop: StopRequest,
    evaluate: Callable[[], Mapping[str, float]],
    sample: Callable[[], Sequence[Mapping[str, Any]]],
    until: Callable[[], str],
) -> FitResult:
    settings = run.settings
    evaluation: Mapping[str, float] = {}
    reason, freed = until(), FreedMemory()
    while run.position.step < settings.steps and not reason:
        numbers, timing = run.train_step()
        freed.give_back()
        step = run.position.step
        is_last = step == settings.steps
        if is_last or step % settings.evaluate_every == 0:
            evaluation = evaluate()
            numbers |= evaluation
        run.log(numbers, timing)
        tracked.write(step, numbers | timing)
        bar.update(step, **name_columns(numbers, evaluation, run.tokens_per_second, run.matmul_share))
        is_between = step % settings.group_steps == 0
        is_stopping = agree(bool(stop), run.world) and is_between
        reason = until() if is_between else ""
        is_saving = is_last or is_stopping or bool(reason) or step % settings.save_every == 0
        if run.is_broken(is_saving):
            run.roll_back(bar)
            continue
        if run.world.is_main and (is_last or step % settings.sample_every == 0):
            for record in sample():
                run.samples.write(step, record)
                if is_last or step % settings.show_every == 0:
                    bar.print(render_sample(step, record))
        if is_saving:
            run.save()
        if is_stopping and not is_last and not reason:
            return FitResult(run.position, False, stop.name, run.tokens_per_second, evaluation)
    run.close_logs()
    return FitResult(run.position, True, reason, run.tokens_per_second, evaluation)


class _Run:
    """The moving parts of one call of `fit`."""

    def __init__(
        self,
        model: nn.Module,
        loss: Loss,
        batches: BatchSource,
        settings: FitSettings,
        folder: Path,
        fingerprint: Mapping[str, Any],
        device: Device,
        world: World,
        flops_per_token: int,
        state: dict[str, Any] | None = None,
    ) -> None:
        self.model, self.batches, self.settings = model, batches, settings
        self.state = {} if state is None else state
        self.folder, self.checkpoints, self.fingerprint = folder, folder / "checkpoints", fingerprint
        self.device, self.world, self.flops_per_token = device, world, flops_per_token
        self.loss: Loss = compile_function(loss) if settings.is_compiled else loss
        self.optimizer = MuonAdamW(model, settings.optimizer, device.compute_dtype)
        self.position = Position()
        self.tokens_per_second = 0.0
        self.metrics: MetricsLog
        self.samples: MetricsLog

    @property
    def matmul_share(self) -> float:
        """Of the measured matmul rate, by the running mean."""
        return self.tokens_per_second * self.flops_per_token / self.device.matmul_flops_per_second

    def resume(self, allow_drift: Sequence[str] = (), report: Callable[[str], None] | None = None) -> None:
        """Takes up the newest checkpoint that verifies, or starts anew when there is none."""
        checkpoint = load_newest(self.checkpoints, report=report or warnings.warn)
        if checkpoint is None:
            return
        check_fingerprint(checkpoint.fingerprint, self.fingerprint, allow_drift=allow_drift)
        parameters = self.trained_parameters()
        saved = checkpoint.tensors["model"]
        if {n: t.shape for n, t in saved.items()} != {n: p.shape for n, p in parameters.items()}:
            raise CheckpointError(f"`{checkpoint.folder}` holds a model of another shape")
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(saved[name])
        self.optimizer.load_state_tensors(checkpoint.tensors["optimizer"])
        self.position = Position(**checkpoint.state["position"])
        self.state |= checkpoint.state.get("stage", {})

    def train_step(self) -> tuple[dict[str, Any], dict[str, float]]:
        """One optimizer step over one batch; an update that is not finite is skipped and reported."""
        started = time.perf_counter()
        settings, position = self.settings, self.position
        number = position.step + position.skipped_batches
        batch = self.batches.batch(number, rank=self.world.rank, world_size=self.world.size)
        sums, n_targets = self._backward(batch)
        sum_gradients(self.model, self.world)
        norm = gradient_norm(self.model)
        mean_loss = sums["loss"] / n_targets
        is_finite = norm - norm == 0.0 and mean_loss - mean_loss == 0.0
        factor = learning_rate_factor(
            position.step + 1,
            steps=settings.steps,
            warmup_steps=settings.warmup_steps,
            cooldown_steps=settings.cooldown_steps,
            final_fraction=settings.final_fraction,
        )
        if is_finite:
            self._clip_gradients(norm)
            self.optimizer.step(factor)
        self.model.zero_grad(set_to_none=True)
        self.position = replace(
            position,
            step=position.step + 1,
            tokens_seen=position.tokens_seen + int(n_targets),
            bad_updates=position.bad_updates + (not is_finite),
            bad_updates_in_a_row=0 if is_finite else position.bad_updates_in_a_row + 1,
        )
        numbers: dict[str, Any] = {name: value / n_targets for name, value in sums.items()}
        numbers |= {"gradient_norm": norm, "learning_rate_factor": factor, "tokens_seen": self.position.tokens_seen}
        if not is_finite:
            ids = [document["id"] for document in self.batches.documents(number)]
            numbers |= {"loss": str(mean_loss), "gradient_norm": str(norm), "skipped_documents": ids}
        return numbers, self._timing(time.perf_counter() - started, int(n_targets))

    def trained_parameters(self) -> dict[str, Tensor]:
        """All but the frozen ones, which a checkpoint need not hold."""
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}

    def _backward(self, batch: StageBatch) -> tuple[dict[str, float], float]:
        """Gradients of the mean loss over all targets of the whole step, of all micro-batches and processes."""
        n_targets = sum_numbers([float(batch.n_targets)], self.world)[0]
        dtype = self.device.compute_dtype
        sums: dict[str, Tensor] = {}
        for index, part in enumerate(split_batch(batch, self.settings.micro_batch)):
            part = type(part)(*(tensor.to(self.device.type) for tensor in part))
            seed_everything(self.settings.seed, "dropout", self.position.step, self.world.rank, index)
            with torch.autocast(self.device.type, dtype, enabled=dtype != torch.float32):
                total, extra = self.loss(self.model, part)
            torch.autograd.backward(total / max(1.0, n_targets))
            for name, value in {"loss": total, **extra}.items():
                sums[name] = sums.get(name, torch.zeros((), device=value.device)) + value.detach().float()
        totals = sum_numbers([float(value) for value in sums.values()], self.world)
        return dict(zip(sums, totals, strict=True)), max(1.0, n_targets)

    def _clip_gradients(self, norm: float) -> None:
        limit = self.settings.optimizer.gradient_clip
        if limit and norm > limit:
            torch._foreach_mul_([p.grad for p in self.model.parameters() if p.grad is not None], limit / norm)

    def _timing(self, seconds: float, n_tokens: int) -> dict[str, float]:
        rate = n_tokens / seconds
        # A running mean that forgets, so that the bar is steady; the compiling first step does not count.
        is_first = self.tokens_per_second == 0.0
        self.tokens_per_second = rate if is_first else 0.9 * self.tokens_per_second + 0.1 * rate
        if self.tokens_per_second < 0.3 * rate:
            self.tokens_per_second = rate
        return {
            "seconds": seconds,
            "tokens_per_second": rate,
            "matmul_share": rate * self.flops_per_token / self.device.matmul_flops_per_second / self.world.size,
        }

    def is_broken(self, is_saving: bool) -> bool:
        """Whether updates keep failing, or weights that are about to be saved are not finite."""
        if is_saving and not all(torch.isfinite(p).all() for p in self.model.parameters()):
            return True
        return self.position.bad_updates_in_a_row >= _BAD_UPDATES_TO_ROLL_BACK

    def roll_back(self, bar: Progress) -> None:
        """Returns to the newest checkpoint and goes on with the batches after the ones that broke the run."""
        broken = self.position
        if broken.rollbacks + 1 >= _ROLLBACKS_TO_GIVE_UP:
            raise TrainingDiverged(
                f"loss or gradients were not finite at step {broken.step}, again after {broken.rollbacks} rollbacks",
                hint="lower optimizer.learning_rate and optimizer.matrix_learning_rate, or set dtype=float32",
            )
        self.position = Position()
        self.optimizer = MuonAdamW(self.model, self.settings.optimizer, self.device.compute_dtype)
        self.resume()
        if self.position.step == 0:
            raise TrainingDiverged(
                f"loss or gradients were not finite in the first {broken.step} steps, before any checkpoint",
                hint="lower optimizer.learning_rate and optimizer.matrix_learning_rate, or set dtype=float32",
            )
        group = self.settings.group_steps
        lost = -(-(broken.step - self.position.step) // group) * group
        self.position = replace(
            self.position,
            skipped_batches=broken.skipped_batches + lost,
            bad_updates=broken.bad_updates,
            rollbacks=broken.rollbacks + 1,
        )
        self.close_logs()
        self.open_logs()
        bar.print(Text(f"rolled back from step {broken.step} to {self.position.step}; {lost} batches are skipped"))

    def save(self) -> None:
        """A checkpoint of this very step, then fewer old ones."""
        if not self.world.is_main:
            return
        self.metrics.sync()
        self.samples.sync()
        save_checkpoint(
            self.checkpoints,
            self.position.step,
            tensors={"model": self.trained_parameters(), "optimizer": self.optimizer.state_tensors()},
            state={"position": asdict(self.position), "stage": self.state},
            fingerprint=self.fingerprint,
        )
        prune_checkpoints(self.checkpoints, self.settings.keep_checkpoints)

    def open_logs(self) -> None:
        if self.world.is_main:
            self.metrics = MetricsLog(self.folder / "metrics.jsonl", resume_step=self.position.step)
            self.samples = MetricsLog(self.folder / "samples.jsonl", resume_step=self.position.step)

    def close_logs(self) -> None:
        if self.world.is_main:
            self.metrics.close()
            self.samples.close()

    def log(self, numbers: Mapping[str, Any], timing: Mapping[str, float]) -> None:
        if self.world.is_main:
            self.metrics.write(self.position.step, numbers, timing=timing)


def split_batch(batch: B, n_rows: int) -> Iterator[B]:
    """The batch in parts of `n_rows` rows, the last with what is left."""
    total = len(next(iter(batch)))
    for first in range(0, total, n_rows):
        yield type(batch)(*(tensor[first : first + n_rows] for tensor in batch))
