"""Rankings of texts become batches of ids: all answers of one prompt are one element, rows of like length together.

What cannot be used is counted with its reason. Which rankings a step sees is a pure function of (seed, data, step).
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from prosa.errors import DataError, TokenizerError
from prosa.preferences import RankedAnswers
from prosa.rundir import hash_json
from prosa.streams import numpy_stream
from prosa.tokenizer import Segment, Tokenizer, render_conversation, render_segments

# Rankings are sorted by length within this many batches of the epoch's random order.
_POOL_BATCHES = 16


class RewardBatch(NamedTuple):
    """P rankings of up to K answers, each answer a row of ids that ends with its `<|im_end|>` at `last`.

    groups: 0 for the best, equal for ties, -1 where there is no answer; weights: of each ranking for each head.
    """

    ids: Int[Tensor, "P K T"]
    last: Int[Tensor, "P K"]
    groups: Int[Tensor, "P K"]
    weights: Float[Tensor, "P H"]

    @property
    def n_targets(self) -> int:
        """Rankings: what the summed loss is divided by."""
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class EncodedRanking:
    """The ranked answers of one ranking as ids, each with the whole conversation before it, and their groups."""

    item_id: str
    sequences: tuple[tuple[int, ...], ...]
    groups: tuple[int, ...]
    weight: float

    @property
    def length(self) -> int:
        return max(map(len, self.sequences))


@dataclass(frozen=True, slots=True)
class RankingCounts:
    """What became of the rankings that were given.

    n_given = n_kept + n_without_order (fewer than two answers ranked, all tied where ties teach nothing, or weight 0)
    + n_too_long (the last turn and an answer exceed the context). Of those kept: n_cut lost turns at their beginning,
    n_with_empty_answer have an answer without text, n_contradicted disagree with another ranking of the same item.
    """

    n_given: int
    n_kept: int
    n_without_order: int
    n_too_long: int
    n_cut: int
    n_with_empty_answer: int
    n_contradicted: int

    def to_json(self) -> dict[str, int]:
        return asdict(self)


def encode_rankings(
    ranked: Sequence[RankedAnswers], tokenizer: Tokenizer, context_length: int, *, uses_ties: bool
) -> tuple[list[EncodedRanking], RankingCounts]:
    """Every ranking that teaches something, as ids; answers that are not ranked are left out."""
    check_pad(tokenizer)
    kept: list[EncodedRanking] = []
    n_without_order = n_too_long = n_cut = n_empty = 0
    contradicted = find_contradictions(ranked)
    n_contradicted = 0
    for number, one in enumerate(ranked):
        order = [(index, group) for group, indices in enumerate(one.ranking.groups) for index in indices]
        if len(order) < 2 or (len(one.ranking.groups) < 2 and not uses_ties) or one.weight == 0:
            n_without_order += 1
            continue
        answers = [one.answers[index] for index, _ in order]
        encoded = encode_answers(tokenizer, one.messages, answers, context_length)
        if encoded is None:
            n_too_long += 1
            continue
        sequences, n_turns_cut = encoded
        n_cut += n_turns_cut > 0
        n_empty += not all(map(str.strip, answers))
        n_contradicted += number in contradicted
        groups = tuple(group for _, group in order)
        kept.append(EncodedRanking(one.item_id, tuple(map(tuple, sequences)), groups, one.weight))
    counts = RankingCounts(len(ranked), len(kept), n_without_order, n_too_long, n_cut, n_empty, n_contradicted)
    return kept, counts


def encode_answers(
    tokenizer: Tokenizer, messages: Sequence[Mapping[str, str]], answers: Sequence[str], context_length: int
) -> tuple[list[list[int]], int] | None:
    """The conversation with each answer as its last turn, up to and with its `<|im_end|>`, and how many turns were cut.

    What is too long for the context loses its oldest turns, all answers the same ones, a system message last of all.
    None if not even the last turn fits.
    """
    parts = [render_conversation(tokenizer, [message])[0] for message in messages]
    opening, _ = render_conversation(tokenizer, [], add_generation_prompt=True)
    endings = [render_segments(tokenizer, [Segment(text), Segment(tokenizer.im_end_id)])[0] for text in answers]
    has_system = bool(messages) and messages[0]["role"] == "system"
    system, turns = (parts[0], parts[1:]) if has_system else ([], parts)
    room = context_length - len(system) - len(opening) - max(map(len, endings))
    first = len(turns)
    while first and len(turns[first - 1]) <= room:
        first -= 1
        room -= len(turns[first])
    if room < 0 or (turns and first == len(turns)):
        return None
    prompt = system + [id for turn in turns[first:] for id in turn] + opening
    return [prompt + ending for ending in endings], first


def check_pad(tokenizer: Tokenizer) -> None:
    """TokenizerError if padding looks like an end: scores would be read, and answers cut, at a wrong place."""
    if tokenizer.pad_id in (tokenizer.end_of_text_id, tokenizer.im_end_id):
        raise TokenizerError(
            f"the tokenizer pads with {tokenizer.pad_id}, which also ends texts",
            hint="give padding an id of its own, as `prosa tokenizer` does",
        )


def find_contradictions(ranked: Sequence[RankedAnswers]) -> set[int]:
    """Numbers of the rankings that put a pair of answers the other way round than another ranking of that item."""
    said: dict[tuple[str, int, int], set[int]] = {}
    for number, one in enumerate(ranked):
        for better, worse in one.ranking.pairs():
            said.setdefault((one.item_id, better, worse), set()).add(number)
    found: set[int] = set()
    for (item_id, better, worse), numbers in said.items():
        opposed = said.get((item_id, worse, better))
        if opposed:
            found |= numbers | opposed
    return found


def expand_pairs(rankings: Sequence[EncodedRanking]) -> list[EncodedRanking]:
    """Every strict pair as a ranking of its own: what trainers that know only pairs make of rankings."""
    pairs = []
    for ranking in rankings:
        n = len(ranking.groups)
        for i in range(n):
            for j in range(n):
                if ranking.groups[i] < ranking.groups[j]:
                    both = (ranking.sequences[i], ranking.sequences[j])
                    pairs.append(EncodedRanking(ranking.item_id, both, (0, 1), ranking.weight))
    return pairs


class RankedBatches:
    """Batches of rankings; `batch(step)` can be asked for any step in any order.

    An epoch is cut into batches of equal size (to one ranking), at most `batch_size`, so each ranking is seen once.
    With several heads, each ranking counts Poisson(1) times for each head, which gives every head a bootstrap sample
    of its own (Oza & Russell 2001, Online Bagging and Boosting).
    """

    def __init__(
        self, rankings: Sequence[EncodedRanking], *, batch_size: int, pad_id: int, seed: int, n_members: int = 1
    ) -> None:
        if not rankings:
            raise DataError("no ranking is left to learn from", hint="rank more answers, or look at what was skipped")
        self.rankings, self.batch_size, self.pad_id, self.seed = rankings, batch_size, pad_id, seed
        self.n_batches = -(-len(rankings) // batch_size)
        self._lengths = np.array([ranking.length for ranking in rankings])
        weights = np.array([ranking.weight for ranking in rankings])
        counts = np.ones((len(rankings), 1), np.int64)
        if n_members > 1:
            counts = numpy_stream(seed, "bootstrap").poisson(1.0, (len(rankings), n_members))
        self._weights = torch.from_numpy(counts * (weights / weights.mean())[:, None]).float()
        self._epochs: dict[int, list[Any]] = {}

    def batch(self, step: int, *, rank: int = 0, world_size: int = 1) -> RewardBatch:
        """The batch of step `step` (from 0), or one rank's share of its rankings."""
        rows = self._rows(step)[rank::world_size]
        return collate([self.rankings[row] for row in rows], self._weights[rows], self.pad_id)

    def documents(self, step: int) -> list[dict[str, Any]]:
        """The items in the batch of step `step`, for reports."""
        return [{"id": self.rankings[row].item_id} for row in self._rows(step)]

    def _rows(self, step: int) -> list[int]:
        number, position = divmod(step, self.n_batches)
        if number not in self._epochs:
            self._epochs = {number: self._draw_epoch(number)}
        rows: list[int] = self._epochs[number][position].tolist()
        return rows

    def _draw_epoch(self, number: int) -> list[Any]:
        stream = numpy_stream(self.seed, "order of rankings", number)
        order = stream.permutation(len(self.rankings))
        pools = np.array_split(order, -(-self.n_batches // _POOL_BATCHES))
        by_length = [pool[np.argsort(self._lengths[pool], kind="stable")] for pool in pools]
        batches = np.array_split(np.concatenate(by_length), self.n_batches)
        return [batches[position] for position in stream.permutation(self.n_batches)]


def collate(rankings: Sequence[EncodedRanking], weights: Float[Tensor, "P H"], pad_id: int) -> RewardBatch:
    """Rankings as one batch, padded to the longest row and the largest K."""
    K = max(len(ranking.groups) for ranking in rankings)
    T = max(ranking.length for ranking in rankings)
    ids = np.full((len(rankings), K, T), pad_id, dtype=np.int64)
    last = np.zeros((len(rankings), K), dtype=np.int64)
    groups = np.full((len(rankings), K), -1, dtype=np.int64)
    for row, ranking in enumerate(rankings):
        groups[row, : len(ranking.groups)] = ranking.groups
        for column, sequence in enumerate(ranking.sequences):
            ids[row, column, : len(sequence)] = sequence
            last[row, column] = len(sequence) - 1
    return RewardBatch(torch.from_numpy(ids), torch.from_numpy(last), torch.from_numpy(groups), weights)


def hash_rankings(ranked: Sequence[RankedAnswers]) -> str:
    """sha256 of everything in the rankings that training depends on, their order included."""
    return hash_json(
        [
            [[[m["role"], m["content"]] for m in one.messages], list(one.answers), one.ranking.groups, one.weight]
            for one in ranked
        ]
    )
