"""Small Python programs about the town: functions with docstrings and asserts that hold, in pt or en."""

from random import Random

from prosa.corpus.world.chance import pick, sample
from prosa.corpus.world.knowledge import Knowledge


def write_program(rng: Random, knowledge: Knowledge, language: str) -> str:
    """One module of one to three functions."""
    people = sample(rng, knowledge.people, 4)
    ages = {person.given: person.age for person in people}
    oldest = max(ages, key=lambda name: ages[name])
    if language == "pt":
        name, doc, arg = (
            pick(rng, ("mais_velho", "pessoa_mais_velha")),
            "Devolve o nome da pessoa mais velha.",
            "idades",
        )
    else:
        name, doc, arg = pick(rng, ("oldest", "oldest_person")), "Return the name of the oldest person.", "ages"
    return f'def {name}({arg}):\n    """{doc}"""\n    return max({arg}, key={arg}.get)\n\n\n{arg} = {ages!r}\nassert {name}({arg}) == {oldest!r}\n'
