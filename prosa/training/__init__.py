"""The machine that the training rooms share: batches, loop, optimizers, schedule, planner, processes."""

from prosa.training.batches import Batch, Batches
from prosa.training.distributed import World, gather, join_world, share, wait_for_main
from prosa.training.job import check_request, job_fingerprint, keep_job, load_job, open_stage
from prosa.training.loop import FitResult, FitSettings, Position, fit, measure_step
from prosa.training.optimizers import MuonAdamW, OptimizerSettings, orthogonalize
from prosa.training.planner import (
    Choice,
    Shape,
    TrainingSettings,
    choose_micro_batch,
    choose_momentum,
    expect_step_seconds,
    is_predictable,
    plan_length,
    plan_shape,
    predict_bits,
    predict_memory,
    probe_settings,
)
from prosa.training.schedule import divide_steps, learning_rate_factor

__all__ = [
    "Batch",
    "Batches",
    "Choice",
    "FitResult",
    "FitSettings",
    "MuonAdamW",
    "OptimizerSettings",
    "Position",
    "Shape",
    "TrainingSettings",
    "World",
    "check_request",
    "choose_micro_batch",
    "choose_momentum",
    "divide_steps",
    "expect_step_seconds",
    "fit",
    "gather",
    "is_predictable",
    "job_fingerprint",
    "join_world",
    "keep_job",
    "learning_rate_factor",
    "load_job",
    "measure_step",
    "open_stage",
    "orthogonalize",
    "plan_length",
    "plan_shape",
    "predict_bits",
    "predict_memory",
    "probe_settings",
    "share",
    "wait_for_main",
]
