from random import Random

import pytest

from prosa.corpus.world import english, portuguese
from prosa.corpus.world.chance import deal, sample, shuffled
from prosa.corpus.world.frames import Grammar, Scene, capitalised
from prosa.corpus.world.lexicon import grammar


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("flor", "flores"), ("pão", "pães"), ("mão", "mãos"), ("botão", "botões"), ("jardim", "jardins"),
        ("anel", "anéis"), ("anzol", "anzóis"), ("sinal", "sinais"), ("barril", "barris"), ("lápis", "lápis"),
        ("mês", "meses"), ("arroz-doce", "arrozes-doces"), ("porquinho-da-índia", "porquinhos-da-índia"),
    ],
)  # fmt: skip
def test_portuguese_plurals(word: str, expected: str) -> None:
    assert portuguese.plural(word) == expected


def test_portuguese_nouns_contract_with_their_articles() -> None:
    forms = portuguese.noun_forms("a colher de pau")
    assert [forms[key] for key in ("do", "no", "ao", "pelo", "num", "um", "os")] == [
        "da colher de pau", "na colher de pau", "à colher de pau", "pela colher de pau", "numa colher de pau",
        "uma colher de pau", "as colheres de pau",
    ]  # fmt: skip
    assert portuguese.noun_forms("o Beco do Sabiá")["ao"] == "ao Beco do Sabiá"


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("varrer", "varro varre varrem varri varreu varreram varria varrendo varrido"),
        ("pescar", "pesco pesca pescam pesquei pescou pescaram pescava pescando pescado"),
        ("alcançar", "alcanço alcança alcançam alcancei alcançou alcançaram alcançava alcançando alcançado"),
        ("passear", "passeio passeia passeiam passeei passeou passearam passeava passeando passeado"),
        ("fazer", "faço faz fazem fiz fez fizeram fazia fazendo feito"),
        ("sair", "saio sai saem saí saiu saíram saía saindo saído"),
        ("moer", "moo mói moem moí moeu moeram moía moendo moído"),
        ("erguer", "ergo ergue erguem ergui ergueu ergueram erguia erguendo erguido"),
        ("sacudir", "sacudo sacode sacodem sacudi sacudiu sacudiram sacudia sacudindo sacudido"),
    ],
)
def test_portuguese_verbs(verb: str, expected: str) -> None:
    forms = portuguese.conjugate(verb)
    keys = ("eu", "pres", "pres3p", "pret1", "pret", "pret3p", "imp", "ger", "part")
    assert " ".join(forms[key] for key in keys) == expected


def test_portuguese_adjectives_agree() -> None:
    assert portuguese.adjective_forms("trabalhador")["f"] == "trabalhadora"
    assert portuguese.adjective_forms("gentil") | {"": ""} == {
        "": "",
        "m": "gentil",
        "f": "gentil",
        "mp": "gentis",
        "fp": "gentis",
    }
    assert portuguese.adjective_forms("vermelho/vermelha")["fp"] == "vermelhas"
    assert portuguese.adjective_forms("sem graça")["f"] == "sem graça"


@pytest.mark.parametrize(
    ("verb", "expected"),
    [
        ("sweep", "sweeps swept sweeping swept"), ("carry", "carries carried carrying carried"),
        ("chop", "chops chopped chopping chopped"), ("bake", "bakes baked baking baked"),
        ("fix", "fixes fixed fixing fixed"), ("play", "plays played playing played"), ("tie", "ties tied tying tied"),
    ],
)  # fmt: skip
def test_english_verbs(verb: str, expected: str) -> None:
    forms = english.conjugate(verb)
    assert " ".join(forms[key] for key in ("s", "past", "ing", "part")) == expected


def test_english_nouns() -> None:
    assert english.noun_forms("jar of honey")["pl"] == "jars of honey"
    assert english.noun_forms("loaf/loaves") == {"": "loaf", "the": "the loaf", "a": "a loaf", "pl": "loaves", "g": "n"}
    pairs = {
        "owl": "an",
        "umbrella": "an",
        "unicorn": "a",
        "hour": "an",
        "eucalyptus": "a",
        "hen": "a",
        "one-eyed cat": "a",
    }
    assert {word: english.article(word) for word in pairs} == pairs


def test_numbers_in_words() -> None:
    assert [portuguese.number_words(n) for n in (7, 19, 20, 43)] == ["sete", "dezenove", "vinte", "quarenta e três"]
    assert [english.number_words(n) for n in (7, 19, 20, 43)] == ["seven", "nineteen", "twenty", "forty-three"]


def test_choices_are_fair_and_complete() -> None:
    rng = Random(1)
    assert sorted(shuffled(rng, range(50))) == list(range(50))
    assert len(set(sample(rng, range(50), 20))) == 20
    dealt = deal(rng, "abc", 8)
    assert {dealt.count(letter) for letter in "abc"} == {2, 3}


def test_frames_fill_slots_agree_and_remember() -> None:
    words = {"tool": [portuguese.noun_forms("a enxada")], "mood": [portuguese.adjective_forms("cansado")]}
    frames = {
        "line": ["{p} est{p:á só|á} {#mood~p} e pega {#tool=t.um}, {t.ele}."],
        "two": ["[{@line}|{@line}] {@line(q)} {p}"],
    }
    rose, joe = {"": "Rosa", "g": "f"}, {"": "José", "g": "m"}
    scene = Scene(Random(0), {"p": rose, "q": joe})
    written = Grammar(frames, words).write("two", scene)
    assert written == "Rosa está cansada e pega uma enxada, ela. José está só cansado e pega uma enxada, ela. Rosa"


@pytest.mark.parametrize("frame", ["{p", "[a|b", "a]b", "{@nowhere}"])
def test_a_broken_frame_is_refused(frame: str) -> None:
    with pytest.raises(ValueError, match=r"frame|section"):
        Grammar({"line": [frame]}, {})


def test_sentences_begin_with_a_capital_letter_but_a_tag_does_not() -> None:
    assert (
        capitalised("é cedo. ela ri! — vem? — disse ela. — já vou.") == "É cedo. Ela ri! — vem? — disse ela. — Já vou."
    )
    assert capitalised('"why?" asked she.\n"so."') == '"Why?" asked she.\n"So."'


@pytest.mark.parametrize("language", ["pt", "en"])
def test_there_are_several_hundred_frames(language: str) -> None:
    assert sum(map(len, grammar(language).sources.values())) >= 500
