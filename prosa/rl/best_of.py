"""The simplest way to follow a reward: write many answers, keep the best, and learn to write like that.

Prompts come in; conversations whose answers the reward likes best go out, for `prosa.sft` to learn from (rejection
fine-tuning; Touvron et al. 2023, arXiv:2307.09288, section 3.2.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prosa.generate import LanguageModel
from prosa.preferences import Prompt
from prosa.rl.rollouts import Answer, encode_prompts, write_answers
from prosa.rl.worth import Worth, ask_worth


@dataclass(frozen=True, slots=True)
class BestAnswer:
    """The best of `n` answers to a prompt, its score, and the mean score of all of them."""

    answer: Answer
    score: float
    mean_score: float

    def to_conversation(self) -> dict[str, Any]:
        """A record that `prosa.sft` reads."""
        messages = [*self.answer.prompt.prompt.messages, {"role": "assistant", "content": self.answer.text.strip()}]
        return {"messages": messages, "language": self.answer.prompt.prompt.language}


def choose_best(
    llm: LanguageModel,
    prompts: Sequence[Prompt],
    worth: Worth,
    *,
    n: int = 16,
    temperature: float = 1.0,
    max_new_tokens: int = 48,
    seed: int = 0,
) -> list[BestAnswer]:
    """The best of `n` sampled answers to each prompt that has one that ends and has text; the first of equals."""
    encoded, _ = encode_prompts(
        llm.tokenizer, prompts, context_length=llm.model.settings.context_length, max_new_tokens=max_new_tokens
    )
    answers = write_answers(
        llm.model,
        llm.tokenizer,
        encoded,
        n=n,
        temperature=temperature,
        max_new_tokens=max_new_tokens,
        seed=seed,
    )
    scores = ask_worth(worth, answers)
    best = []
    for first in range(0, len(answers), n):
        ended = [i for i in range(first, first + n) if answers[i].is_ended and answers[i].text.strip()]
        if ended:
            chosen = max(ended, key=scores.__getitem__)
            best.append(BestAnswer(answers[chosen], scores[chosen], sum(scores[first : first + n]) / n))
    return best
