"""Writes tasks: a kind, a split and a number come in, a conversation with a good reply goes out (docs/world.md).

Train and test differ in wordings (`.held_out` sections) and in subjects: whom requests are about, which strangers do
not exist, what is to be listed.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from random import Random
from typing import Literal

from prosa.corpus.world import english, portuguese
from prosa.corpus.world.cast import Cast
from prosa.corpus.world.chance import pick, sample, shuffled
from prosa.corpus.world.frames import Forms, Grammar, Scene, capitalised
from prosa.corpus.world.knowledge import RELATIONS, Fact, Knowledge, Person, Thing
from prosa.corpus.world.lexicon import grammar
from prosa.corpus.world.questions import (
    PERSON_RELATIONS,
    Question,
    list_answers,
    list_names,
    nowhere,
    stranger,
    subject_forms,
)
from prosa.corpus.world.rules import Rule, RuleKind, words
from prosa.corpus.world.tables import entries, sections
from prosa.corpus.world.tasks import Task, TaskKind
from prosa.streams import python_stream

Split = Literal["train", "test"]
# Every such subject in the order of the town is kept out of the training split's requests.
_HELD_OUT_EVERY = 4
_STRANGERS = {"train": slice(0, None, 2), "test": slice(1, None, 2)}
_OTHER = {"pt": "en", "en": "pt"}
# What is asked of which facts: phrased anew or as in the dialogues, and asked in training or only told in articles.
FACT_SPLITS = {
    "train": (False, "asked"),
    "test": (True, ""),
    "seen_asked": (False, "asked"),
    "seen_read": (False, "read"),
    "new_asked": (True, "asked"),
    "new_read": (True, "read"),
}


@cache
def instruction_grammar(language: str, richness: float) -> Grammar:
    """The frames of the corpus and those of instructions, over the same words."""
    written = grammar(language, richness)
    return Grammar({**written.sources, **sections(f"{language}/instructions")}, written.words)


class TaskWriter:
    """Writes the tasks of one town in one language, each a pure function of the town, its kind, split and number."""

    def __init__(
        self, knowledge: Knowledge, casts: Mapping[str, Cast], language: str, *, seed: int, richness: float
    ) -> None:
        self.knowledge, self.casts, self.language, self.seed = knowledge, casts, language, seed
        self.cast = casts[language]
        self.grammars = {name: instruction_grammar(name, richness) for name in casts}
        self.grammar = self.grammars[language]
        self._topics = [name for name in self.grammar.sections if re.fullmatch(r"talk\.\w+", name)]
        self._harms = [name for name in self.grammar.sections if re.fullmatch(r"decline\.\w+", name)]
        self._publics = [place for place in knowledge.places if not place.is_home]
        groups: tuple[Sequence[Person | Thing], ...] = (knowledge.people, knowledge.places, knowledge.dishes)
        held_out = {member.id for group in groups for member in group[_HELD_OUT_EVERY - 1 :: _HELD_OUT_EVERY]}
        self._facts = {(fact.subject, fact.relation): fact for fact in knowledge.facts}
        # A town too small to keep something apart uses what there is.
        asked = [fact for fact in knowledge.facts if not fact.is_article_only] or list(knowledge.facts)
        self._pools = {
            "asked": asked,
            "read": [fact for fact in knowledge.facts if fact.is_article_only],
            "train": [fact for fact in asked if fact.subject not in held_out] or asked,
            "test": [fact for fact in asked if fact.subject in held_out] or asked,
        }
        self._people = {
            "train": [person for person in knowledge.people if person.id not in held_out],
            "test": [person for person in knowledge.people if person.id in held_out],
        }
        self._answers: dict[tuple[str, str], tuple[tuple[str, ...], tuple[str, ...]]] = {}
        self._orders: dict[tuple[str, int], list[Fact]] = {}

    def write(self, kind: TaskKind, split: str, seed: int, index: int) -> Task:
        """Task number `index` of a kind; `split` is train, test or, for facts, one of FACT_SPLITS."""
        rng = python_stream(self.seed, f"world task {self.language} {kind} {split}", seed, index)
        id = f"{kind}:{self.language}:{split}:{seed}:{index}"
        if kind == "fact":
            return self._fact(id, rng, split, seed, index)
        side: Split = "train" if split == "train" else "test"
        if kind == "unknown":
            return self._unknown(id, rng, side)
        if kind == "form":
            return self._form(id, rng, side)
        if kind == "decline":
            return self._decline(id, rng, side)
        if kind == "allow":
            return self._allow(id, rng, side)
        return self._talk(id, rng, side)

    def _fact(self, id: str, rng: Random, split: str, seed: int, index: int) -> Task:
        """A question in one turn, sometimes after a greeting, a question on the same person or one like it."""
        is_anew, pool = FACT_SPLITS[split]
        pool = pool or pick(rng, [name for name in ("asked", "read") if self._pools[name]])
        if (pool, seed) not in self._orders:
            self._orders[pool, seed] = shuffled(python_stream(self.seed, f"world task {pool}", seed), self._pools[pool])
        order = self._orders[pool, seed]
        fact = order[index % len(order)]
        before, section = self._earlier(rng, fact)
        prompt = self._say(rng, section, self._subject(rng, fact), "test" if is_anew else "train")
        return self._task(id, [*before, prompt], self._reply(rng, fact), self._question(fact, prompt))

    def _earlier(self, rng: Random, fact: Fact) -> tuple[list[str], str]:
        """Turns before a question on `fact`, and the section of frames in which it is then asked."""
        chance, before, section = rng.random(), [], f"{fact.relation}.ask"
        if chance < 0.1 and fact.subject in self.cast.portraits:
            relations = [r for r in self.cast.portraits[fact.subject].spoken_relations if r != fact.relation]
            if relations:
                before = self._exchange(rng, self._facts[fact.subject, pick(rng, relations)])
                section = f"{fact.relation}.follow"
        elif chance < 0.2:
            before, section = self._same(rng, fact.relation, fact.subject)
        if rng.random() < 0.08:
            hello = [self._say(rng, f"talk.hello{part}", {}) for part in ("", ".reply")]
            before = [*hello, *before]
        return before, section

    def _same(self, rng: Random, relation: str, subject: str) -> tuple[list[str], str]:
        """A question on another subject with its reply, and the section in which `subject` then comes up."""
        others = [fact for fact in self._pools["asked"] if fact.relation == relation and fact.subject != subject]
        if not others:
            return [], f"{relation}.ask"
        section = f"{relation}.same"
        return self._exchange(rng, pick(rng, others)), section if section in self.grammar.sections else "person.same"

    def _unknown(self, id: str, rng: Random, split: Split) -> Task:
        """A question on a stranger or a place that is nowhere, sometimes after one that has an answer."""
        before: list[str] = []
        part = _STRANGERS[split]
        if rng.random() < 0.2:
            relation, forms, kind = "neighbour", nowhere(rng, self.language, part), "unknown.place"
        else:
            relation, forms, kind = pick(rng, PERSON_RELATIONS), stranger(rng, self.cast, part), "unknown"
        section = f"{relation}.ask"
        if rng.random() < 0.15:
            before, section = self._same(rng, relation, "")
        prompt = self._say(rng, section, forms, split)
        names = list_names(relation, self.knowledge, self.cast)
        question = Question(prompt, (), names, None, self.language)
        return self._task(id, [*before, prompt], self._say(rng, f"{kind}.reply", forms), question)

    def _form(self, id: str, rng: Random, split: Split) -> Task:
        """A question on a fact, or a wish for a list, with a form that the answer is to have."""
        kinds: list[RuleKind] = ["max_words", "one_word", "capitals", "begin", "list"]
        if _OTHER[self.language] in self.casts:
            kinds += ["language", "language"]
        kind = pick(rng, kinds)
        if kind == "list":
            return self._list(id, rng, split)
        fact = pick(rng, self._pools[split])
        if kind == "one_word":
            # A fact whose answer is one word; where there is none a few words must do.
            if fits := [one for one in self._pools[split] if len(words(self._gold(one)[0])) == 1]:
                fact = pick(rng, fits)
            else:
                kind = "max_words"
        ask = self._say(rng, f"{fact.relation}.ask", self._subject(rng, fact))
        question = self._question(fact, ask)
        short = self._say(rng, f"{fact.relation}.short", self._subject(rng, fact))
        if kind == "language":
            other = _OTHER[self.language]
            rule, reply = Rule(kind, word=other), self._reply(rng, fact, other)
            question = self._question(fact, ask, other)
        elif kind == "max_words":
            rule, reply = Rule(kind, n=max(2, len(words(short)) + int(rng.random() * 3))), short
        elif kind == "one_word":
            word = self._gold(fact)[0]
            rule, reply = Rule(kind), f"{word[0].upper()}{word[1:]}."
        elif kind == "capitals":
            rule, reply = Rule(kind), short.upper()
        else:
            word = pick(rng, self.grammar.sources[_section("form.begin.words", split)])
            statement = self.grammar.write(f"{fact.relation}.statement", Scene(rng, {"p": self._subject(rng, fact)}))
            rule, reply = Rule(kind, word=word), f"{word}, {statement}"
        form = {"question": ask, "n": self._number(rule.n, "f"), "word": rule.word}
        prompt = self._say(rng, f"form.{kind}", form, split, role="f")
        return self._task(id, [prompt], reply, question, rule)

    def _list(self, id: str, rng: Random, split: Split) -> Task:
        source, plural, gender = entries([pick(rng, self.grammar.sources[_section("list", split)])])
        full = instruction_grammar(self.language, 1.0).words
        if source in full:
            names = [word[""] for word in self.grammar.words[source]]
            accepted = [word[""] for word in full[source]]
        elif source == "people":
            names = [person.name for person in self.knowledge.people]
            accepted = names + [person.given for person in self.knowledge.people]
        else:
            names = accepted = [self.cast.forms[thing.id][""] for thing in getattr(self.knowledge, source)]
        n = min(2 + int(rng.random() * 3), len(names))
        form = {"n": self._number(n, gender), "things": plural, "g": gender}
        prompt = self._say(rng, "form.list", form, split, role="f")
        reply = "\n".join(f"- {name}" for name in sample(rng, names, n))
        return self._task(id, [prompt], reply, None, Rule("list", n=n, items=tuple(accepted)))

    def _decline(self, id: str, rng: Random, split: Split) -> Task:
        """A request to harm somebody, their house, animal, treasure or good name."""
        portrait = self.cast.portraits[pick(rng, self._people[split]).id]
        # A request that names an animal or a treasure must not give away a fact that only articles tell.
        kept = {f"decline.{relation}" for relation in set(RELATIONS) - set(portrait.spoken_relations)}
        harm = pick(rng, [name for name in self._harms if name not in kept])
        prompt = self._say(rng, harm, pick(rng, (portrait.full, portrait.short)), split)
        return self._task(id, [prompt], self._say(rng, f"{harm}.reply", portrait.short))

    def _allow(self, id: str, rng: Random, split: Split) -> Task:
        """A request that sounds like one to be declined, and asks for a fact."""
        facts = [fact for fact in self._pools[split] if f"allow.{fact.relation}" in self.grammar.sections]
        fact = pick(rng, facts or self._pools["asked"])
        p = self._subject(rng, fact)
        if fact.relation == "pet" and rng.random() < 0.5:
            prompt, reply = self._say(rng, "allow.eats", p, split), self._say(rng, "eats.reply", p)
            diets = {self.cast.forms[animal.id]["eats"] for animal in self.knowledge.animals} - {p["pet.eats"]}
            question = Question(prompt, (p["pet.eats"],), tuple(sorted(diets)), fact, self.language)
            return self._task(id, [prompt], reply, question)
        section = f"allow.{fact.relation}"
        prompt = self._say(rng, section if section in self.grammar.sections else f"{fact.relation}.ask", p, split)
        return self._task(id, [prompt], self._reply(rng, fact), self._question(fact, prompt))

    def _talk(self, id: str, rng: Random, split: Split) -> Task:
        topic = pick(rng, self._topics)
        keys: list[str] = []
        for key in entries(self.grammar.sources[f"{topic}.keys"]):
            keys += [word[""] for word in self.grammar.words[key[1:]]] if key.startswith("#") else [key]
        place = self.cast.forms[pick(rng, self._publics).id]
        prompt, reply = (
            capitalised(self.grammar.write(section, Scene(rng, {"l": place})))
            for section in (_section(topic, split), f"{topic}.reply")
        )
        return self._task(id, [prompt], reply, None, Rule("mention", items=tuple(keys)))

    def _task(
        self, id: str, turns: Sequence[str], reply: str, question: Question | None = None, rule: Rule | None = None
    ) -> Task:
        """`turns` alternate between the user, who begins and ends, and the assistant."""
        roles = ("user", "assistant")
        messages = tuple({"role": roles[i % 2], "content": text} for i, text in enumerate(turns))
        kind: TaskKind = id.partition(":")[0]  # type: ignore[assignment]
        return Task(id, kind, self.language, messages, capitalised(reply), question, rule)

    def _say(self, rng: Random, section: str, forms: Forms, split: str = "train", role: str = "p") -> str:
        return capitalised(self.grammar.write(_section(section, split), Scene(rng, {role: forms})))

    def _exchange(self, rng: Random, fact: Fact) -> list[str]:
        return [self._say(rng, f"{fact.relation}.ask", self._subject(rng, fact)), self._reply(rng, fact)]

    def _reply(self, rng: Random, fact: Fact, language: str = "") -> str:
        cast, rules = self.casts[language or self.language], self.grammars[language or self.language]
        p = subject_forms(fact, cast, pick(rng, ("full", "short")))
        return capitalised(rules.write(f"{fact.relation}.reply", Scene(rng, {"p": p})))

    def _subject(self, rng: Random, fact: Fact) -> Forms:
        return subject_forms(fact, self.cast, pick(rng, ("full", "short")))

    def _question(self, fact: Fact, prompt: str, language: str = "") -> Question:
        language = language or self.language
        if (fact.id, language) not in self._answers:
            self._answers[fact.id, language] = list_answers(fact, self.knowledge, self.casts[language])
        gold, others = self._answers[fact.id, language]
        return Question(prompt, gold, others, fact, language)

    def _gold(self, fact: Fact) -> tuple[str, ...]:
        return self._question(fact, "").gold

    def _number(self, n: int, gender: str) -> str:
        if self.language == "en":
            return english.number_words(n)
        return "duas" if n == 2 and gender == "f" else portuguese.number_words(n)


def _section(name: str, split: str) -> str:
    """The section of frames `name` for that split."""
    return f"{name}.held_out" if split == "test" else name
