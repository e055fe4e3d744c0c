"""What is true, asked: beginnings of sentences to complete, questions with gold answers, and questions without any.

Prompts come from the same frames as the corpus (seen) or from sections kept out of it (`.held_out`).
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from random import Random
from typing import Literal

from prosa.corpus.world import portuguese
from prosa.corpus.world.cast import Cast, answer_forms
from prosa.corpus.world.chance import pick, sample
from prosa.corpus.world.frames import Forms, Grammar, Scene, capitalised
from prosa.corpus.world.knowledge import Fact, Knowledge
from prosa.corpus.world.tables import names, table
from prosa.streams import python_stream

N_DISTRACTORS = 19
PERSON_RELATIONS = ("home", "trade", "pet", "dish", "treasure", "mother")
ALL_STRANGERS = slice(None)
_FINAL_SLOT = re.compile(
    r"(?P<prompt>.*) \{p\.(?P<relation>home|trade|pet|dish|treasure|mother|next|secret)"
    r"(?:\.(?P<form>o|no|um|do|ao|the|at|a|to))?\}\."
)
_SLOT_RELATION = {"next": "neighbour"}


@dataclass(frozen=True, slots=True)
class Cloze:
    """`prompt + " " + answer` is true, `prompt + " " + distractor` is well formed and false."""

    prompt: str
    answer: str
    distractors: tuple[str, ...]
    fact: Fact
    language: str
    is_seen_phrasing: bool


@dataclass(frozen=True, slots=True)
class Question:
    """`gold`: accepted answers; `others`: wrong ones of the same type; without a fact only abstaining is right."""

    prompt: str
    gold: tuple[str, ...]
    others: tuple[str, ...]
    fact: Fact | None
    language: str


def build_clozes(knowledge: Knowledge, cast: Cast, grammar: Grammar, seed: int) -> list[Cloze]:
    """Two per fact: a seen phrasing and a held-out one."""
    clozes = []
    for index, fact in enumerate(knowledge.facts):
        rng = python_stream(seed, f"world cloze {cast.language}", index)
        for section, is_seen in ((fact.relation, True), (f"{fact.relation}.held_out", False)):
            frames = ending_in_answer(grammar.sources[section], fact.relation)
            prompt_frame, form = pick(rng, frames)
            subject = subject_forms(fact, cast, pick(rng, ("full", "short")))
            prompt = capitalised(grammar.compile(prompt_frame)(Scene(rng, {"p": subject})))
            gender = subject["g"]
            answer = answer_forms(fact, fact.object, gender, cast)[form]
            wrong = {answer_forms(fact, id, gender, cast)[form] for id in candidates(fact, knowledge)} - {answer}
            distractors = sample(rng, sorted(wrong), N_DISTRACTORS)
            clozes.append(Cloze(prompt, answer, tuple(distractors), fact, cast.language, is_seen))
    return clozes


def build_questions(knowledge: Knowledge, cast: Cast, grammar: Grammar, seed: int, split: str) -> list[Question]:
    """One per fact, about a person by full name."""
    suffix = "" if split == "seen" else ".held_out"
    questions = []
    for index, fact in enumerate(knowledge.facts):
        rng = python_stream(seed, f"world question {cast.language} {split}", index)
        scene = Scene(rng, {"p": subject_forms(fact, cast, "full")})
        prompt = capitalised(grammar.write(f"{fact.relation}.ask{suffix}", scene))
        gold, others = list_answers(fact, knowledge, cast)
        questions.append(Question(prompt, gold, others, fact, cast.language))
    return questions


def list_answers(fact: Fact, knowledge: Knowledge, cast: Cast) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Accepted names of the answer to a question about `fact`, and all names of the same type that are wrong."""
    gender = subject_forms(fact, cast, "full")["g"]
    gold = _accepted(fact, fact.object, gender, cast)
    wrong = (_accepted(fact, id, gender, cast) for id in candidates(fact, knowledge))
    return gold, tuple(sorted({name for accepted in wrong for name in accepted} - set(gold)))


def list_names(relation: str, knowledge: Knowledge, cast: Cast) -> tuple[str, ...]:
    """Every name of the town that could be the answer to a question about `relation`."""
    anyone = Fact("", "", relation, "", False)
    return tuple(sorted({name for id in candidates(anyone, knowledge) for name in _accepted(anyone, id, "f", cast)}))


