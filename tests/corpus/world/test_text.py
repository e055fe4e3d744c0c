import hashlib
import re
from collections.abc import Iterator
from itertools import chain

import pytest

from prosa.corpus.world import World, WorldDocument, build_world, parse_world
from prosa.corpus.world.cast import answer_forms
from prosa.corpus.world.frames import Scene, capitalised
from prosa.corpus.world.lexicon import grammar
from prosa.corpus.world.questions import candidates, ending_in_answer
from prosa.corpus.world.tables import entries, sections, table
from prosa.streams import python_stream
from tests.corpus.world.towns import documents, full_town, small_town

GOLDEN = "c208c684f48a257dfb739c5ad9bd6eb224131d26fff62efaec33b0a93b76e601"


def prose(town: World, language: str) -> Iterator[WorldDocument]:
    return (document for document in documents(town) if document.language == language)


def test_the_same_seed_gives_the_same_bytes_everywhere() -> None:
    town = build_world(parse_world("world:small,seed=7,size=100KB"))
    digest = hashlib.sha256("\x00".join(document.text for document in town.documents()).encode()).hexdigest()
    assert digest == GOLDEN


def test_documents_stop_at_the_size_and_do_not_depend_on_each_other() -> None:
    town = small_town()
    sizes = [len(document.text.encode()) for document in documents(town)]
    assert sum(sizes[:-1]) < town.settings.size_bytes <= sum(sizes)
    fresh = build_world(town.settings)
    assert [fresh.document(i) for i in (40, 7)] == [documents(town)[i] for i in (40, 7)]
    assert documents(town)[7].origin.startswith("world:3#7:")
    assert {document.licence for document in documents(town)} == {"CC0-1.0"}


def test_kinds_and_languages_have_their_shares() -> None:
    n_bytes: dict[str, int] = {}
    for document in documents(full_town()):
        for label in (document.kind, document.language):
            n_bytes[label] = n_bytes.get(label, 0) + len(document.text.encode())
    total = sum(len(document.text.encode()) for document in documents(full_town()))
    settings = full_town().settings
    for kind in ("book", "article", "conversation"):
        assert n_bytes[kind] / total == pytest.approx(getattr(settings, kind), abs=0.03)
    assert n_bytes["pt"] / n_bytes["en"] == pytest.approx(1, abs=0.1)


def test_one_language_alone_writes_only_that() -> None:
    town = build_world(parse_world("world:small,languages=en,size=60KB"))
    assert {document.language for document in town.documents()} == {"en", "code"}


def test_the_whole_town_uses_five_thousand_word_forms() -> None:
    forms = set()
    for document in documents(full_town()):
        forms.update(re.findall(r"[^\W\d_]+", document.text.lower()))
    assert len(forms) >= 5000


@pytest.mark.parametrize(
    ("language", "odd"),
    [
        ("pt", r"\b(de|em|por) (o|a|os|as)\b|\ba a\b|\ba o\b|\bde (ele|ela)\b|\b(em|de) um \w+ e\b_"),
        (
            "en",
            r"\ban (?!hour|heir|honest|honour)[^aeiouAEIOU\W]|\ba (?!eu|one|uni|use|uku)[aeiou]"
            r"|\bthe the\b|\bof of\b|\ba the\b",
        ),
        ("pt", r"  | [,.;:?!]|[¶¦{}\[\]#@|]|\.\.|\bNone\b"),
        ("en", r"  | [,.;:?!]|[¶¦{}\[\]#@|]|\.\.|\bNone\b"),
    ],
)
def test_nothing_odd_is_ever_written(language: str, odd: str) -> None:
    for document in prose(full_town(), language):
        found = re.search(odd, document.text)
        assert not found, (document.origin, document.text[max(0, found.start() - 40) : found.end() + 40])


@pytest.mark.parametrize("language", ["pt", "en"])
def test_sentences_begin_and_end_well(language: str) -> None:
    for document in prose(full_town(), language):
        title, *rest = [line for line in document.text.split("\n") if line]
        lines = [title, *rest] if document.kind == "conversation" else rest
        assert title[0].isupper() or title[0].isdigit(), document.origin
        for line in lines:
            speech = line.partition(": ")[2] if document.kind == "conversation" else line.removeprefix("— ").lstrip('"')
            assert speech[0].isupper() or speech[0].isdigit(), (document.origin, line)
            assert line.rstrip('"')[-1] in ".!?", (document.origin, line)
            assert line.count('"') % 2 == 0, (document.origin, line)
            assert not re.search(r"\. [a-zà-ÿ]", line), (document.origin, line)


