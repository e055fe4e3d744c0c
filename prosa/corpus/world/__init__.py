"""Vila Prosa, the built-in town: a seed becomes a knowledge base, text about it in two languages, and its truth."""

from prosa.corpus.world.knowledge import RELATIONS, Fact, Knowledge, Person, Thing
from prosa.corpus.world.questions import Cloze, Question
from prosa.corpus.world.rules import Rule
from prosa.corpus.world.settings import WorldSettings, parse_world
from prosa.corpus.world.tasks import TASK_KINDS, TRAIN_SHARES, Task, Verdict
from prosa.corpus.world.town import World, WorldDocument, build_world

__all__ = [
    "RELATIONS",
    "TASK_KINDS",
    "TRAIN_SHARES",
    "Cloze",
    "Fact",
    "Knowledge",
    "Person",
    "Question",
    "Rule",
    "Task",
    "Thing",
    "Verdict",
    "World",
    "WorldDocument",
    "WorldSettings",
    "build_world",
    "parse_world",
]
