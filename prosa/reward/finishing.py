"""A trained reward model is made ready for use: normalised, measured on held-out rankings, saved, opened again.

The model and what it was trained on come in; `model/` and `card.json` go out.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from prosa.errors import CheckpointError
from prosa.preferences import RankedAnswers, prompt_hash
from prosa.reward.batches import EncodedRanking, collate, encode_answers
from prosa.reward.card import RewardCard, report_card
from prosa.reward.ensemble import disagreement
from prosa.reward.folder import RewardFacts, load_reward_model, save_reward_model
from prosa.reward.losses import LossSettings, agreement, ranking_loss
from prosa.reward.model import RewardModel, read_features
from prosa.reward.normalisation import Normalisation, normalise
from prosa.rundir import write_json_durably
from prosa.streams import numpy_stream
from prosa.tokenizer import Tokenizer

# A conversation and an answer to it by the reference policy, on which scores are normalised.
Sample = tuple[Sequence[Mapping[str, str]], str]

_REFERENCE_ANSWERS = 1024
_RELOAD_TOLERANCE = 1e-5


def finish(
    folder: Path,
    model: RewardModel,
    tokenizer: Tokenizer,
    train: Sequence[EncodedRanking],
    held_out: Sequence[RankedAnswers],
    references: Sequence[Sample],
    *,
    counts: Mapping[str, int],
    seed: int,
) -> RewardCard | None:
    """Writes `model/` and `card.json` into the stage folder; no card where no held-out ranking has an order.

    Scores are normalised on the references, or without at least two of them on answers trained on. Several samples of
    one prompt make the best-of-n curve. Raises CheckpointError if the saved folder does not give the same scores.
    """
    by_prompt: dict[str, list[list[int]]] = defaultdict(list)
    for messages, answer in references:
        encoded = encode_answers(tokenizer, messages, [answer], model.settings.context_length)
        if encoded is not None:
            by_prompt[prompt_hash(messages)].append(encoded[0][0])
    samples: list[Sequence[int]] = [row for rows in by_prompt.values() for row in rows]
    if len(samples) < 2:
        answers = sorted({sequence for ranking in train for sequence in ranking.sequences})
        chosen = numpy_stream(seed, "reference answers").permutation(len(answers))[:_REFERENCE_ANSWERS]
        samples = [answers[index] for index in chosen]
    normalisation = normalise(model, read_features(model, samples))
    curves = [_scores(model, rows) for rows in by_prompt.values() if len(rows) > 1]
    card = _measure(model, tokenizer, held_out, normalisation, curves)
    temperature = card.calibration.temperature if card else 1 / normalisation.scale
    facts = RewardFacts(temperature, normalisation.to_json(), float(model.tie.detach()))
    save_reward_model(folder / "model", model, tokenizer, facts)
    _check_reload(folder / "model", model, samples[:8])
    record = {"normalisation": normalisation.to_json(), "counts": dict(counts), "card": card and card.to_json()}
    write_json_durably(folder / "card.json", record)
    return card


def evaluate_rankings(
    model: RewardModel, rankings: Sequence[EncodedRanking], settings: LossSettings, tokenizer: Tokenizer
) -> dict[str, float]:
    """Pair accuracy and loss, each the mean over rankings; with several heads also how far they disagree."""
    if not rankings:
        return {}
    found = head_scores(model, [sequence for one in rankings for sequence in one.sequences])  # N H
    batch = collate(rankings, torch.ones(len(rankings), 1), tokenizer.pad_id)
    scores = torch.zeros(batch.groups.shape)
    scores[batch.groups >= 0] = found.mean(1)
    losses = ranking_loss(scores, batch.groups, settings, model.tie.detach().cpu())
    numbers = {
        "validation_pair_accuracy": float(agreement(scores, batch.groups).mean()),
        "validation_loss": float(losses.mean()),
    }
    return numbers | ({"disagreement": float(disagreement(found).mean())} if model.n_members > 1 else {})


def head_scores(model: RewardModel, sequences: Sequence[Sequence[int]]) -> Float[Tensor, "N H"]:
    """What each head says of each sequence, on the CPU."""
    features = read_features(model, sequences)
    return features @ model.score.weight.detach().cpu().T


def _scores(model: RewardModel, sequences: Sequence[Sequence[int]]) -> list[float]:
    scores: list[float] = head_scores(model, sequences).mean(1).tolist()
    return scores


def _measure(
    model: RewardModel,
    tokenizer: Tokenizer,
    held_out: Sequence[RankedAnswers],
    normalisation: Normalisation,
    curves: Sequence[Sequence[float]],
) -> RewardCard | None:
    kept, sequences = [], list[list[int]]()
    for one in held_out:
        encoded = encode_answers(tokenizer, one.messages, one.answers, model.settings.context_length)
        if encoded is not None:
            kept.append(one)
            sequences += encoded[0]
    if not any(one.ranking.pairs() for one in kept):
        return None
    found = iter(_scores(model, sequences))
    scores = [[next(found) for _ in one.answers] for one in kept]
    return report_card(kept, scores, trained_scale=normalisation.scale, samples=curves)


def _check_reload(folder: Path, model: RewardModel, samples: Sequence[Sequence[int]]) -> None:
    saved = head_scores(load_reward_model(folder), samples)
    difference = float((saved - head_scores(model, samples)).abs().max())
    if difference > _RELOAD_TOLERANCE:
        raise CheckpointError(f"`{folder}` gives scores that are off by {difference:.2g} from those of the model saved")
