"""One step's answers become what is learned from: scored, compared with the reference, turned into advantages.

Answers are written by the policy as it stands when the step begins; everything else follows from them, so a step is a
pure function of (policy, critic, price of KL, seed, step) and nothing of it need be saved.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from prosa.evaluate import distinct_2
from prosa.model import Transformer
from prosa.rl.advantages import compare_in_groups, estimate_advantages, estimate_kl, reward_tokens, whiten
from prosa.rl.policy import ActorCritic, pad_answers, read_answers, read_values
from prosa.rl.rollouts import Answer, EncodedPrompt, write_answers
from prosa.rl.settings import RlSettings
from prosa.rl.worth import Worth, ask_worth
from prosa.sft import EncodedConversation, SftBatches
from prosa.streams import derive_seed, numpy_stream
from prosa.tokenizer import Tokenizer
from prosa.training import World, gather


class RlBatch(NamedTuple):
    """B answers with their prompts. Position t is where the token `targets[t]` was drawn; -100: not by the policy.

    logprobs, reference_logprobs, values: of the step's beginning. weights and value_weights: of each position in the
    loss of the policy and of the critic; counts: what each answer adds to the number that the loss is divided by.
    kept_...: conversations of fine-tuning, learned as there beside the answers so that they are not forgotten.
    """

    ids: Int[Tensor, "B T"]
    targets: Int[Tensor, "B T"]
    logprobs: Float[Tensor, "B T"]
    reference_logprobs: Float[Tensor, "B T"]
    values: Float[Tensor, "B T"]
    advantages: Float[Tensor, "B T"]
    returns: Float[Tensor, "B T"]
    weights: Float[Tensor, "B T"]
    value_weights: Float[Tensor, "B T"]
    counts: Float[Tensor, " B"]
    kl_prices: Float[Tensor, " B"]
    kept_ids: Int[Tensor, "B S"]
    kept_targets: Int[Tensor, "B S"]
    kept_weights: Float[Tensor, " B"]

    @property
    def n_targets(self) -> float:
        return float(self.counts.sum())


@dataclass(frozen=True, slots=True)
class ScoredAnswer:
    """An answer with everything that was found out about it; numbers of each token stand in the order of its ids."""

    answer: Answer
    score: float
    gold: float | None
    reference_logprobs: list[float]
    values: list[float]


@dataclass(slots=True)
class Experience:
    """All answers of one step, and the tensors that its updates are cut from."""

    step: int
    scored: list[ScoredAnswer]
    batch: RlBatch
    rewards: Float[Tensor, "B T"]
    scores: list[float] = field(default_factory=list)


class RolloutBatches:
    """The batches of `fit`: at each step's first update the policy answers anew; the others learn from those answers.

    state: its entry `kl_coefficient` is read when a step begins and adapted when its answers are known; dtype: of the
    matrix products of the critic. Policy and reference always read in float32, so that what lies between them is true.
    """

    def __init__(
        self,
        model: ActorCritic,
        reference: Transformer,
        tokenizer: Tokenizer,
        prompts: Sequence[EncodedPrompt],
        worth: Worth,
        gold: Worth | None,
        settings: RlSettings,
        state: dict[str, Any],
        world: World,
        replay: Sequence[EncodedConversation] = (),
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model, self.reference, self.tokenizer, self.prompts = model, reference, tokenizer, list(prompts)
        self.worth, self.gold, self.settings, self.state, self.world = worth, gold, settings, state, world
        self.dtype = dtype
        self.replay = None
        if replay and settings.replay_coefficient:
            self.replay = SftBatches(
                replay,
                context_length=model.policy.settings.context_length,
                batch_size=self.n_answers // settings.minibatches,
                pad_id=tokenizer.pad_id,
                seed=settings.seed,
                packs=False,
            )
        self.experience: Experience | None = None
        self.seconds = {"answers": 0.0, "scores": 0.0}

    @property
    def n_answers(self) -> int:
        return self.settings.prompts_per_step * self.settings.answers_per_prompt

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> RlBatch:
        """Update number `step`, this process's rows of it: whole prompts, those of like length together."""
        s = self.settings
        number, update = divmod(step, updates_per_step(s))
        if self.experience is None or self.experience.step != number:
            self.experience = self.collect(number)
        epoch, part = divmod(update, s.minibatches)
        order = numpy_stream(s.seed, "order of updates", number, epoch).permutation(s.prompts_per_step)
        size, K = s.prompts_per_step // s.minibatches, s.answers_per_prompt
        lengths = (self.experience.batch.targets != -100).sum(1).view(-1, K).sum(1).tolist()
        prompts = sorted(order[part * size : (part + 1) * size].tolist(), key=lengths.__getitem__)
        rows = (torch.tensor(prompts)[:, None] * K + torch.arange(K)).flatten()
        batch = self._with_replay(RlBatch(*(tensor[rows] for tensor in self.experience.batch)), step, number)
        mine = torch.arange(len(rows)).view(-1, K)[rank::world_size].flatten()
        return RlBatch(*(tensor[mine] for tensor in batch))

    def _with_replay(self, batch: RlBatch, step: int, number: int) -> RlBatch:
        """A conversation beside each answer; a token of theirs counts as one of an answer, times the coefficient."""
        if self.replay is None:
            return batch
        kept, weight = self.replay.batch(step), self.settings.replay_coefficient
        if number < warmup_steps(self.settings):
            weight = 0.0
        weights = torch.full_like(batch.kl_prices, weight * batch.n_targets / max(1, kept.n_targets))
        return batch._replace(kept_ids=kept.ids, kept_targets=kept.targets, kept_weights=weights)

    def documents(self, step: int) -> list[dict[str, Any]]:
        """The prompts of an update's step."""
        number = step // updates_per_step(self.settings)
        return [{"id": prompt.prompt.messages[-1]["content"]} for prompt in self.prompts_of(number)]

    def prompts_of(self, number: int) -> list[EncodedPrompt]:
        """Prompts of a step: all of them in an order of their own, then all again in another."""
        chosen: list[EncodedPrompt] = []
        for place in range(number * self.settings.prompts_per_step, (number + 1) * self.settings.prompts_per_step):
            lap, position = divmod(place, len(self.prompts))
            if not chosen or position == 0:
                order = numpy_stream(self.settings.seed, "order of prompts", lap).permutation(len(self.prompts))
            chosen.append(self.prompts[order[position]])
        return chosen

    def collect(self, number: int) -> Experience:
        """The answers of step `number`, by all processes together."""
        s = self.settings
        started = time.perf_counter()
        answers = write_answers(
            self.model.policy,
            self.tokenizer,
            self.prompts_of(number)[self.world.rank :: self.world.size],
            n=s.answers_per_prompt,
            temperature=s.temperature,
            max_new_tokens=s.max_new_tokens,
            seed=derive_seed(s.seed, "answers", number),
        )
        written = time.perf_counter()
        mine = self._score(answers)
        parts = gather(mine, self.world)
        K = s.answers_per_prompt
        scored = [
            one
            for place in range(s.prompts_per_step)
            for one in parts[place % self.world.size][place // self.world.size * K :][:K]
        ]
        experience = make_experience(number, scored, s, self.state["kl_coefficient"])
        self.seconds["answers"] += written - started
        self.seconds["scores"] += time.perf_counter() - written
        return experience

    def _score(self, answers: list[Answer]) -> list[ScoredAnswer]:
        s = self.settings
        references = read_answers(
            self.reference, answers, temperature=s.temperature, vocab_size=self.tokenizer.vocab_size
        )
        critic = self.model.critic
        if critic is None:
            values = [[0.0] * len(answer.ids) for answer in answers]
        else:
            values = read_values(critic, answers, self.dtype)
        scores = ask_worth(self.worth, answers)
        golds = ask_worth(self.gold, answers) if self.gold else [None] * len(answers)
        return [ScoredAnswer(*one) for one in zip(answers, scores, golds, references, values, strict=True)]


def updates_per_step(settings: RlSettings) -> int:
    return settings.update_epochs * settings.minibatches


def warmup_steps(settings: RlSettings) -> int:
    """The first steps, in which only the critic learns."""
    return settings.critic_warmup if settings.algorithm == "ppo" else 0


def make_experience(number: int, scored: Sequence[ScoredAnswer], s: RlSettings, kl_coefficient: float) -> Experience:
    """Advantages of every token; answers to one prompt stand together."""
    ids, targets = pad_answers([one.answer for one in scored])
    mask = (targets != -100).float()
    logprobs = _fill(targets, [one.answer.logprobs for one in scored])
    references = _fill(targets, [one.reference_logprobs for one in scored])
    values = _fill(targets, [one.values for one in scored])
    scores = [_bounded(one, s) for one in scored]
    in_reward = kl_coefficient if s.kl_in == "reward" else 0.0
    rewards = reward_tokens(torch.tensor(scores), estimate_kl(logprobs, references, s.kl_estimator), mask, in_reward)
    is_kept = torch.tensor([one.answer.is_ended or not s.drops_unended for one in scored]).float()
    learned = mask * is_kept[:, None]
    if s.algorithm == "ppo":
        advantages = estimate_advantages(rewards, values, mask, discount=s.discount, smoothing=s.smoothing)
        returns = advantages + values * mask
        advantages = whiten(advantages, learned)
    else:
        grouped = rewards.sum(1).view(-1, s.answers_per_prompt)
        assert s.advantage
        advantages = compare_in_groups(grouped, s.advantage).view(-1, 1) * mask
        returns = torch.zeros_like(mask)
    lengths = mask.sum(1)
    counts = {"token": lengths, "answer": torch.ones_like(lengths)}.get(
        s.averaging, torch.full_like(lengths, s.max_new_tokens)
    )
    weights = learned / lengths[:, None] if s.averaging == "answer" else learned
    batch = RlBatch(
        ids=ids,
        targets=targets,
        logprobs=logprobs,
        reference_logprobs=references,
        values=values,
        advantages=advantages,
        returns=returns,
        weights=torch.zeros_like(weights) if number < warmup_steps(s) else weights,
        value_weights=weights,
        counts=counts * is_kept,
        kl_prices=torch.full_like(lengths, kl_coefficient if s.kl_in == "loss" else 0.0),
        kept_ids=ids[:, :0],
        kept_targets=ids[:, :0],
        kept_weights=torch.zeros_like(lengths),
    )
    return Experience(number, list(scored), batch, rewards, scores)


def describe(experience: Experience, s: RlSettings) -> dict[str, float]:
    """The step in numbers: means over answers, distances in nats an answer."""
    batch, scored = experience.batch, experience.scored
    mask = batch.targets != -100
    difference = (batch.logprobs - batch.reference_logprobs) * mask
    numbers = {"reward": _mean([one.score for one in scored])}
    golds = [one.gold for one in scored if one.gold is not None]
    if golds:
        numbers["gold"] = _mean(golds)
        # Answers to one prompt are alike; what varies is what is asked.
        of_prompts = torch.tensor(golds).view(-1, s.answers_per_prompt).mean(1)
        numbers["gold_error"] = float(of_prompts.std(correction=0)) / len(of_prompts) ** 0.5
    numbers |= {
        "kl": float(difference.sum(1).mean()),
        "kl_k3": float((estimate_kl(batch.logprobs, batch.reference_logprobs, "k3") * mask).sum(1).mean()),
        "surprise": float(-(batch.logprobs * mask).sum() / mask.sum()),
        "tokens": float(mask.sum(1).float().mean()),
        "ended": _mean([one.answer.is_ended for one in scored]),
        "distinct_2": distinct_2([one.answer.text for one in scored]),
    }
    if s.algorithm == "ppo":
        returns, values = batch.returns[mask], batch.values[mask]
        variance = float(returns.var(correction=0))
        unexplained = float((returns - values).var(correction=0))
        numbers["explained_variance"] = 1 - unexplained / variance if variance else 0.0
    else:
        groups = torch.tensor(experience.scores).view(-1, s.answers_per_prompt)
        numbers["equal_groups"] = float((groups.amax(1) == groups.amin(1)).float().mean())
    return numbers


def token_records(experience: Experience, tokenizer: Tokenizer, rows: Sequence[int]) -> list[dict[str, Any]]:
    """Some answers token by token: reward, KL, advantage and value of each, for `prosa rl --show` and the pages."""
    records = []
    batch = experience.batch
    for row in rows:
        one, at = experience.scored[row], batch.targets[row] != -100
        columns = {
            "reward": experience.rewards[row],
            "kl": batch.logprobs[row] - batch.reference_logprobs[row],
            "advantage": batch.advantages[row],
            "value": batch.values[row],
            "logprob": batch.logprobs[row],
        }
        records.append(
            {
                "prompt": one.answer.prompt.prompt.messages[-1]["content"] + "\n",
                "text": one.answer.text,
                "score": one.score,
                "gold": one.gold,
                "tokens": [tokenizer.decode([id]) for id in one.answer.ids],
                **{name: [round(value, 5) for value in column[at].tolist()] for name, column in columns.items()},
            }
        )
    return records


def _bounded(one: ScoredAnswer, s: RlSettings) -> float:
    score = one.score - (0.0 if one.answer.is_ended else s.unended_penalty)
    return max(-s.score_clip, min(s.score_clip, score)) if s.score_clip else score


def _fill(targets: Int[Tensor, "B T"], of_each: Sequence[Sequence[float]]) -> Float[Tensor, "B T"]:
    """Numbers of each answer's tokens at the positions where they were drawn; 0 elsewhere."""
    filled = torch.zeros(targets.shape)
    filled[targets != -100] = torch.tensor([value for values in of_each for value in values])
    return filled


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
