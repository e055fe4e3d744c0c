"""What the writers of programs share: a stream, the town, and names in the language of the program."""

from dataclasses import dataclass
from random import Random

from prosa.corpus.world.cast import Cast
from prosa.corpus.world.chance import pick, sample
from prosa.corpus.world.knowledge import Knowledge, Person, Thing


@dataclass(frozen=True, slots=True)
class Desk:
    """What the writers of programs share: a stream, the town, and a choice of words in the language of the names."""

    rng: Random
    town: Knowledge
    cast: Cast

    def say(self, pt: str, en: str) -> str:
        """One of the phrasings, parted by `|`, of the right language."""
        return pick(self.rng, (pt if self.cast.language == "pt" else en).split("|"))

    def number(self, low: int, high: int) -> int:
        return low + int(self.rng.random() * (high - low + 1))

    def people(self, low: int = 3, high: int = 5) -> list[Person]:
        return sample(self.rng, self.town.people, self.number(low, high))

    def name(self, thing: Thing) -> str:
        return self.cast.forms[thing.id][""]

    def names(self, things: tuple[Thing, ...], low: int = 3, high: int = 4) -> list[str]:
        return [self.name(thing) for thing in sample(self.rng, things, self.number(low, high))]
