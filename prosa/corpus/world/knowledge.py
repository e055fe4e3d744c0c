"""From a seed to everything that is true in the town: its people, places and things, and the facts that join them."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from random import Random

from prosa.corpus.world.chance import deal, pick, sample, shuffled
from prosa.corpus.world.settings import WorldSettings
from prosa.corpus.world.tables import names, table
from prosa.streams import python_stream

RELATIONS = ("home", "trade", "pet", "dish", "treasure", "mother", "neighbour", "secret")
_ARTICLE_ONLY_SHARE = 0.15


@dataclass(frozen=True, slots=True)
class Thing:
    """A place, trade, animal, dish, ingredient, object or event; `pt` and `en` name it as the tables do."""

    id: str
    kind: str
    pt: str
    en: str
    details: Mapping[str, str] = field(default_factory=dict, hash=False)
    links: "Mapping[str, Thing]" = field(default_factory=dict, hash=False)

    @property
    def is_home(self) -> bool:
        """Whether people live there."""
        return "has_pt" not in self.details and self.kind == "place"


@dataclass(frozen=True, slots=True)
class Person:
    """An adult of the town; parents, spouse and siblings are given names, which are unique."""

    id: str
    given: str
    surname: str
    gender: str
    age: int
    trade: Thing
    home: Thing
    pet: Thing
    pet_name: str
    dish: Thing
    treasure: Thing
    mother: str = ""
    father: str = ""
    spouse: str = ""

    @property
    def name(self) -> str:
        """Given name and surname."""
        return f"{self.given} {self.surname}"


@dataclass(frozen=True, slots=True)
class Fact:
    """`relation` holds between two ids; an article-only fact is never asked or answered in a dialogue."""

    id: str
    subject: str
    relation: str
    object: str
    is_article_only: bool


@dataclass(frozen=True, slots=True)
class Knowledge:
    """Everything that is true in one town."""

    people: tuple[Person, ...]
    places: tuple[Thing, ...]
    trades: tuple[Thing, ...]
    animals: tuple[Thing, ...]
    dishes: tuple[Thing, ...]
    ingredients: tuple[Thing, ...]
    objects: tuple[Thing, ...]
    events: tuple[Thing, ...]
    facts: tuple[Fact, ...]


def build_knowledge(settings: WorldSettings) -> Knowledge:
    """The town of `settings`; only the seed and the sizes matter."""
    seed = settings.seed
    places = _build_places(python_stream(seed, "world places"), settings.n_places)
    trades = _choose(seed, "trades", settings.n_trades)
    animals = _choose(seed, "animals", settings.n_animals)
    ingredients = _choose(seed, "ingredients", len(table("ingredients")))
    dishes = _build_dishes(python_stream(seed, "world dishes"), ingredients, settings.n_dishes)
    objects = _build_objects(python_stream(seed, "world objects"), settings.n_objects)
    events = _build_events(python_stream(seed, "world events"), places, dishes, settings.n_events)
    people = _build_people(
        python_stream(seed, "world people"), settings.n_people, places, trades, animals, dishes, objects
    )
    facts = _build_facts(seed, people, places, dishes, settings.n_relations)
    return Knowledge(people, places, trades, animals, dishes, ingredients, objects, events, facts)


def _choose(seed: int, kind: str, n: int) -> tuple[Thing, ...]:
    rows = sample(python_stream(seed, f"world {kind}"), table(kind), n)
    return tuple(_thing(kind.removesuffix("s"), row) for row in rows)


def _thing(kind: str, row: Mapping[str, str], links: Mapping[str, Thing] | None = None) -> Thing:
    pt = row["pt"] if "pt" in row else row["m"]
    details = {key: value for key, value in row.items() if key not in ("pt", "en")}
    return Thing(
        f"{kind}:{row['en'].partition('/')[0].removeprefix('the ')}", kind, pt, row["en"], details, links or {}
    )


def _build_places(rng: Random, n: int) -> tuple[Thing, ...]:
    """Two in five are public; neighbours are pairs, so that "beside" holds both ways (an odd last home has none)."""
    publics = sample(rng, table("places"), max(2, n * 2 // 5))
    rows = publics + deal(rng, table("homes"), n - len(publics))
    qualifiers = sample(rng, table("qualifiers"), n)
    places = [
        _thing("place", row | {"pt": row["pt"].format(pt=name["pt"]), "en": row["en"].format(en=name["en"]),
                               "year": str(1830 + int(rng.random() * 150))})
        for row, name in zip(rows, qualifiers, strict=True)
    ]  # fmt: skip
    order = [*shuffled(rng, range(n - 1)), n - 1]
    pairs = dict(zip(order[: n // 2], order[n // 2 :], strict=False))
    pairs |= {right: left for left, right in pairs.items()}
    return tuple(
        Thing(place.id, place.kind, place.pt, place.en, place.details, {"next": places[pairs[i]]} if i in pairs else {})
        for i, place in enumerate(places)
    )


def _build_dishes(rng: Random, ingredients: tuple[Thing, ...], n: int) -> tuple[Thing, ...]:
    rows = sample(rng, table("dishes"), n)
    dealt = {
        taste: iter(deal(rng, [item for item in ingredients if item.details["taste"] == taste], n))
        for taste in ("sweet", "savoury")
    }
    return tuple(_thing("dish", row, {"secret": next(dealt[row["taste"]])}) for row in rows)


def _build_objects(rng: Random, n: int) -> tuple[Thing, ...]:
    materials = {row["key"]: row for row in table("materials")}
    objects = []
    for row in sample(rng, table("objects"), n):
        material, colour = materials[pick(rng, row["materials"].split())], pick(rng, table("colours"))
        details = {"material_pt": material["pt"], "material_en": material["en"]}
        details |= {"colour_pt": colour["pt"], "colour_en": colour["en"]}
        objects.append(_thing("object", {"pt": row["pt"], "en": row["en"]} | details))
    return tuple(objects)


def _build_events(rng: Random, places: tuple[Thing, ...], dishes: tuple[Thing, ...], n: int) -> tuple[Thing, ...]:
    rows = sample(rng, table("events"), n)
    venues = deal(rng, [place for place in places if not place.is_home], n)
    return tuple(
        _thing("event", row | {"month": str(1 + int(rng.random() * 12))}, {"place": venue, "dish": dish})
        for row, venue, dish in zip(rows, venues, deal(rng, dishes, n), strict=True)
    )


def _build_people(rng: Random, n: int, places: tuple[Thing, ...], trades: tuple[Thing, ...], animals: tuple[Thing, ...],
                  dishes: tuple[Thing, ...], objects: tuple[Thing, ...]) -> tuple[Person, ...]:  # fmt: skip
    given = {"f": iter(shuffled(rng, names("female"))), "m": iter(shuffled(rng, names("male")))}
    homes = deal(rng, [place for place in places if place.is_home], n)
    dealt = list(
        zip(deal(rng, trades, n), deal(rng, animals, n), deal(rng, dishes, n), deal(rng, objects, n), strict=True)
    )
    pet_names = deal(rng, names("pet"), n)
    people: list[Person] = []
    for family, surname in _families(rng, n):
        parents: dict[str, str] = {}
        for role, gender, age in family:
            i, name = len(people), next(given[gender])
            trade, pet, dish, treasure = dealt[i]
            home = homes[i]
            kin = {}
            if role == "child":
                kin = {"mother": parents["f"], "father": parents["m"]}
            elif role == "spouse":
                kin, home = {"spouse": people[-1].given}, people[-1].home
            if role in ("head", "spouse"):
                parents[gender] = name
            people.append(
                Person(
                    f"person:{name}", name, surname, gender, age, trade, home, pet, pet_names[i], dish, treasure, **kin
                )
            )
    by_spouse = {person.spouse: person.given for person in people if person.spouse}
    return tuple(
        replace(person, spouse=by_spouse[person.given]) if person.given in by_spouse else person for person in people
    )


def _families(rng: Random, n: int) -> list[tuple[list[tuple[str, str, int]], str]]:
    """Families of (role, gender, age) with their surname: a couple and up to three grown children, or one alone."""
    families: list[tuple[list[tuple[str, str, int]], str]] = []
    left, surnames, genders = n, iter(deal(rng, names("surname"), n)), "fm"
    while left:
        n_children = min(1 + int(rng.random() * 3), left - 2)
        if n_children < 1 or rng.random() < 0.2:
            family = [("single", pick(rng, genders), 20 + int(rng.random() * 60))]
        else:
            age = 45 + int(rng.random() * 30)
            family = [("head", "m", age), ("spouse", "f", age - int(rng.random() * 5))]
            oldest = age - 22
            family += [
                ("child", pick(rng, genders), max(18, oldest - 2 * i - int(rng.random() * 2)))
                for i in range(n_children)
            ]
        families.append((family, next(surnames)))
        left -= len(family)
    return families


def _build_facts(seed: int, people: tuple[Person, ...], places: tuple[Thing, ...], dishes: tuple[Thing, ...],
                 n_relations: int) -> tuple[Fact, ...]:  # fmt: skip
    rng = python_stream(seed, "world facts")
    found: list[tuple[str, str, str]] = []
    for person in people:
        found += [(person.id, "home", person.home.id), (person.id, "trade", person.trade.id)]
        found += [(person.id, "pet", person.pet.id), (person.id, "dish", person.dish.id)]
        found.append((person.id, "treasure", person.treasure.id))
        if person.mother:
            found.append((person.id, "mother", f"person:{person.mother}"))
    found += [(place.id, "neighbour", place.links["next"].id) for place in places if "next" in place.links]
    found += [(dish.id, "secret", dish.links["secret"].id) for dish in dishes]
    return tuple(
        Fact(f"{relation}:{subject}", subject, relation, object_, rng.random() < _ARTICLE_ONLY_SHARE)
        for subject, relation, object_ in found
        if relation in RELATIONS[:n_relations]
    )
