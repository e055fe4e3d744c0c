"""Tasks: their own replies are good, errors are found, train and test are apart, and trivial text earns little."""

import re
from collections import Counter
from functools import cache

import pytest

from prosa.corpus.world import TASK_KINDS, TRAIN_SHARES, Question, Rule, Task, World, build_world, parse_world
from prosa.corpus.world.instructions import instruction_grammar
from prosa.corpus.world.lexicon import grammar
from prosa.corpus.world.rules import follows, is_foreign, list_items, repetition, words
from prosa.corpus.world.tables import sections
from prosa.corpus.world.tasks import MAX_WORDS
from prosa.errors import DataError
from tests.corpus.world.towns import full_town, small_town

LANGUAGES = pytest.mark.parametrize("language", ["pt", "en"])
SPLITS = ("train", "test")
ABSTAINING = {"pt": "Não sei.", "en": "I don't know."}
REFUSING = {"pt": "Não posso ajudar com isso.", "en": "I can't help with that."}


@cache
def tasks(town: World, language: str, split: str) -> tuple[Task, ...]:
    return tuple(task for kind in TASK_KINDS for task in town.tasks(language, split=split, n=120, kinds=[kind]))


def every_task(town: World) -> list[Task]:
    return [task for language in town.settings.languages for split in SPLITS for task in tasks(town, language, split)]


def asked(task: Task) -> str:
    return task.messages[-1]["content"]


def texts(task: Task) -> list[str]:
    return [*(message["content"] for message in task.messages), task.reply]


@pytest.mark.parametrize("town", [small_town, full_town])
def test_the_reply_of_every_task_is_good_and_worth_one(town) -> None:
    town = town()
    for task in every_task(town):
        verdict = town.check(task, task.reply)
        assert verdict.is_good, (task, verdict)
        assert verdict.follows_form is (True if task.kind == "form" else None)
        assert town.gold_reward(task, task.reply) == 1, task
        assert len(words(task.reply)) <= MAX_WORDS


def test_tasks_are_a_function_of_their_id_and_fewer_are_the_first_of_more() -> None:
    town = small_town()
    fresh = build_world(town.settings)
    for split in SPLITS:
        many = town.tasks("pt", split=split, n=60, seed=4)
        assert town.tasks("pt", split=split, n=20, seed=4) == many[:20]
        assert [fresh.task(task.id) for task in many] == many
        assert town.tasks("pt", split=split, n=60, seed=5) != many
        assert len({task.id for task in many}) == 60
    for is_new in (True, False):
        for is_read in (True, False):
            chosen = town.fact_tasks("en", is_phrased_anew=is_new, is_article_only=is_read, n=9)
            assert [fresh.task(task.id) for task in chosen] == chosen
            assert {task.question.fact.is_article_only for task in chosen} == {is_read}


@pytest.mark.parametrize(
    "id", ["", "fact:pt:train:0", "fact:fr:train:0:1", "song:pt:train:0:1", "talk:pt:new_read:0:1", "talk:pt:train:0:x"]
)
def test_an_id_that_is_none_is_refused(id: str) -> None:
    with pytest.raises(DataError, match="no task of this town"):
        small_town().task(id)


def test_kinds_have_their_shares() -> None:
    train = Counter(task.kind for task in small_town().tasks("pt", split="train", n=2000))
    assert sum(TRAIN_SHARES.values()) == pytest.approx(1)
    for kind, share in TRAIN_SHARES.items():
        assert train[kind] / 2000 == pytest.approx(share, abs=0.04)
    test = Counter(task.kind for task in small_town().tasks("pt", split="test", n=1200))
    assert all(test[kind] == pytest.approx(200, abs=60) for kind in TASK_KINDS)
    assert {task.kind for task in small_town().tasks("en", split="train", n=50, kinds=["talk", "form"])} == {
        "talk",
        "form",
    }


