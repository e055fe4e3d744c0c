"""What must hold before a policy is trained, checked on some answers; else training would fail in silence.

Each check names the mistake that it catches; docs/rl.md tells where others were bitten by it.
"""

from collections.abc import Sequence

import torch

from prosa.errors import ModelFileRefused, TokenizerError, TrainingDiverged
from prosa.model import Transformer
from prosa.rl.policy import pad_answers, read_answers, read_tokens
from prosa.rl.rollouts import Answer
from prosa.rl.worth import Worth, ask_worth
from prosa.tokenizer import Tokenizer, render_conversation

# Nats between the two ways to compute one log-probability: decoding with a cache, and a whole row at once.
_TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.25}
_LEAST_END_PROBABILITY = 1e-7


def check_answers(answers: Sequence[Answer], tokenizer: Tokenizer) -> None:
    """TokenizerError if a prompt is not rendered by the one rule, or an answer has no token to learn from."""
    for answer in answers:
        ids = tuple(render_conversation(tokenizer, answer.prompt.prompt.messages, add_generation_prompt=True)[0])
        if ids != answer.prompt.ids:
            raise TokenizerError("a prompt's ids are not those of its messages", hint="encode prompts anew")
        if not answer.ids or len(answer.ids) != len(answer.logprobs):
            raise TokenizerError("an answer has no tokens, or not one log-probability for each of them")


def check_end(policy: Transformer, tokenizer: Tokenizer, answers: Sequence[Answer]) -> float:
    """The mean probability of the end token where answers were written; ModelFileRefused if it is out of reach."""
    ids, targets = pad_answers(answers)
    ends = torch.where(targets == -100, targets, tokenizer.im_end_id)
    device = policy.unembedding.device
    with torch.no_grad():
        logprobs, _ = read_tokens(
            policy, ids.to(device), ends.to(device), temperature=1.0, vocab_size=tokenizer.vocab_size
        )
    probability = float(logprobs.exp().mean())
    if not probability > _LEAST_END_PROBABILITY:
        raise ModelFileRefused(
            f"the policy gives the end of an answer a probability of {probability:.1e}: its answers would never end",
            hint="start from a fine-tuned model: `prosa sft` teaches it to end",
        )
    return probability


def check_ratio(policy: Transformer, tokenizer: Tokenizer, answers: Sequence[Answer], temperature: float) -> float:
    """The largest difference, in nats, between log-probabilities when drawn and when learned from.

    The first update's ratio is exp of it and must be 1. TrainingDiverged if it is not: positions, masks or the
    temperature then differ between writing and learning.
    """
    differences = _differences(policy, tokenizer, answers, temperature)
    largest = max(map(abs, differences))
    if not largest < _TOLERANCE.get(policy.unembedding.dtype, 0.25):
        raise TrainingDiverged(
            f"a token's log-probability was one when it was drawn and is another now, by {largest:.3g} nats: "
            "the first update's ratio would not be 1",
            hint="this is a mistake of ours, please report it; dtype=float32 may avoid it",
        )
    return largest


def check_reference(
    reference: Transformer, tokenizer: Tokenizer, answers: Sequence[Answer], temperature: float
) -> float:
    """The mean distance from the reference, in nats a token, of a policy that was not trained yet; it must be 0."""
    differences = _differences(reference, tokenizer, answers, temperature)
    mean = sum(differences) / len(differences)
    if not abs(mean) < _TOLERANCE.get(reference.unembedding.dtype, 0.25):
        raise ModelFileRefused(
            f"the reference is not the model that training starts from: {mean:.3g} nats a token apart",
            hint="leave the reference out, so that it is a copy of the policy",
        )
    return mean


def check_reload(worth: Worth, reloaded: Worth, answers: Sequence[Answer]) -> None:
    """ModelFileRefused if the reward model, loaded again, gives other scores: a head that was not saved, for one."""
    before, after = ask_worth(worth, answers), ask_worth(reloaded, answers)
    largest = max(abs(a - b) for a, b in zip(before, after, strict=True))
    if not largest < 1e-4:
        raise ModelFileRefused(
            f"the reward model gives other scores when it is loaded again, by up to {largest:.3g}",
            hint="train it again: `prosa reward`",
        )


def _differences(
    model: Transformer, tokenizer: Tokenizer, answers: Sequence[Answer], temperature: float
) -> list[float]:
    found = read_answers(model, answers, temperature=temperature, vocab_size=tokenizer.vocab_size)
    return [
        drawn - now
        for answer, row in zip(answers, found, strict=True)
        for drawn, now in zip(answer.logprobs, row, strict=True)
    ]
