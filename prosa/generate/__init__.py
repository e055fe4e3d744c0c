"""Logits become text: sampling, a batch of prompts written on with a KV cache, chat, and what could have come."""

from prosa.generate.chat import check_messages
from prosa.generate.engine import Drawn, Row, decode_one_token, make_rows, prefill, write
from prosa.generate.explain import Candidate, ExplainedStep, render_step
from prosa.generate.language_model import Completion, LanguageModel, Score, load, newest_stage
from prosa.generate.sampling import Sampler, Sampling
from prosa.generate.scheduler import Request, Scheduler, Written
from prosa.generate.terminal_chat import chat_in_terminal, strip_controls
from prosa.generate.threads import choose_threads

__all__ = [
    "Candidate",
    "Completion",
    "Drawn",
    "ExplainedStep",
    "LanguageModel",
    "Request",
    "Row",
    "Sampler",
    "Sampling",
    "Scheduler",
    "Score",
    "Written",
    "chat_in_terminal",
    "check_messages",
    "choose_threads",
    "decode_one_token",
    "load",
    "make_rows",
    "newest_stage",
    "prefill",
    "render_step",
    "strip_controls",
    "write",
]