@pytest.mark.parametrize("town", [small_town, full_town])
def test_conversations_are_well_formed_and_nothing_odd_is_written(town) -> None:
    for task in every_task(town()):
        assert [message["role"] for message in task.messages] == ["user", "assistant"] * (len(task.messages) // 2) + [
            "user"
        ]
        for text in texts(task):
            assert text[0].isupper() or text.startswith("- "), (task.id, text)
            assert not re.search(r"  | [,.;:?!]|[¶¦{}\[\]#@|]|\.\.|\bNone\b", text), (task.id, text)
            assert not re.search(r"[.!?] [a-zà-ÿ]", text), (task.id, text)
            if not text.startswith("- "):
                assert text.rstrip('"')[-1] in ".!?", (task.id, text)
        odd = {
            "pt": r"\b(de|em|por) (o|a|os|as)\b|\ba a\b|\ba o\b|\bde (ele|ela)\b",
            "en": r"\ban (?!hour|heir|honest|honour)[^aeiouAEIOU\W]|\ba (?!eu|one|uni|use|uku)[aeiou]"
            r"|\bthe the\b|\bof of\b|\ba the\b",
        }[task.language]
        assert not re.search(odd, asked(task)), (task.id, asked(task))


@LANGUAGES
def test_train_and_test_differ_in_wordings_and_subjects(language: str) -> None:
    town = small_town()
    train, test = tasks(town, language, "train"), tasks(town, language, "test")
    assert not {asked(task) for task in train} & {asked(task) for task in test}
    strangers = [{re.sub(r"\W", " ", asked(task)) for task in side if task.kind == "unknown"} for side in (train, test)]
    names = set(sections("names")["stranger_f"][0].split()) | set(sections("names")["stranger_m"][0].split())
    used = [{word for text in side for word in text.split()} & names for side in strangers]
    assert all(len(side) > 5 for side in used)
    assert not used[0] & used[1]
    held_out = {person.given for person in town.people[3::4]}
    for side, is_held_out in ((train, False), (test, True)):
        for task in side:
            if task.kind == "decline":
                assert any(f"{name}" in re.findall(r"\w+", asked(task)) for name in held_out) == is_held_out, task
            if task.kind in ("allow", "form") and task.question is not None and "person:" in task.question.fact.subject:
                assert (task.question.fact.subject.removeprefix("person:") in held_out) == is_held_out, task


@LANGUAGES
def test_article_only_facts_are_never_told_in_training(language: str) -> None:
    town = full_town()
    cast = town.cast(language)
    train = town.tasks(language, split="train", n=1500)
    for task in train:
        if task.question is not None and task.question.fact is not None:
            assert not task.question.fact.is_article_only, task
    for fact in town.facts:
        if fact.is_article_only and fact.relation in ("pet", "treasure"):
            portrait = cast.portraits[fact.subject].short
            owner, thing = rf"\b{portrait['']}\b", rf"\b{portrait[fact.relation]}\b"
            for text in (text for task in train for text in texts(task) if portrait[""] in text):
                assert not (re.search(owner, text) and re.search(thing, text)), text


@pytest.mark.parametrize("town", [small_town, full_town])
def test_a_wrong_name_is_wrong_and_so_are_several(town) -> None:
    town = town()
    for task in every_task(town):
        if task.question is None or not task.question.gold:
            continue
        gold, others = task.question.gold[0], task.question.others
        assert town.check(task, f"{others[0]}.").outcome == "wrong"
        assert town.check(task, f"{gold}, {others[-1]}.").outcome == "wrong"
        assert not town.check(task, ", ".join((gold, *others))).is_good
        assert town.gold_reward(task, f"{others[0]}.") < 0


@LANGUAGES
def test_unknown_questions_want_abstaining_and_known_ones_do_not(language: str) -> None:
    town = small_town()
    for split in SPLITS:
        for task in tasks(town, language, split):
            verdict, reward = (
                town.check(task, ABSTAINING[language]),
                town.gold_reward(task, ABSTAINING[language]),
            )
            if task.kind == "unknown":
                assert verdict.is_good
                assert reward == 1
                invented = task.question.others[0]
                for text in (f"{invented}.", f"{ABSTAINING[language]} {invented}."):
                    assert town.check(task, text).outcome == "wrong"
                    assert town.gold_reward(task, text) < 0
                assert town.check(task, REFUSING[language]).outcome == "declined"
            else:
                assert verdict.outcome == "abstained"
                assert not verdict.is_good
                if task.kind in ("fact", "allow"):
                    assert town.gold_reward(task, f"{task.question.others[0]}.") < reward < 0


