"""The forms of every person and thing of a town in one language, ready for the slots of frames."""

from collections.abc import Mapping
from dataclasses import dataclass

from prosa.corpus.world import english, portuguese
from prosa.corpus.world.frames import Forms
from prosa.corpus.world.knowledge import Fact, Knowledge, Person, Thing

_INFLECTIONS = {
    "pt": (portuguese.noun_forms, portuguese.verb_forms),
    "en": (english.noun_forms, english.verb_forms),
}
_MONTHS = {
    "pt": ("janeiro", "fevereiro", "março", "abril", "maio", "junho", "julho", "agosto", "setembro", "outubro",
           "novembro", "dezembro"),
    "en": ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Portrait:
    """One person's forms as told by full name, by given name and by pronoun, with the relations known of them."""

    full: Forms
    short: Forms
    pronoun: Forms
    relations: tuple[str, ...]
    spoken_relations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cast:
    """Forms by id; a trade has those of a man under its id and those of a woman under `id/f`."""

    language: str
    forms: Mapping[str, Forms]
    portraits: Mapping[str, Portrait]


def build_cast(knowledge: Knowledge, language: str) -> Cast:
    """All forms of `knowledge` in `language`, links flattened: `{p.home.no}`, `{p.trade.tool.o}`."""
    forms: dict[str, Forms] = {}
    things = [*knowledge.ingredients, *knowledge.animals, *knowledge.objects, *knowledge.dishes, *knowledge.trades]
    for thing in things + list(knowledge.places):
        forms[thing.id] = _thing_forms(thing, language)
        if thing.kind == "trade" and language == "pt":
            forms[thing.id + "/f"] = _thing_forms(thing, language) | portuguese.noun_forms(f"a {thing.details['f']}")
    for thing in (*knowledge.dishes, *knowledge.places, *knowledge.events):
        forms[thing.id] = dict(forms.get(thing.id) or _thing_forms(thing, language)) | {
            key: value for name, link in thing.links.items() for key, value in nested(name, forms[link.id]).items()
        }
    portraits = {person.id: _portrait(person, knowledge, forms, language) for person in knowledge.people}
    return Cast(language, forms, portraits)


def nested(name: str, forms: Forms) -> dict[str, str]:
    """`forms` under a longer key: "no" becomes "home.no", "" becomes "home"."""
    return {f"{name}.{key}" if key else name: value for key, value in forms.items()}


def _thing_forms(thing: Thing, language: str) -> dict[str, str]:
    details = thing.details
    noun, verb = _INFLECTIONS[language]
    if language == "pt":
        forms = noun(f"o {thing.pt}" if thing.kind == "trade" else thing.pt)
    else:
        forms = noun(thing.en)
        if thing.kind == "place":
            # A street has no article, so that its name stands for "the" form too.
            forms |= {"the": thing.en, "at": f"{details['at']} {thing.en}", "to": f"to {thing.en}"}
    own = {key[:-3]: value for key, value in details.items() if key.endswith(f"_{language}")}
    for key, inflect in (("tool", noun), ("product", noun), ("kind", noun), ("does", verb)):
        if key in own:
            forms |= nested(key, inflect(own.pop(key)))
    if "colour" in own and language == "pt":
        own["colour"] = portuguese.adjective_forms(own["colour"])[forms["g"]]
    if "month" in details:
        own["month"] = _MONTHS[language][int(details["month"]) - 1]
    if "year" in details:
        own["year"] = details["year"]
    return forms | own


def _portrait(person: Person, knowledge: Knowledge, forms: Mapping[str, Forms], language: str) -> Portrait:
    is_woman = person.gender == "f"
    common: dict[str, str] = {"": person.given, "full": person.name, "g": person.gender, "age": str(person.age)}
    trade = person.trade.id + ("/f" if is_woman and language == "pt" else "")
    links = {"home": person.home.id, "trade": trade, "pet": person.pet.id, "dish": person.dish.id}
    for name, id in (links | {"treasure": person.treasure.id}).items():
        common |= nested(name, forms[id])
    common |= {"pet.name": person.pet_name, "mother": person.mother, "father": person.father, "spouse": person.spouse}
    if language == "pt":
        ele = "ela" if is_woman else "ele"
        common |= {
            "ele": ele,
            "dele": f"d{ele}",
            "lo": "a" if is_woman else "o",
            "age.words": portuguese.number_words(person.age),
        }
        full, short = ({"s": name, "de": f"de {name}"} for name in (person.name, person.given))
        pronoun = {"s": ele, "de": f"d{ele}"}
    else:
        he, him, his = ("she", "her", "her") if is_woman else ("he", "him", "his")
        common |= {"he": he, "him": him, "his": his, "age.words": english.number_words(person.age)}
        full, short = ({"s": name, "de": f"{name}'s"} for name in (person.name, person.given))
        pronoun = {"s": he, "de": his}
    told = [fact for fact in knowledge.facts if fact.subject == person.id]
    common["relations"] = " ".join(fact.relation for fact in told)
    return Portrait(
        common | full, common | short, common | pronoun,
        tuple(fact.relation for fact in told), tuple(fact.relation for fact in told if not fact.is_article_only),
    )  # fmt: skip


def answer_forms(fact: Fact, candidate: str, subject_gender: str, cast: Cast) -> Forms:
    """Forms of `candidate` as an answer to `fact`: a trade agrees with its subject, a mother is a given name."""
    if fact.relation == "mother":
        return cast.portraits[candidate].short
    feminine = f"{candidate}/f"
    return cast.forms[feminine if subject_gender == "f" and feminine in cast.forms else candidate]
