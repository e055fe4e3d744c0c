"""English word forms: a noun, an adjective or a verb phrase comes in, all its forms go out."""

import re

from prosa.corpus.world.tables import irregular

_IRREGULAR_PLURALS = irregular("en", "plurals")
_IRREGULAR_VERBS = irregular("en", "verbs")
_DOUBLED = irregular("en", "doubled")
_SILENT_H = ("hour", "honest", "honour", "heir")
_HARD_VOWEL = ("uni", "use", "usu", "eu", "one", "once", "uku", "ute")


def article(phrase: str) -> str:
    """ "a" or "an", by the sound the phrase begins with."""
    word = phrase.lower()
    if word.startswith(_SILENT_H):
        return "an"
    return "an" if word[0] in "aeiou" and not word.startswith(_HARD_VOWEL) else "a"


def plural(word: str) -> str:
    """The plural of one word."""
    if word in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[word][0]
    if re.search(r"[^aeiou]y$", word):
        return word[:-1] + "ies"
    if word.endswith(("s", "x", "z", "ch", "sh")):
        return word + "es"
    return word + "s"


def noun_forms(entry: str) -> dict[str, str]:
    """All forms of a noun ("fern", "pocket watch", "pinch of salt"); one written "the ..." is a proper name."""
    if entry.startswith("the "):
        noun = entry[4:]
        return {"": noun, "the": entry, "a": entry, "pl": noun, "g": "n"}
    entry, slash, plurals = entry.partition("/")
    if not slash:
        head, of, rest = entry.partition(" of ")
        first, space, last = head.rpartition(" ")
        plurals = f"{first}{space}{plural(last)}{of}{rest}"
    return {"": entry, "the": f"the {entry}", "a": f"{article(entry)} {entry}", "pl": plurals, "g": "n"}


def adjective_forms(word: str) -> dict[str, str]:
    """English adjectives do not agree: the same word under every gender."""
    return {"": word, "m": word, "f": word, "n": word, "a": f"{article(word)} {word}"}


def conjugate(verb: str) -> dict[str, str]:
    """Forms of a base verb: base, s, past, ing, part."""
    if re.search(r"[^aeiou]y$", verb):
        s, past = verb[:-1] + "ies", verb[:-1] + "ied"
    else:
        s = verb + ("es" if verb.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")
        past = verb + (verb[-1] + "ed" if verb in _DOUBLED else "d" if verb.endswith("e") else "ed")
    if verb.endswith("ie"):
        ing = verb[:-2] + "ying"
    elif verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        ing = verb[:-1] + "ing"
    else:
        ing = verb + (verb[-1] if verb in _DOUBLED else "") + "ing"
    past, part = _IRREGULAR_VERBS.get(verb, [past, past])
    return {"base": verb, "s": {"have": "has", "be": "is"}.get(verb, s), "past": past, "ing": ing, "part": part}


def verb_forms(entry: str) -> dict[str, str]:
    """All forms of a verb phrase such as "sweep the pavement"; only its first word changes."""
    verb, space, rest = entry.partition(" ")
    forms = {slot: f"{form}{space}{rest}" for slot, form in conjugate(verb).items()}
    return forms | {"": forms["base"]}


_ONES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
         "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen")  # fmt: skip
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")


def number_words(n: int) -> str:
    """0 to 99 in words."""
    if n < 20:
        return _ONES[n]
    return _TENS[n // 10] + (f"-{_ONES[n % 10]}" if n % 10 else "")