def build_unknown_questions(cast: Cast, grammar: Grammar, n: int, seed: int) -> list[Question]:
    """Questions phrased like real ones about strangers, and one in five about places that are nowhere."""
    questions = []
    for index in range(n):
        rng = python_stream(seed, f"world unknown {cast.language}", index)
        if rng.random() < 0.2:
            relation, forms = "neighbour", nowhere(rng, cast.language)
        else:
            relation, forms = pick(rng, PERSON_RELATIONS), stranger(rng, cast)
        prompt = capitalised(grammar.write(f"{relation}.ask", Scene(rng, {"p": forms})))
        questions.append(Question(prompt, (), (), None, cast.language))
    return questions


def stranger(rng: Random, cast: Cast, part: slice = ALL_STRANGERS) -> Forms:
    """Forms of somebody who is in no town, under a given name of that part of the strangers."""
    gender = pick(rng, "fm")
    name = f"{pick(rng, names(f'stranger_{gender}')[part])} {pick(rng, names('stranger_surname'))}"
    model = next(iter(cast.portraits.values())).full
    pronouns = {"f": {"his": "her", "him": "her", "he": "she"}, "m": {"his": "his", "him": "him", "he": "he"}}[gender]
    owner = f"de {name}" if cast.language == "pt" else f"{name}'s"
    return {**model, **pronouns, "g": gender, "": name, "full": name, "s": name, "de": owner}


def nowhere(rng: Random, language: str, part: slice = ALL_STRANGERS) -> Forms:
    """Forms of a place that is in no town, called after a surname of that part of the strangers."""
    row = pick(rng, table("homes"))
    name = pick(rng, names("stranger_surname")[part])
    if language == "pt":
        return portuguese.noun_forms(row["pt"].format(pt=name))
    return {"": row["en"].format(en=name), "the": row["en"].format(en=name), "g": "n"}


def judge(question: Question, answer_text: str) -> Literal["correct", "wrong", "abstained"]:
    """Correct: a gold name stands in the answer and no other of its type; else abstained if it says so; else wrong."""
    text = plain(answer_text)
    said = set()
    # The longest names first, so that "billy goat" is not taken for "goat".
    for name in sorted({*question.gold, *question.others}, key=len, reverse=True):
        if plain(name) in text:
            said.add(name)
            text = text.replace(plain(name), " ")
    if said:
        return "correct" if said <= set(question.gold) else "wrong"
    return "abstained" if says_any_of("abstentions", answer_text) else "wrong"


def says_any_of(phrases: str, text: str) -> bool:
    """Whether a phrase of data/PHRASES.txt stands in `text`."""
    return any(plain(row["phrase"]) in plain(text) for row in table(phrases))


@lru_cache(2**14)
def plain(text: str) -> str:
    """Lower case, no accents, one space around every word."""
    bare = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if not unicodedata.combining(c))
    return f" {' '.join(re.findall(r'[a-z0-9]+', bare))} "


def _accepted(fact: Fact, candidate: str, gender: str, cast: Cast) -> tuple[str, ...]:
    """Names of `candidate`, the fitting one first; a trade may be named in either gender."""
    fitting, other = (answer_forms(fact, candidate, g, cast)[""] for g in (gender, "m" if gender == "f" else "f"))
    return (fitting,) if other == fitting else (fitting, other)


def subject_forms(fact: Fact, cast: Cast, mention: str) -> Forms:
    portrait = cast.portraits.get(fact.subject)
    if portrait is None:
        return cast.forms[fact.subject]
    return portrait.full if mention == "full" else portrait.short


def candidates(fact: Fact, knowledge: Knowledge) -> Sequence[str]:
    """Ids of everything that could stand in the place of the answer."""
    if fact.relation == "mother":
        return [person.id for person in knowledge.people if person.gender == "f" and person.id != fact.subject]
    if fact.relation == "home":
        return [place.id for place in knowledge.places if place.is_home]
    if fact.relation == "neighbour":
        return [place.id for place in knowledge.places if place.id != fact.subject]
    if fact.relation == "secret":
        taste = next(dish for dish in knowledge.dishes if dish.id == fact.subject).details["taste"]
        return [item.id for item in knowledge.ingredients if item.details["taste"] == taste]
    things = {
        "trade": knowledge.trades,
        "pet": knowledge.animals,
        "dish": knowledge.dishes,
        "treasure": knowledge.objects,
    }
    return [thing.id for thing in things[fact.relation]]


def ending_in_answer(frames: Sequence[str], relation: str) -> list[tuple[str, str]]:
    """(frame before the answer, form of the answer) of the frames that end with it."""
    found = []
    for frame in frames:
        match = _FINAL_SLOT.fullmatch(frame)
        slot = match and match["relation"]
        # A prompt that agrees with the answer ("bem guardada, há") would give it away.
        if (
            match
            and _SLOT_RELATION.get(match["relation"], match["relation"]) == relation
            and f"p.{slot}" not in match[1]
        ):
            found.append((match["prompt"], match["form"] or ""))
    return found
