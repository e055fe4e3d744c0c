"""Vila Prosa, the built-in town: a seed becomes a knowledge base, text about it in two languages, and its truth."""

from prosa.corpus.world.knowledge import RELATIONS, Fact, Knowledge, Person, Thing
from prosa.corpus.world.questions import Cloze, Question
from prosa.corpus.world.settings import WorldSettings, parse_world
from prosa.corpus.world.town import World, WorldDocument, build_world

__all__ = [
    "RELATIONS",
    "Cloze",
    "Fact",
    "Knowledge",
    "Person",
    "Question",
    "Thing",
    "World",
    "WorldDocument",
    "WorldSettings",
    "build_world",
    "parse_world",
]
