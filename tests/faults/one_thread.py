"""Imported by the fork server: torch's thread pool does not survive a fork, so it is never started."""

import torch

torch.set_num_threads(1)