def test_portuguese_articles_agree_with_their_nouns() -> None:
    genders: dict[str, set[str]] = {}
    lists = [entries(lines) for header, lines in sections("pt/words").items() if header.endswith(" noun")]
    tables = [[row["pt"] for row in table(name)] for name in ("animals", "dishes", "ingredients", "objects")]
    for entry in chain(*lists, *tables):
        article, noun = entry.partition("/")[0].split(" ", 1)
        genders.setdefault(noun, set()).add(article)
    known = {noun: articles.pop() for noun, articles in genders.items() if len(articles) == 1}
    nouns = "|".join(sorted(map(re.escape, known), key=len, reverse=True))
    phrase = re.compile(rf"\b(o|a|um|uma|do|da|no|na|ao|à|pelo|pela|num|numa) ({nouns})\b(?! {{0}}-)")
    n_phrases = 0
    for document in prose(full_town(), "pt"):
        for article, noun in phrase.findall(document.text):
            n_phrases += 1
            is_feminine = article in ("a", "uma", "da", "na", "à", "pela", "numa")
            assert is_feminine == (known[noun] == "a"), (document.origin, article, noun)
    assert n_phrases > 5000


def statements(town: World, language: str) -> Iterator[tuple[str, str, set[str]]]:
    """Every beginning of a statement, its true end, and the false ones."""
    cast, rules = town.cast(language), grammar(language)
    for fact in town.facts:
        portrait = cast.portraits.get(fact.subject)
        for subject in (portrait.full, portrait.short) if portrait else (cast.forms[fact.subject],):
            for frame, form in ending_in_answer(rules.sources[fact.relation], fact.relation):
                prompt = capitalised(rules.compile(frame)(Scene(python_stream(0, "test"), {"p": subject})))
                ends = {
                    id: answer_forms(fact, id, subject["g"], cast)[form] for id in candidates(fact, town.knowledge)
                } | {fact.object: answer_forms(fact, fact.object, subject["g"], cast)[form]}
                yield prompt, ends[fact.object], set(ends.values()) - {ends[fact.object]}


@pytest.mark.parametrize("language", ["pt", "en"])
def test_no_sentence_contradicts_a_fact(language: str) -> None:
    """Wherever the beginning of a statement stands, no wrong answer of its type follows."""
    town = small_town()
    text = "\n".join(document.text for document in prose(town, language))
    n_true = 0
    for prompt, answer, wrong in statements(town, language):
        position = text.find(f"{prompt} ")
        while position >= 0:
            rest = text[position + len(prompt) + 1 :][:80]
            n_true += rest.startswith(answer)
            assert rest.startswith(answer) or not any(re.match(rf"{re.escape(end)}\b", rest) for end in wrong), prompt
            position = text.find(f"{prompt} ", position + 1)
    assert n_true > 800


@pytest.mark.parametrize("language", ["pt", "en"])
def test_an_article_on_a_person_names_no_home_animal_dish_thing_or_person_but_theirs(language: str) -> None:
    """Reads the text without the frames, so that a frame that lies is found too."""
    town = full_town()
    forms = town.cast(language).forms
    people = {person.name: person for person in town.people}
    given = {person.given for person in town.people}
    shown = {
        id: name[""] for id, name in forms.items() if id.partition(":")[0] in ("place", "animal", "dish", "object")
    }
    names = "|".join(sorted(map(re.escape, shown.values()), key=len, reverse=True))
    phrase = re.compile(rf"\b({'an?' if language == 'en' else 'uma?'})? ?\b({names})\b")
    n_named = 0
    for document in prose(town, language):
        person = people.get(document.text.partition("\n")[0]) if document.kind == "article" else None
        if person is None:
            continue
        own = {forms[thing.id][""] for thing in (person.home, person.pet, person.dish, person.treasure)}
        body = document.text.partition("\n")[2]
        for article, name in phrase.findall(body):
            # Common nouns without "a" stand in proverbs and pastimes, and a shawl may be a garment.
            if name[0].isupper() or (article and name not in ("xale", "shawl", "kite", "hammock", "umbrella")):
                n_named += 1
                assert name in own, (document.origin, name)
        kin = {person.given, person.mother, person.father, person.spouse, person.pet_name}
        assert set(re.findall(r"\w+", body)) & given <= kin | set(person.surname.split()), document.origin
    assert n_named > 1000


@pytest.mark.parametrize("language", ["pt", "en"])
def test_every_fact_is_told_in_a_phrasing_that_ends_with_it(language: str) -> None:
    for relation in {fact.relation for fact in small_town().facts}:
        for section in (relation, f"{relation}.held_out"):
            assert len(ending_in_answer(grammar(language).sources[section], relation)) >= 3, section


def test_every_frame_of_facts_can_be_written_of_everyone() -> None:
    town = small_town()
    for language in ("pt", "en"):
        cast, rules = town.cast(language), grammar(language)
        for fact in town.facts:
            portrait = cast.portraits.get(fact.subject)
            forms = (portrait.full, portrait.short, portrait.pronoun) if portrait else (cast.forms[fact.subject],)
            for p in forms:
                for frame in rules.sections[fact.relation]:
                    assert frame(Scene(python_stream(0, "test"), {"p": p}))[-1] == "."
