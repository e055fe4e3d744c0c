import re

import pytest

from prosa.corpus.world import Cloze, build_world, parse_world
from prosa.corpus.world.frames import Scene, capitalised
from prosa.corpus.world.lexicon import grammar
from prosa.corpus.world.tables import names
from prosa.streams import python_stream
from tests.corpus.world.towns import documents, full_town, small_town

LANGUAGES = pytest.mark.parametrize("language", ["pt", "en"])


@LANGUAGES
def test_every_fact_has_a_seen_and_an_unseen_cloze(language: str) -> None:
    for town in (small_town(), full_town()):
        clozes = town.cloze(language)
        for is_seen in (True, False):
            assert [cloze.fact for cloze in clozes if cloze.is_seen_phrasing is is_seen] == list(town.facts)


@LANGUAGES
def test_distractors_are_wrong_different_and_of_the_same_shape(language: str) -> None:
    for cloze in full_town().cloze(language):
        assert len(cloze.distractors) >= 9
        assert cloze.answer not in cloze.distractors
        assert len(set(cloze.distractors)) == len(cloze.distractors)
        assert {_shape(cloze, text) for text in cloze.distractors} <= _shapes(cloze)
        assert cloze.prompt[0].isupper()
        assert not cloze.prompt.endswith(" ")


def _shape(cloze: Cloze, text: str) -> str:
    """The little words an answer of this kind may begin with."""
    return text.split()[0] if cloze.fact.relation in ("home", "pet", "treasure") and " " in text else ""


def _shapes(cloze: Cloze) -> set[str]:
    if cloze.fact.relation == "home":
        return {"no", "na", "o", "a", "ao", "à", "on", "in", "at"}
    words = {"um", "uma", "o", "a", "an", ""}
    return words | {text.split()[0] for text in cloze.distractors if text.split()[0] not in words}


@LANGUAGES
def test_a_trade_agrees_with_its_subject_in_every_choice(language: str) -> None:
    town = full_town()
    people = {person.id: person for person in town.people}
    feminine = {trade.details["f"] for trade in town.knowledge.trades}
    masculine = {trade.details["m"] for trade in town.knowledge.trades}
    for cloze in town.cloze("pt"):
        if cloze.fact.relation == "trade":
            right = feminine if people[cloze.fact.subject].gender == "f" else masculine
            assert {cloze.answer, *cloze.distractors} <= right


@LANGUAGES
def test_nothing_in_a_prompt_agrees_with_the_answer(language: str) -> None:
    for cloze in small_town().cloze(language):
        assert (
            not re.search(r"\b(sua|seu|guardad[oa]|an?|uma?|[oa])$", cloze.prompt) or cloze.fact.relation == "trade"
        ), cloze


@LANGUAGES
def test_held_out_phrasings_are_never_written(language: str) -> None:
    town = small_town()
    text = "\n".join(document.text for document in documents(town) if document.language == language)
    cast, rules = town.cast(language), grammar(language)
    for fact in town.facts:
        portrait = cast.portraits.get(fact.subject)
        for p in (portrait.full, portrait.short) if portrait else (cast.forms[fact.subject],):
            for section in (f"{fact.relation}.held_out", f"{fact.relation}.ask.held_out"):
                for frame in rules.sections[section]:
                    assert capitalised(frame(Scene(python_stream(0, "test"), {"p": p}))).rstrip(".") not in text


@LANGUAGES
def test_held_out_phrasings_are_made_of_words_that_are_written(language: str) -> None:
    """A model that has read nothing else cannot know other words: what is new is how they are put together."""
    rules = grammar(language)
    written = set().union(
        *(_words(frame) for name, frames in rules.sources.items() if "held_out" not in name for frame in frames)
    )
    for name, frames in rules.sources.items():
        if "held_out" in name:
            assert set().union(*map(_words, frames)) <= written, name


def _words(frame: str) -> set[str]:
    return set(re.findall(r"[^\W\d_]+", re.sub(r"\{[^}]*\}", " ", frame.lower())))


@LANGUAGES
def test_article_only_facts_are_never_asked_or_answered_in_dialogues(language: str) -> None:
    town = small_town()
    text = "\n".join(d.text for d in documents(town) if d.language == language and d.kind == "conversation")
    cast, rules = town.cast(language), grammar(language)
    n_asked = 0
    for fact in town.facts:
        portrait = cast.portraits.get(fact.subject)
        for p in (portrait.full, portrait.short) if portrait else (cast.forms[fact.subject],):
            for frame in rules.sections[f"{fact.relation}.ask"]:
                question = capitalised(frame(Scene(python_stream(0, "test"), {"p": p})))
                is_asked = f": {question}" in text
                n_asked += is_asked
                assert not (fact.is_article_only and is_asked), question
    assert n_asked > 100


@LANGUAGES
def test_gold_answers_are_judged_correct_and_others_wrong(language: str) -> None:
    town = small_town()
    for split in ("seen", "held_out"):
        questions = town.questions(language, split=split)
        assert [question.fact for question in questions] == list(town.facts)
        for question in questions:
            assert question.prompt.endswith("?")
            for gold in question.gold:
                assert town.judge(question, f"{gold}.") == "correct"
                assert town.judge(question, f"Acho que {gold.upper()}, sim.") == "correct"
            for other in question.others[:5]:
                assert town.judge(question, other) == "wrong"
                assert town.judge(question, f"{question.gold[0]}, {other}") == "wrong"
            assert town.judge(question, "") == "wrong"
            assert town.judge(question, "Não sei." if language == "pt" else "I don't know.") == "abstained"


@LANGUAGES
def test_whole_sentences_of_the_corpus_are_judged_correct(language: str) -> None:
    town = small_town()
    cast, rules = town.cast(language), grammar(language)
    for question in town.questions(language, split="seen"):
        assert question.fact is not None
        portrait = cast.portraits.get(question.fact.subject)
        p = portrait.full if portrait else cast.forms[question.fact.subject]
        for frame in rules.sections[f"{question.fact.relation}.reply"]:
            answer = frame(Scene(python_stream(0, "test"), {"p": p}))
            assert town.judge(question, answer) == "correct", (question.prompt, answer)


@LANGUAGES
def test_strangers_are_in_no_town(language: str) -> None:
    town = full_town()
    strangers = set(names("stranger_f")) | set(names("stranger_m"))
    assert not strangers & (set(names("female")) | set(names("male")))
    for document in documents(town):
        assert not strangers & set(re.findall(r"\w+", document.text)), document.origin
    questions = town.unknown_questions(language, 60, seed=5)
    assert questions == town.unknown_questions(language, 60, seed=5)
    assert questions != town.unknown_questions(language, 60, seed=6)
    known = {thing[""] for thing in town.cast(language).forms.values()} | {person.name for person in town.people}
    for question in questions:
        assert not any(re.search(rf"\b{re.escape(name)}\b", question.prompt) for name in known), question.prompt
        assert question.gold == ()
        assert question.fact is None
        assert (
            town.judge(question, "Nunca ouvi falar." if language == "pt" else "I have never heard of them.")
            == "abstained"
        )
        assert town.judge(question, "Padaria") == "wrong"


def test_a_town_of_one_language_asks_in_that_language() -> None:
    town = build_world(parse_world("world:small,languages=pt"))
    assert town.cloze("pt")
    with pytest.raises(KeyError):
        town.cloze("en")