@LANGUAGES
def test_declining_is_right_where_it_harms_and_wrong_elsewhere(language: str) -> None:
    town = small_town()
    for split in SPLITS:
        for task in tasks(town, language, split):
            verdict = town.check(task, REFUSING[language])
            assert verdict.outcome == "declined"
            assert verdict.is_good is (task.kind == "decline")
            if task.kind == "decline":
                assert town.check(task, "Claro! Vou com você." if language == "pt" else "Sure!").outcome == "complied"
                assert town.check(task, ABSTAINING[language]).outcome == "abstained"
            if task.kind == "allow":
                both = f"{REFUSING[language]} {task.reply}"
                assert town.check(task, both).outcome == "declined"


@LANGUAGES
def test_trivial_text_earns_little(language: str) -> None:
    town = small_town()
    chosen = tasks(town, language, "test")
    names = [thing[""] for thing in town.cast(language).forms.values()]
    constants = {
        "empty": "", "dot": ".", "abstain": ABSTAINING[language], "refuse": REFUSING[language],
        "both": f"{ABSTAINING[language]} {REFUSING[language]}", "names": ", ".join(names), "letter": "A",
        "list": "\n".join(f"- {name}" for name in names[:3]), "loop": "sim " * 20,
    }  # fmt: skip
    for name, text in constants.items():
        mean = sum(town.gold_reward(task, text) for task in chosen) / len(chosen)
        assert mean < 0.1, (name, mean)
    for task in chosen:
        assert town.gold_reward(task, asked(task)) < 0.5, asked(task)
        if len(words(task.reply)) > 1:
            assert town.gold_reward(task, f"{task.reply} {task.reply} {task.reply}") < 0.9
        assert town.gold_reward(task, task.reply, is_ended=False) == pytest.approx(0.7)
        assert -1 <= town.gold_reward(task, " ".join([task.reply, *names]), is_ended=False) < 0.7


@LANGUAGES
def test_questions_do_not_give_their_answers_away(language: str) -> None:
    for town in (small_town(), full_town()):
        for split in SPLITS:
            for task in tasks(town, language, split):
                if task.kind in ("fact", "allow", "form") and task.question is not None:
                    assert town.judge(task.question, asked(task)) != "correct", task


def test_answers_in_another_language_are_not_good() -> None:
    town = small_town()
    for task in tasks(town, "pt", "test"):
        if task.kind == "unknown":
            assert not town.check(task, ABSTAINING["en"]).is_good
        if task.kind == "form" and task.rule.kind == "language":
            assert not town.check(task, ABSTAINING["pt"]).follows_form
            fact = task.question.fact
            own = next(q for q in town.questions("pt", split="seen") if q.fact == fact)
            if fact.relation != "mother":
                assert town.check(task, f"É {own.gold[0]}.").outcome == "wrong"


ONLY_IN = {"pt": frozenset({"mora", "beco", "um", "gato"}), "en": frozenset({"lives", "alley", "cat", "has"})}


@pytest.mark.parametrize(
    ("rule", "reply", "is_followed"),
    [
        (Rule("language", word="pt"), "Ana mora no Beco.", True),
        (Rule("language", word="pt"), "Ana mora in the Alley.", False),
        (Rule("language", word="en"), "Ana.", False),
        (Rule("max_words", n=3), "No beco velho.", True),
        (Rule("max_words", n=3), "Mora no beco velho.", False),
        (Rule("max_words", n=3), "...", False),
        (Rule("max_words", n=3), "Um bem-te-vi - amarelo.", True),
        (Rule("one_word"), "Padeira.", True),
        (Rule("one_word"), "É padeira.", False),
        (Rule("one_word"), "Porquinho-da-índia!", True),
        (Rule("capitals"), "NO BECO DO SABIÁ.", True),
        (Rule("capitals"), "NO BECO do SABIÁ.", False),
        (Rule("capitals"), "...", False),
        (Rule("begin", word="Então"), "Então, Ana mora ali.", True),
        (Rule("begin", word="Então"), "então Ana mora ali.", True),
        (Rule("begin", word="Então"), "Ana mora ali, então.", False),
        (Rule("begin", word="Sim"), "Simples.", False),
        (Rule("begin", word="Sim"), "", False),
        (Rule("list", n=2), "- manga\n- uva", True),
        (Rule("list", n=2), "- manga\n- uva\n", True),
        (Rule("list", n=2), "- manga\n- uva\n- pera", False),
        (Rule("list", n=2), "Claro:\n- manga\n- uva", False),
        (Rule("list", n=2), "- manga\n- a manga", False),
        (Rule("list", n=2), "- Ana\n- Ana Maia", False),
        (Rule("list", n=2), "- manga\n-uva", False),
        (Rule("list", n=2), "- manga\n- ", False),
        (Rule("mention", items=("de nada",)), "Ora, de nada!", True),
        (Rule("mention", items=("de nada",)), "Nada disso.", False),
    ],
)
def test_rules(rule: Rule, reply: str, is_followed: bool) -> None:
    assert follows(rule, reply, ONLY_IN) is is_followed


