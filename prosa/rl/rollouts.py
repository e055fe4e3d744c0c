"""The policy answers prompts: prompts come in, answers with the log-probabilities they were drawn with go out.

Token ids are kept from end to end, an answer is never decoded and encoded again, and each prompt is computed once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from prosa.errors import DataError
from prosa.generate import Sampling, make_rows, write
from prosa.model import Transformer
from prosa.preferences import Prompt
from prosa.tokenizer import Tokenizer, render_conversation

# Rows decoded together: at this size a step of a small model is one of matrix products, no longer of Python.
_ROWS = 256


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt and its ids, up to where the assistant begins to answer."""

    prompt: Prompt
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """What the policy wrote: `ids` end with the stop token if it ended; `text` is without it.

    logprobs: of each id when it was drawn, in nats, under the temperature it was drawn with.
    """

    prompt: EncodedPrompt
    ids: tuple[int, ...]
    text: str
    logprobs: tuple[float, ...]
    is_ended: bool

    @property
    def read(self) -> tuple[int, ...]:
        """What the policy had read when it drew the last token."""
        return (*self.prompt.ids, *self.ids[:-1])


@dataclass(frozen=True, slots=True)
class PromptCounts:
    """What became of the prompts that were given: those without room for an answer are left out."""

    n_given: int
    n_kept: int
    n_too_long: int


def encode_prompts(
    tokenizer: Tokenizer, prompts: Sequence[Prompt], *, context_length: int, max_new_tokens: int
) -> tuple[list[EncodedPrompt], PromptCounts]:
    """Every prompt that leaves room for an answer; DataError if there is none."""
    encoded = [
        EncodedPrompt(prompt, tuple(render_conversation(tokenizer, prompt.messages, add_generation_prompt=True)[0]))
        for prompt in prompts
    ]
    kept = [prompt for prompt in encoded if len(prompt.ids) + max_new_tokens <= context_length]
    if not kept:
        raise DataError(
            f"none of {len(prompts)} prompts can be answered: they leave no room for {max_new_tokens} tokens in a "
            f"context of {context_length}",
            hint="give shorter prompts, or lower max_new_tokens",
        )
    return kept, PromptCounts(len(prompts), len(kept), len(prompts) - len(kept))


def write_answers(
    policy: Transformer,
    tokenizer: Tokenizer,
    prompts: Sequence[EncodedPrompt],
    *,
    n: int,
    temperature: float,
    max_new_tokens: int,
    seed: int,
) -> list[Answer]:
    """`n` answers to each prompt, one prompt's after the other, drawn from the whole distribution of the policy.

    No token is ever ruled out: log-probabilities would then not be those of what was drawn from.
    """
    sampling = Sampling(temperature=temperature, max_new_tokens=max_new_tokens, seed=seed, n=n, when_full="stop")
    ids = [prompt.ids for prompt in prompts]
    rows = make_rows(tokenizer, ids, [sampling] * len(ids), policy.settings.context_length)
    is_plain = temperature == 1.0
    logprobs: dict[int, list[float]] = {id(row): row.logprobs if is_plain else [] for row in rows}
    by_length = sorted(rows, key=lambda row: row.n_prompt)
    for step in write(policy, tokenizer, by_length, keeps_scores=not is_plain, max_rows=_ROWS):
        for drawn in step:
            if drawn.scores is not None:
                logprobs[id(drawn.row)].append(float(drawn.scores.log_softmax(-1)[drawn.id]))
    return [
        Answer(
            prompts[row.prompt_index],
            tuple(row.ids[row.n_prompt :]),
            row.text,
            tuple(logprobs[id(row)]),
            row.finish_reason == "stop",
        )
        for row in rows
    ]
