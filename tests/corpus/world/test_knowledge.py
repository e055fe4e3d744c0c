import pytest

from prosa.corpus.world import RELATIONS, WorldSettings, build_world, parse_world
from tests.corpus.world.towns import full_town, small_town


def test_sizes_are_those_of_the_settings() -> None:
    known, settings = full_town().knowledge, WorldSettings()
    assert len(known.people) == settings.n_people == 150
    assert len(known.places) == settings.n_places == 60
    assert [len(known.trades), len(known.animals), len(known.dishes), len(known.objects)] == [40] * 4
    assert {fact.relation for fact in known.facts} == set(RELATIONS)
    assert len(RELATIONS) == 8


def test_names_and_ids_are_unique() -> None:
    known = full_town().knowledge
    things = [
        *known.places,
        *known.trades,
        *known.animals,
        *known.dishes,
        *known.ingredients,
        *known.objects,
        *known.events,
    ]
    ids = [thing.id for thing in (*things, *known.people)]
    assert len(set(ids)) == len(ids)
    assert len({person.given for person in known.people}) == len(known.people)
    assert len({fact.id for fact in known.facts}) == len(known.facts)
    assert len({place.en for place in known.places}) == len({place.pt for place in known.places}) == len(known.places)


def test_families_are_possible() -> None:
    people = {person.given: person for person in full_town().people}
    for person in people.values():
        if person.mother:
            mother, father = people[person.mother], people[person.father]
            assert mother.gender == "f"
            assert father.gender == "m"
            assert mother.spouse == father.given
            assert min(mother.age, father.age) >= person.age + 16
            assert mother.surname == person.surname
        if person.spouse:
            assert people[person.spouse].spouse == person.given
            assert people[person.spouse].home is person.home
        assert person.home.is_home


def test_beside_holds_both_ways() -> None:
    places = {place.id: place for place in full_town().places}
    for place in places.values():
        assert place.links["next"].id != place.id
        assert places[place.links["next"].id].links["next"].id == place.id


def test_some_facts_are_kept_for_articles() -> None:
    facts = full_town().facts
    assert 0.1 < sum(fact.is_article_only for fact in facts) / len(facts) < 0.2


def test_fewer_relations_leave_fewer_facts() -> None:
    town = build_world(parse_world("world:small,n_relations=2,size=50KB"))
    assert {fact.relation for fact in town.facts} == {"home", "trade"}
    assert len(list(town.documents())) > 10


@pytest.mark.parametrize(
    "text", ["people=4,places=4,trades=2,animals=2,dishes=2,objects=2,events=2", "people=5,places=7"]
)
def test_the_smallest_town_can_be_written(text: str) -> None:
    for seed in range(4):
        town = build_world(parse_world(f"world:{text},seed={seed},size=40KB"))
        assert sum(len(document.text.encode()) for document in town.documents()) >= 40_000


def test_the_seed_decides() -> None:
    one, other = build_world(parse_world("world:small,seed=1")), build_world(parse_world("world:small,seed=2"))
    assert one.people != other.people
    assert one.document(0).text != other.document(0).text
    assert build_world(parse_world("world:small,seed=1")).document(5) == one.document(5)
    assert small_town().knowledge == build_world(small_town().settings).knowledge
