"""What to show next: items, the judgments so far, an annotator and a seed come in; one item goes out.

A pure function of these, so that a session that was killed goes on as if it had not been.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import permutations

import numpy as np
from jaxtyping import Float
from pydantic import Field

from prosa.config import Settings
from prosa.errors import ConfigError
from prosa.preferences.judgments import Item, Judgment
from prosa.streams import derive_seed, python_stream

# All orders of up to this many answers are enumerated; of more, the information of the first place is taken.
_MAX_ENUMERATED = 5
# A repeated item is shown again after at least this many others.
_REPEAT_GAP = 10


class PairingSettings(Settings):
    """How the items are dealt to annotators."""

    judgments_per_item: int = Field(default=1, ge=1)
    """Annotators who judge an ordinary item."""
    overlap_share: float = Field(default=0.1, ge=0, le=1)
    """Share of the items that several annotators judge, so that agreement can be measured."""
    judgments_per_overlap_item: int = Field(default=3, ge=1)
    """Annotators who judge one of those."""
    gold_every: int = Field(default=0, ge=0)
    """Every how many items one whose ranking is known tests the annotator; 0: such items are like all others."""
    repeat_share: float = Field(default=0.0, ge=0, le=1)
    """Share of the items shown that the same annotator has judged before."""
    seed: int = Field(default=0, ge=0)


def next_item(
    items: Sequence[Item],
    judgments: Sequence[Judgment],
    annotator: str,
    settings: PairingSettings | None = None,
    *,
    information: Mapping[str, float] | None = None,
) -> Item | None:
    """The item that `annotator` judges next, or None when nothing is left for this annotator.

    `judgments` are the effective ones, in order. Every item goes to `judgments_per_item` annotators, an overlap item to
    more; a skipped item does not come back to who skipped it and stays open for others. Overlap items come in one order
    for all annotators, so that opinions meet early, the others in each annotator's own. With `information` by item id
    (`expected_information`) the most informative open item comes first instead: active selection.
    """
    settings = settings or PairingSettings()
    own = [judgment.item_id for judgment in judgments if judgment.annotator == annotator]
    seen = set(own)
    random = python_stream(settings.seed, f"pairing for {annotator}", len(own))
    repeats = random.random() < settings.repeat_share
    share_at_chance = random.random()
    if settings.gold_every and (len(own) + 1) % settings.gold_every == 0:
        gold = [item for item in items if item.gold is not None and item.id not in seen]
        if gold:
            return min(gold, key=lambda item: _order(settings.seed, "gold", item.id))
    if repeats:
        old = set(own[:-_REPEAT_GAP])
        again = [item for item in items if item.id in old and own.count(item.id) == 1]
        if again:
            return min(again, key=lambda item: _order(settings.seed, f"repeat for {annotator}", item.id))
    judged = {(one.item_id, one.annotator) for one in judgments if one.ranking is not None}
    n_judged = Counter(item_id for item_id, _ in judged)
    open_items = [
        item
        for item in items
        if item.id not in seen
        and n_judged[item.id] < judgments_wanted(item, settings)
        and not (settings.gold_every and item.gold is not None)
    ]
    if not open_items:
        return None
    shared = {item.id for item in open_items if is_overlap(item, settings)}
    is_shared = share_at_chance * len(open_items) < len(shared)
    chosen = [item for item in open_items if (item.id in shared) == is_shared]
    purpose = "overlap" if is_shared else f"order of {annotator}"
    gain = information or {}
    return min(chosen, key=lambda item: (-gain.get(item.id, 0.0), _order(settings.seed, purpose, item.id)))


def is_overlap(item: Item, settings: PairingSettings) -> bool:
    """Whether this item is one that several annotators judge: a seeded choice that no other item changes."""
    return _order(settings.seed, "is overlap", item.id) < settings.overlap_share * 2**63


def judgments_wanted(item: Item, settings: PairingSettings) -> int:
    """How many annotators are to judge this item."""
    if is_overlap(item, settings):
        return max(settings.judgments_per_item, settings.judgments_per_overlap_item)
    return settings.judgments_per_item


def expected_information(scores: Float[np.ndarray, "models items K"]) -> Float[np.ndarray, " items"]:
    """Nats that the ranking of each item is expected to tell about which model of the ensemble is right.

    The mutual information between ranking and model, H[mean_m p_m] - mean_m H[p_m], p_m = Plackett-Luce with the
    scores of model m (Houlsby et al., Bayesian active learning by disagreement, 2011). Up to K = 5 the ranking is the
    whole one, beyond it only who comes first, which is a lower bound. nan marks an answer that is not there.
    """
    if scores.ndim != 3:
        raise ConfigError(f"scores have shape {scores.shape}; expected (models, items, answers)")
    there = ~np.isnan(scores).any(0)
    information = np.zeros(scores.shape[1])
    for k in range(2, scores.shape[2] + 1):
        rows = np.flatnonzero(there.sum(1) == k)
        if len(rows):
            kept = np.stack([one[rows][there[rows]].reshape(len(rows), k) for one in scores])
            information[rows] = _mutual_information(_outcome_logprobs(kept))
    return information


def _outcome_logprobs(
    scores: Float[np.ndarray, "n_models n_items k"],
) -> Float[np.ndarray, "models items outcomes"]:
    """Log-probability of every order of the answers, or of every first place where there are too many orders."""
    if scores.shape[2] > _MAX_ENUMERATED:
        return scores - np.logaddexp.reduce(scores, axis=2, keepdims=True)
    orders = []
    for order in permutations(range(scores.shape[2])):
        # left[..., j] = log of the summed strengths of what is still there when place j is filled
        left = np.logaddexp.accumulate(scores[..., order[::-1]], axis=2)[..., ::-1]
        orders.append((scores[..., order] - left).sum(2))
    return np.stack(orders, axis=2)


def _mutual_information(logprobs: Float[np.ndarray, "models items outcomes"]) -> Float[np.ndarray, " items"]:
    probabilities = np.exp(logprobs)
    mean = probabilities.mean(0)
    mixed = -(mean * np.log(np.maximum(mean, 1e-300))).sum(1)
    single = -(probabilities * logprobs).sum(2).mean(0)
    information: Float[np.ndarray, " items"] = np.maximum(mixed - single, 0.0)
    return information


def _order(seed: int, purpose: str, item_id: str) -> int:
    return derive_seed(seed, f"pairing order {purpose} {item_id}")
