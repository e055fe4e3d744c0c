"""Annotators that are programs: true scores of an item's answers come in, a noisy or biased judgment goes out.

For tests and for worlds whose truth is known; always named `simulated:...` and marked so in store and report.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from prosa.errors import ConfigError
from prosa.preferences.judgments import Item, Judgment, Ranking
from prosa.streams import derive_seed, numpy_stream

SimulatedKind = Literal["plackett_luce", "length", "position", "random", "ties"]

_PREFIX = "simulated:"


@dataclass(frozen=True, slots=True)
class SimulatedAnnotator:
    """One annotator; `name` gets the prefix `simulated:` if it has none.

    plackett_luce: samples from Plackett-Luce with strengths exp(score / temperature); temperature 0 makes no errors.
    length: the longer the better. position: the earlier shown the better. random: any order. ties: all equal.
    Whatever the kind, a share 2 * `flip_share` of the rankings is in random order instead, so that every pair is
    reversed with probability `flip_share`. Neighbours whose perceived scores differ by at most `tie_margin` tie.
    """

    name: str
    kind: SimulatedKind = "plackett_luce"
    temperature: float = 1.0
    flip_share: float = 0.0
    tie_margin: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.name.startswith(_PREFIX):
            object.__setattr__(self, "name", f"{_PREFIX}{self.name}")
        if self.temperature < 0 or self.tie_margin < 0 or not 0 <= self.flip_share <= 0.5:
            raise ConfigError(
                f"annotator `{self.name}`: temperature {self.temperature}, tie_margin {self.tie_margin}, "
                f"flip_share {self.flip_share}",
                hint="temperature and tie_margin are at least 0, flip_share is between 0 and 0.5",
            )

    def rank(
        self,
        scores: Sequence[float],
        answers: Sequence[str],
        order_shown: Sequence[int] = (),
        *,
        item_id: str = "",
        repeat: int = 0,
    ) -> Ranking:
        """The same ranking whenever annotator, item (without `item_id`: answers) and `repeat` are the same."""
        n = len(answers)
        key = item_id or hashlib.blake2b("\x1f".join(answers).encode(), digest_size=16).hexdigest()
        random = numpy_stream(self.seed, f"{self.name} ranks {key}", repeat)
        if len(scores) != n or sorted(order_shown or range(n)) != list(range(n)):
            raise ConfigError(f"{len(scores)} scores and order {tuple(order_shown)} do not fit {n} answers")
        perceived = self._perceive(scores, answers, order_shown or range(n), random)
        if random.random() < 2 * self.flip_share:
            perceived = random.permutation(n).astype(np.float64)
            return _rank(perceived, 0.0)
        return _rank(perceived, self.tie_margin if self.kind == "plackett_luce" else 0.0)

    def judge(self, item: Item, scores: Sequence[float], *, repeat: int = 0) -> Judgment:
        """A whole judgment, in a random order shown, with a UUID that is the same whenever the judgment is."""
        order_seed = derive_seed(self.seed, f"{self.name} is shown {item.id}", repeat)
        order = numpy_stream(order_seed, "order shown").permutation(len(item.answers)).tolist()
        texts = [answer.text for answer in item.answers]
        named = hashlib.blake2b(f"{self}\x1f{item.id}\x1f{repeat}".encode(), digest_size=16).digest()
        return Judgment(
            uuid=str(uuid.UUID(bytes=named)),
            item_id=item.id,
            annotator=self.name,
            ranking=self.rank(scores, texts, order, item_id=item.id, repeat=repeat),
            order_shown=tuple(order),
            order_seed=order_seed,
            is_simulated=True,
        )

    def _perceive(
        self, scores: Sequence[float], answers: Sequence[str], order_shown: Sequence[int], random: np.random.Generator
    ) -> Float[np.ndarray, " n"]:
        n = len(answers)
        if self.kind == "length":
            return np.array([len(text) for text in answers], np.float64)
        if self.kind == "position":
            perceived = np.empty(n)
            perceived[list(order_shown)] = -np.arange(n)
            return perceived
        if self.kind == "random":
            return random.permutation(n).astype(np.float64)
        if self.kind == "ties":
            return np.zeros(n)
        # The order of score + temperature * Gumbel noise is a sample from Plackett-Luce (Yellott 1977).
        return np.array(scores, np.float64) + self.temperature * random.gumbel(size=n)


def _rank(perceived: Float[np.ndarray, " n"], tie_margin: float) -> Ranking:
    """Best first; a tie goes on as long as each answer is within `tie_margin` of the one before it."""
    groups: list[list[int]] = []
    previous = np.inf
    for index in np.argsort(-perceived, kind="stable").tolist():
        if groups and previous - perceived[index] <= tie_margin:
            groups[-1].append(index)
        else:
            groups.append([index])
        previous = float(perceived[index])
    return Ranking(tuple(map(tuple, groups)))
