"""A random network becomes a base model."""

from prosa.pretrain.train import Job, loss, main, read_job

__all__ = ["Job", "loss", "main", "read_job"]
