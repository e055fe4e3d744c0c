"""Conversations and answers come in, scores go out: the reward as a plain function, which is what later rooms take."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from prosa.errors import DataError, ModelFileRefused
from prosa.reward.batches import check_pad, encode_answers
from prosa.reward.ensemble import Combine, combine_heads, disagreement
from prosa.reward.folder import RewardFacts, check_reward_tokenizer, load_reward_model, read_facts
from prosa.reward.model import RewardModel, read_features
from prosa.tokenizer import Tokenizer


class RewardFunction:
    """How good answers are, in standard deviations of the reference policy's answers.

    Scores do not depend on the company in which they are asked for, beyond rounding. `n_cut` counts the conversations
    that lost turns at their beginning because the context is too short for them.
    """

    def __init__(
        self,
        model: RewardModel,
        tokenizer: Tokenizer,
        *,
        facts: RewardFacts | None = None,
        combine: Combine = "mean",
        caution: float = 1.0,
        dtype: torch.dtype = torch.float32,
        batch_tokens: int = 16_384,
    ) -> None:
        check_pad(tokenizer)
        if tokenizer.vocab_size > model.settings.vocab_size:
            raise ModelFileRefused(
                f"the tokenizer has {tokenizer.vocab_size} tokens, the reward model {model.settings.vocab_size}",
                hint="they belong to different runs",
            )
        self.model, self.tokenizer, self.facts = model.eval(), tokenizer, facts or RewardFacts()
        self.combine, self.caution, self.dtype, self.batch_tokens = combine, caution, dtype, batch_tokens
        self.n_cut = 0

    @classmethod
    def load(
        cls, folder: Path, *, tokenizer: Tokenizer | None = None, combine: Combine = "mean", device: str = "cpu"
    ) -> "RewardFunction":
        """The reward of a folder. A tokenizer given, as that of a policy, must be the one it was trained with."""
        if tokenizer is not None:
            check_reward_tokenizer(folder, tokenizer)
        model = load_reward_model(folder, device=device)
        return cls(model, tokenizer or Tokenizer.load(folder), facts=read_facts(folder), combine=combine)

    def __call__(self, messages_list: Sequence[Sequence[Mapping[str, str]]], answers: Sequence[str]) -> list[float]:
        """The score of each answer as the next turn of its conversation.

        A conversation too long for the context loses its oldest turns, at a turn's end. Raises DataError, naming them,
        if for some not even the last turn fits.
        """
        return self.score_ids(self._encode(messages_list, answers))

    def score(self, prompt: str, answer: str) -> float:
        """The score of one answer to one message of a user."""
        return self([[{"role": "user", "content": prompt}]], [answer])[0]

    def score_ids(self, sequences: Sequence[Sequence[int]], starts: Sequence[int] | None = None) -> list[float]:
        """The score of each sequence of ids, read at its last one; a rollout need not become text and ids again.

        starts: where the answers begin; neighbours with the same prompt then share it.
        """
        scores = combine_heads(self._head_scores(sequences, starts), self.combine, caution=self.caution)
        return [float(score) for score in scores]

    def head_scores(
        self, messages_list: Sequence[Sequence[Mapping[str, str]]], answers: Sequence[str]
    ) -> list[list[float]]:
        """What each head says of each answer, for choosing what to ask people next."""
        rows: list[list[float]] = self._head_scores(self._encode(messages_list, answers)).tolist()
        return rows

    def disagreement(self, messages_list: Sequence[Sequence[Mapping[str, str]]], answers: Sequence[str]) -> list[float]:
        """Standard deviation over the heads, for each answer."""
        spreads = disagreement(self._head_scores(self._encode(messages_list, answers)))
        return [float(spread) for spread in spreads]

    def probability(self, better: float, worse: float) -> float:
        """How likely people are to prefer an answer with score `better` to one with score `worse`, ties left aside."""
        return 1 / (1 + math.exp(-max(-700.0, min(700.0, (better - worse) / self.facts.temperature))))

    def _head_scores(
        self, sequences: Sequence[Sequence[int]], starts: Sequence[int] | None = None
    ) -> Float[Tensor, "N H"]:
        longest = max(map(len, sequences), default=0)
        if longest > self.model.settings.context_length or not all(map(len, sequences)):
            raise DataError(f"sequences have 1 to {self.model.settings.context_length} ids, found one of {longest}")
        if not sequences:
            return torch.empty(0, self.model.n_members)
        features = read_features(self.model, sequences, starts=starts, dtype=self.dtype, batch_tokens=self.batch_tokens)
        with torch.inference_mode():
            return torch.nn.functional.linear(features, self.model.score.weight.cpu())

    def _encode(self, messages_list: Sequence[Sequence[Mapping[str, str]]], answers: Sequence[str]) -> list[list[int]]:
        if len(messages_list) != len(answers):
            raise DataError(f"{len(messages_list)} conversations but {len(answers)} answers")
        sequences, refused = [], []
        for number, (messages, answer) in enumerate(zip(messages_list, answers, strict=True)):
            encoded = encode_answers(self.tokenizer, messages, [answer], self.model.settings.context_length)
            if encoded is None:
                refused.append(number)
                continue
            (sequence,), n_turns_cut = encoded
            self.n_cut += n_turns_cut > 0
            sequences.append(sequence)
        if refused:
            raise DataError(
                f"{len(refused)} of {len(answers)} answers do not fit with their last turn into the context of "
                f"{self.model.settings.context_length} tokens, the first is number {refused[0]}",
                hint="shorten the answers, or train with a longer context",
            )
        return sequences


def load_reward(path: str | Path) -> RewardFunction:
    """The reward model of a run, of a reward stage, or any folder of one; ModelFileRefused if there is none."""
    folder = Path(path)
    for candidate in (folder / "reward" / "model", folder / "model", folder):
        if (candidate / "config.json").is_file():
            return RewardFunction.load(candidate)
    raise ModelFileRefused(f"`{folder}` holds no reward model", hint="`prosa reward RUN` trains one")