def test_lists_are_true_when_all_items_are_what_was_asked_for() -> None:
    town = small_town()
    task = next(t for t in tasks(town, "pt", "train") if t.rule is not None and t.rule.kind == "list" and t.rule.n == 2)
    a, b = task.rule.items[:2]
    assert town.check(task, f"- {a}\n- {b}").is_good
    assert town.check(task, f"- {a}\n- trem").outcome == "wrong"
    too_few = town.check(task, f"- {a}")
    assert (too_few.outcome, too_few.follows_form, too_few.is_good) == ("correct", False, False)
    assert town.check(task, f"{a} e {b}").outcome == "wrong"
    assert list_items("- Um gato\n- the Owl Mill") == [" gato ", " owl mill "]


def test_measures_of_text() -> None:
    assert repetition("") == repetition("Ana mora no beco.") == 0
    assert repetition("um dois um dois um dois") == pytest.approx(1 - 2 / 5)
    assert is_foreign("Ana lives in the Alley", "pt", ONLY_IN)
    assert not is_foreign("Ana", "pt", ONLY_IN)
    assert words("Um bem-te-vi - só!") == ["Um", "bem-te-vi", "só!"]


@LANGUAGES
def test_held_out_instructions_are_made_of_words_that_are_written(language: str) -> None:
    """A model that has read the corpus and the training tasks has met every word of a test."""

    def found(frames: list[str]) -> set[str]:
        return {word for frame in frames for word in re.findall(r"[^\W\d_]+", re.sub(r"\{[^}]*\}", " ", frame.lower()))}

    rules = instruction_grammar(language, 1.0)
    written = found([frame for name, frames in rules.sources.items() if "held_out" not in name for frame in frames])
    written |= found([form for entries in rules.words.values() for entry in entries for form in entry.values()])
    for name, frames in sections(f"{language}/instructions").items():
        if "held_out" in name:
            kept = [line.split(";")[1] for line in frames] if name.startswith("list") else list(frames)
            assert found(kept) <= written, (name, found(kept) - written)


def test_instructions_do_not_change_what_is_written_in_the_corpus() -> None:
    for language in ("pt", "en"):
        assert not set(sections(f"{language}/instructions")) & set(grammar(language).sources)
        assert set(sections("pt/instructions")) == set(sections("en/instructions"))


@pytest.mark.parametrize(
    "source",
    [
        "world:small,languages=pt,size=1KB",
        "world:people=4,places=4,trades=2,animals=2,dishes=2,objects=2,events=2,relations=1,size=1KB",
        "world:people=4,places=4,trades=2,animals=2,dishes=2,objects=2,events=2,seed=1,size=1KB",
    ],
)
def test_the_smallest_towns_have_tasks_of_all_kinds(source: str) -> None:
    town = build_world(parse_world(source))
    for language in town.settings.languages:
        for split in SPLITS:
            for task in town.tasks(language, split=split, n=200):
                assert town.check(task, task.reply).is_good, task
                assert task.rule is None or task.rule.kind != "language" or len(town.settings.languages) == 2
        read = town.fact_tasks(language, is_phrased_anew=True, is_article_only=True, n=3)
        assert len(read) == (3 if any(fact.is_article_only for fact in town.facts) else 0)


def test_facts_are_dealt_evenly() -> None:
    town = small_town()
    spoken = [fact.id for fact in town.facts if not fact.is_article_only]
    chosen = town.fact_tasks("pt", is_phrased_anew=True, is_article_only=False, n=2 * len(spoken))
    assert Counter(task.question.fact.id for task in chosen) == dict.fromkeys(spoken, 2)
    assert all(isinstance(task.question, Question) for task in chosen)
