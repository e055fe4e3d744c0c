"""What both benchmarks of reinforcement learning ask of a policy: answers, and how far it has gone from its start."""

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prosa.preferences import Prompt
    from prosa.rl import Answer


def ask_policy(
    model: Path, start: Path, prompts: "Sequence[Prompt]", *, max_new_tokens: int, seed: int
) -> "tuple[list[Answer], float]":
    """An answer to each prompt, sampled at temperature 1, and the policy's distance from `start` in nats an answer."""
    from prosa.generate import load
    from prosa.model import load_model
    from prosa.rl import encode_prompts, write_answers
    from prosa.rl.policy import read_answers

    # TRL saves a policy without its tokenizer.
    policy, first = load_model(model), load(start)
    tokenizer, context_length = first.tokenizer, first.model.settings.context_length
    encoded, _ = encode_prompts(tokenizer, prompts, context_length=context_length, max_new_tokens=max_new_tokens)
    answers = write_answers(policy, tokenizer, encoded, n=1, temperature=1.0, max_new_tokens=max_new_tokens, seed=seed)
    before = read_answers(first.model, answers, temperature=1.0, vocab_size=tokenizer.vocab_size)
    return answers, fmean(sum(one.logprobs) - sum(logprobs) for one, logprobs in zip(answers, before, strict=True))
