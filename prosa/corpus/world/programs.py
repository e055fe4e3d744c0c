"""Small Python programs about the town: functions with docstrings, and asserts that hold when they run.

Names and docstrings are Portuguese or English; what the data says of people, places and dishes is true of the town.
"""

from random import Random

from prosa.corpus.world.cast import Cast
from prosa.corpus.world.chance import sample
from prosa.corpus.world.desk import Desk
from prosa.corpus.world.knowledge import Knowledge
from prosa.corpus.world.programs_people import PEOPLE_PROGRAMS
from prosa.corpus.world.programs_things import THING_PROGRAMS


def write_program(rng: Random, knowledge: Knowledge, cast: Cast) -> str:
    """One module of one to three functions on different subjects."""
    desk = Desk(rng, knowledge, cast)
    return "\n\n".join(
        write(desk) for write in sample(rng, (*PEOPLE_PROGRAMS, *THING_PROGRAMS), 1 + int(rng.random() * 3))
    )
