"""What can be checked of an answer without knowing what is true: its form, its language, whether it repeats itself."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Literal

from prosa.corpus.world.cast import Cast
from prosa.corpus.world.frames import Grammar
from prosa.corpus.world.questions import plain

RuleKind = Literal["language", "max_words", "one_word", "capitals", "begin", "list", "mention"]
_ARTICLES = re.compile(r"^ (?:o|a|os|as|um|uma|an|the) ")


@dataclass(frozen=True, slots=True)
class Rule:
    """The form an answer is asked to have.

    language: `word` is pt or en, and no word of the other language may be used; max_words: at most `n`; one_word;
    capitals: no small letter; begin: the first word is `word`; list: `n` different lines that begin with "- " and
    nothing else, of which those in `items` are true; mention: one of `items` is said (small talk).
    """

    kind: RuleKind
    n: int = 0
    word: str = ""
    items: tuple[str, ...] = ()


def follows(rule: Rule, reply: str, only_in: Mapping[str, frozenset[str]]) -> bool:
    """Whether `reply` has the form, be it true or not; `only_in` are the words that one language alone has."""
    said = words(reply)
    if rule.kind == "language":
        n_own, n_foreign = _count_words(reply, rule.word, only_in)
        return n_own > 0 and n_foreign == 0
    if rule.kind == "max_words":
        return 0 < len(said) <= rule.n
    if rule.kind == "one_word":
        return len(said) == 1
    if rule.kind == "capitals":
        return any(c.isupper() for c in reply) and not any(c.islower() for c in reply)
    if rule.kind == "begin":
        return bool(said) and plain(said[0]) == plain(rule.word)
    if rule.kind == "list":
        items = list_items(reply)
        return items is not None and len(items) == rule.n
    return any(plain(item) in plain(reply) for item in rule.items)


def list_items(reply: str) -> list[str] | None:
    """The items of a list, plain and without articles; None if a line is no item or two are the same."""
    lines = reply.strip().split("\n")
    items = [_ARTICLES.sub(" ", plain(line)) for line in lines]
    if not all(line.startswith("- ") and item.strip() for line, item in zip(lines, items, strict=True)):
        return None
    # "Ana" and "Ana Maia" may be the same person.
    is_repeated = any(a.startswith(b) for i, a in enumerate(items) for j, b in enumerate(items) if i != j)
    return None if is_repeated else items


def lists_truth(rule: Rule, reply: str) -> bool:
    """Whether `reply` is a list of things that were asked for, however many."""
    items = list_items(reply)
    return items is not None and set(items) <= {plain(item) for item in rule.items}


def words(text: str) -> list[str]:
    """The words of `text` as a person counts them: "bem-te-vi" is one."""
    return [word for word in text.split() if any(c.isalnum() for c in word)]


def repetition(text: str) -> float:
    """The share of pairs of neighbouring words that stood in `text` before: about 0 in good answers, 1 in a loop."""
    pairs = list(pairwise(plain(text).split()))
    return 1 - len(set(pairs)) / len(pairs) if pairs else 0.0


def is_foreign(text: str, language: str, only_in: Mapping[str, frozenset[str]]) -> bool:
    """Whether more words of `text` belong to the other language alone than to `language` alone."""
    n_own, n_foreign = _count_words(text, language, only_in)
    return n_foreign > n_own


def _count_words(text: str, language: str, only_in: Mapping[str, frozenset[str]]) -> tuple[int, int]:
    said = plain(text).split()
    n_own = sum(word in only_in[language] for word in said)
    return n_own, sum(word in only_in[name] for word in said for name in only_in if name != language)


def distinctive_words(grammars: Mapping[str, Grammar], casts: Mapping[str, Cast]) -> dict[str, frozenset[str]]:
    """For each language its words, plain, that no other has: of its frames, its lists, and the names in the town."""
    known = {name: _vocabulary(grammar, casts.get(name)) for name, grammar in grammars.items()}
    return {
        name: frozenset(own.difference(*(other for label, other in known.items() if label != name)))
        for name, own in known.items()
    }


def _vocabulary(grammar: Grammar, cast: Cast | None) -> set[str]:
    texts = [re.sub(r"\{[^{}]*\}", " ", frame) for frames in grammar.sources.values() for frame in frames]
    entries = [entry for words in grammar.words.values() for entry in words]
    if cast is not None:
        entries += chain(cast.forms.values(), (portrait.full for portrait in cast.portraits.values()))
    # Genders and names of relations are in the forms too, but nobody writes them.
    texts += [
        text for entry in entries for key, text in entry.items() if key.rpartition(".")[2] not in ("g", "relations")
    ]
    return set(plain(" ".join(texts)).split())
