"""Logits become text: sampling, a batch of prompts written on together with a KV cache, and what could have come."""

from prosa.generate.engine import Drawn, Row, decode_one_token, make_rows, prefill, write
from prosa.generate.explain import Candidate, ExplainedStep, render_step
from prosa.generate.language_model import Completion, LanguageModel, Score, load
from prosa.generate.sampling import Sampler, Sampling

__all__ = [
    "Candidate",
    "Completion",
    "Drawn",
    "ExplainedStep",
    "LanguageModel",
    "Row",
    "Sampler",
    "Sampling",
    "Score",
    "decode_one_token",
    "load",
    "make_rows",
    "prefill",
    "render_step",
    "write",
]
