"""Documents about a town: who and what one is about is drawn here, what is said comes from the frames."""

from collections.abc import Mapping, Sequence
from random import Random

from prosa.corpus.world.cast import Cast, Portrait
from prosa.corpus.world.chance import pick, sample, shuffled
from prosa.corpus.world.frames import Forms, Grammar, Scene, capitalised
from prosa.corpus.world.knowledge import Knowledge, Person, Thing

_AND = {"pt": " e ", "en": " and "}
# How often an article is about each kind; people carry most facts.
_TOPICS = ("people",) * 9 + ("places",) * 4 + ("dishes",) * 4 + ("animals", "trades", "objects", "events")


class Writer:
    """Writes stories, articles and dialogues of one town in one language."""

    def __init__(self, knowledge: Knowledge, cast: Cast, grammar: Grammar) -> None:
        self.knowledge, self.cast, self.grammar, self.language = knowledge, cast, grammar, cast.language
        self._publics = [place for place in knowledge.places if not place.is_home and "next" in place.links]
        self._topics: dict[str, Sequence[Person | Thing]] = {
            name: getattr(knowledge, name) for name in sorted(set(_TOPICS))
        }
        self._linked = self._link_people()
        self._spoken = [
            fact for fact in knowledge.facts if not fact.is_article_only and fact.relation in ("neighbour", "secret")
        ]
        self._facts = {(fact.subject, fact.relation): fact for fact in knowledge.facts}

    def story(self, rng: Random) -> str:
        """Several paragraphs with a plot; happenings are invented, but nothing contradicts the knowledge."""
        p, q, r = self._strangers(rng)
        scene = Scene(rng, {})
        for role, person in zip("pqr", (p, q, r), strict=True):
            scene.cast[role] = self.cast.portraits[person.id].short
        for role, place in zip("lm", sample(rng, self._publics, 2), strict=True):
            scene.cast[role] = self.cast.forms[place.id]
        scene.cast["e"] = self.cast.forms[pick(rng, self.knowledge.events).id]
        for role, group in (("d", (p, q)), ("u", (q, r)), ("t", (p, q, r))):
            scene.cast[role] = {"g": "f" if all(person.gender == "f" for person in group) else "m"}
        text = self.grammar.write("story", scene)
        return capitalised(text)

    def article(self, rng: Random) -> str:
        """A title and some paragraphs that state what is true of one person or thing."""
        topic = pick(rng, self._topics[pick(rng, _TOPICS)])
        if isinstance(topic, Person):
            title, sentences = topic.name, self._person_article(rng, topic)
        else:
            title, sentences = self._title(topic), self._thing_article(rng, topic)
        return capitalised(f"{title}\n\n" + "\n\n".join(_paragraphs(rng, sentences)))

    def dialogue(self, rng: Random) -> str:
        """Two speakers, a line each: greeting, questions with true answers, small talk, goodbye."""
        q, r = sample(rng, self.knowledge.people, 2)
        asker = pick(rng, ("visitor", "young", "friend", "friend"))
        known = self.cast.portraits
        v = known[r.id].short if asker == "friend" else pick(rng, self.grammar.words[asker])
        scene = Scene(rng, {"q": known[q.id].short, "v": v})
        scene.cast["l"] = self.cast.forms[pick(rng, self._publics).id]
        scene.cast["e"] = self.cast.forms[pick(rng, self.knowledge.events).id]
        lines = self.grammar.write(f"{asker}.greeting", scene).split("\n")
        subject = pick(rng, self.knowledge.people)
        wanted = 3 + int(rng.random() * 4)
        for _ in range(4 * wanted):
            if rng.random() < 0.4:
                subject = pick(rng, self.knowledge.people)
            exchange = self._exchange(scene, q, r, subject)
            lines += exchange
            wanted -= bool(exchange)
            if not wanted:
                break
            chance = rng.random()
            if exchange and chance < 0.4:
                talk = "react" if chance < 0.15 else "friend.smalltalk" if asker == "friend" else "smalltalk"
                lines += self.grammar.write(talk, scene).split("\n")
        lines += self.grammar.write(f"{asker}.goodbye", scene).split("\n")
        speakers = (capitalised(v[""]), q.given)
        return "\n".join(f"{speakers[i % 2]}: {capitalised(line)}" for i, line in enumerate(lines))

    def _exchange(self, scene: Scene, q: Person, r: Person, subject: Person) -> list[str]:
        """One question and its answer, about a place or a dish, about a person, or about the speaker q."""
        chance = scene.rng.random()
        if chance < 0.3 and self._spoken:
            fact = pick(scene.rng, self._spoken)
            scene.cast["p"] = self.cast.forms[fact.subject]
            return self._ask_once(scene, fact.subject, fact.relation, "")
        person, you = (q, "_you") if chance > 0.8 else (subject, "")
        portrait = self.cast.portraits[person.id]
        if not portrait.spoken_relations or person is r or (person is q and not you):
            return []
        scene.cast["p"] = pick(scene.rng, (portrait.full, portrait.short))
        return self._ask_once(scene, person.id, pick(scene.rng, portrait.spoken_relations), you)

    def _ask_once(self, scene: Scene, subject: str, relation: str, you: str) -> list[str]:
        if (told := (subject + relation, 0)) in scene.used:
            return []
        scene.used.add(told)
        return [self.grammar.write(f"{relation}.{step}{you}", scene) for step in ("ask", "reply")]

    def _strangers(self, rng: Random) -> list[Person]:
        """Three people of whom no two are parent and child, siblings or a couple."""
        people = (
            shuffled(rng, self.knowledge.people)
            if len(self.knowledge.people) < 12
            else [pick(rng, self.knowledge.people) for _ in range(12)]
        )
        families = {person.surname: person for person in people}
        return [*families.values(), *people][:3]

    def _person_article(self, rng: Random, person: Person) -> list[str]:
        portrait = self.cast.portraits[person.id]
        scene = Scene(rng, {"p": portrait.full})
        sentences = [self.grammar.write("person.lead", scene)]
        sections = [*portrait.relations, "person.age"]
        sections += ["person.spouse"] if person.spouse else []
        sections += ["person.father"] if person.father else []
        sections += ["person.colour"] * (1 + int(rng.random() * 2))
        for section in shuffled(rng, sections):
            scene.cast["p"] = _next_mention(rng, portrait)
            sentences.append(self.grammar.write(section, scene))
        scene.cast["p"] = portrait.short
        return [*sentences, self.grammar.write("person.close", scene)]

    def _thing_article(self, rng: Random, thing: Thing) -> list[str]:
        scene = Scene(rng, {"p": self.cast.forms[thing.id]})
        kind = "home" if thing.is_home else thing.kind
        write = self.grammar.write
        sentences = [write(f"{kind}.lead", scene)]
        sections = [f"{thing.kind}.detail"] + [f"{kind}.colour"] * (2 + int(rng.random() * 3))
        for relation in ("neighbour", "secret"):
            if (thing.id, relation) in self._facts:
                sections += [relation] * (1 + (rng.random() < 0.5))
        people = self._linked.get(thing.id, [])
        if people:
            chosen = sample(rng, people, 3)
            scene.cast["w"] = self._group(chosen)
            one = "one" if len(chosen) == 1 else "many"
            sections.append(f"{kind}.{one}")
        if thing.kind == "animal":
            sections.append(f"animal.{thing.details['group']}")
        return sentences + [write(section, scene) for section in shuffled(rng, sections)]

    def _group(self, people: Sequence[Person]) -> Forms:
        """Forms of one person or a list of some: "Ana, Bia e Caio"."""
        given = [person.name for person in people]
        listed = ", ".join(given[:-1]) + (_AND[self.language] if len(given) > 1 else "") + given[-1]
        gender = "f" if all(person.gender == "f" for person in people) else "m"
        return {**self.cast.portraits[people[0].id].short, "": listed, "g": gender}

    def _title(self, thing: Thing) -> str:
        text = self.cast.forms[thing.id][""]
        return text[0].upper() + text[1:]

    def _link_people(self) -> Mapping[str, list[Person]]:
        linked: dict[str, list[Person]] = {}
        for person in self.knowledge.people:
            for thing in (person.home, person.trade, person.pet, person.dish, person.treasure):
                linked.setdefault(thing.id, []).append(person)
        return linked


def _next_mention(rng: Random, portrait: Portrait) -> Forms:
    chance = rng.random()
    return portrait.full if chance < 0.25 else portrait.short if chance < 0.6 else portrait.pronoun


def _paragraphs(rng: Random, sentences: Sequence[str]) -> list[str]:
    """Sentences in paragraphs of three to five."""
    paragraphs, start = [], 0
    while start < len(sentences):
        end = start + 3 + int(rng.random() * 3)
        if len(sentences) - end < 2:
            end = len(sentences)
        paragraphs.append(" ".join(sentences[start:end]))
        start = end
    return paragraphs
