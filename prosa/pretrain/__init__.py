"""A random network becomes a base model."""

from prosa.pretrain.train import Job, choose_prompts, loss, main, make_batches, plan, read_job

__all__ = ["Job", "choose_prompts", "loss", "main", "make_batches", "plan", "read_job"]
