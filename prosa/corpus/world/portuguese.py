"""Portuguese word forms: a noun with its article, an adjective or a verb phrase comes in, all its forms go out.

Only what the frames use is here: third persons of three tenses, the first person of two, and the nominal forms.
"""

import re

from prosa.corpus.world.tables import irregular

_IRREGULAR_PLURALS = irregular("pt", "plurals")
_IRREGULAR_VERBS = irregular("pt", "verbs")


def plural(word: str) -> str:
    """The plural of one word."""
    if word in _IRREGULAR_PLURALS:
        return _IRREGULAR_PLURALS[word][0]
    if "-" in word:
        first, rest = word.split("-", 1)
        return f"{plural(first)}-{rest}" if re.match(r"d[aeo]s?-", rest) else f"{plural(first)}-{plural(rest)}"
    for ending, new in (("ão", "ões"), ("m", "ns"), ("ês", "eses"), ("ás", "ases"), ("il", "is"), ("el", "éis"),
                        ("ol", "óis"), ("al", "ais"), ("ul", "uis"), ("r", "res"), ("z", "zes")):  # fmt: skip
        if word.endswith(ending):
            return word[: -len(ending)] + new
    return word if word.endswith(("s", "x")) else word + "s"


def plural_phrase(phrase: str) -> str:
    """The plural of a noun phrase: every word before its first preposition ("bolos de fubá", "relógios antigos")."""
    head, rest = re.fullmatch(r"(.*?)((?: (?:de|d[ao]s?|com|à|ao|em|n[ao]|para|sem)\b.*)?)", phrase).groups()  # type: ignore[union-attr]
    return " ".join(plural(word) for word in head.split(" ")) + str(rest)


def noun_forms(entry: str) -> dict[str, str]:
    """All forms of a noun written with its article, "a samambaia" or "o pão"; plurals come as "os" or "as"."""
    article, noun = entry.split(" ", 1)
    noun, slash, given_plural = noun.partition("/")
    gender = "f" if article.startswith("a") else "m"
    many = article.endswith("s")
    plurals = given_plural if slash else noun if many else plural_phrase(noun)
    a, s = ("a" if gender == "f" else "o"), ("s" if many else "")
    crase = f"à{s}" if gender == "f" else f"ao{s}"
    um = {"o": "um", "a": "uma", "os": "uns", "as": "umas"}[article]
    return {
        "": noun, "g": gender, "o": f"{article} {noun}", "um": f"{um} {noun}", "do": f"d{article} {noun}",
        "no": f"n{article} {noun}", "ao": f"{crase} {noun}", "pelo": f"pel{article} {noun}",
        "num": f"n{um} {noun}", "dum": f"de {um} {noun}", "ele": f"el{'e' if a == 'o' else 'a'}{s}",
        "dele": f"del{'e' if a == 'o' else 'a'}{s}", "esse": f"ess{'e' if a == 'o' else 'a'}{s} {noun}",
        "aquele": f"aquel{'e' if a == 'o' else 'a'}{s} {noun}", "lo": article,
        "pl": plurals, "os": f"{a}s {plurals}", "dos": f"d{a}s {plurals}", "nos": f"n{a}s {plurals}",
        "uns": f"{'uns' if a == 'o' else 'umas'} {plurals}",
    }  # fmt: skip


def adjective_forms(word: str) -> dict[str, str]:
    """Keys m, f, mp, fp (and "" for m)."""
    head, _, rest = word.partition(" ")
    rest = f" {rest}" if rest else ""
    feminine = head
    if "/" in head:
        head, feminine = head.split("/")
    elif head.endswith("o") and not head.endswith("ão"):
        feminine = head[:-1] + "a"
    elif head.endswith(("or", "ês")):
        feminine = head.replace("ês", "es") + "a"
    elif head.endswith("ão"):
        feminine = head[:-1]
    forms = {"m": head + rest, "f": feminine + rest, "mp": plural(head) + rest, "fp": plural(feminine) + rest}
    return forms | {"": forms["m"]}


_SLOTS = ("eu", "pres", "pres3p", "pret1", "pret", "pret3p", "imp", "ger", "part")
_ENDINGS = {
    "ar": ("o", "a", "am", "ei", "ou", "aram", "ava", "ando", "ado"),
    "er": ("o", "e", "em", "i", "eu", "eram", "ia", "endo", "ido"),
    "ir": ("o", "e", "em", "i", "iu", "iram", "ia", "indo", "ido"),
}
_SOFT = {"car": ("c", "qu"), "gar": ("g", "gu"), "çar": ("ç", "c")}


def conjugate(verb: str) -> dict[str, str]:
    """Forms of an infinitive: inf, eu, pres, pres3p, pret1, pret, pret3p, imp, imp3p, ger, part."""
    stem, ending = verb[:-2], verb[-2:].replace("ôr", "er")
    regular = [stem + suffix for suffix in _ENDINGS[ending]]
    if verb[-3:] in _SOFT:
        letter, soft = _SOFT[verb[-3:]]
        regular[3] = stem[: -len(letter)] + soft + "ei"
    elif verb.endswith("ear"):
        regular[:3] = [stem + suffix for suffix in ("io", "ia", "iam")]
    elif verb.endswith("guer"):
        regular[0] = stem[:-2] + "go"
    elif verb.endswith(("ger", "gir")):
        regular[0] = stem[:-1] + "jo"
    elif verb.endswith("cer"):
        regular[0] = stem[:-1] + "ço"
    elif verb.endswith("uir") and not verb.endswith("guir"):
        regular[1:3] = [stem + "i", stem + "em"]
    irregular = _IRREGULAR_VERBS.get(verb, ["_"] * 9)
    forms = {
        slot: usual if other == "_" else other for slot, usual, other in zip(_SLOTS, regular, irregular, strict=True)
    }
    forms["imp3p"] = forms["imp"] + "m"
    return forms | {"inf": verb}


def verb_forms(entry: str) -> dict[str, str]:
    """All forms of a verb phrase such as "varrer a calçada"; only its first word changes."""
    verb, space, rest = entry.partition(" ")
    forms = {slot: f"{form}{space}{rest}" for slot, form in conjugate(verb).items()}
    return forms | {"": forms["inf"]}


_ONES = ("zero", "um", "dois", "três", "quatro", "cinco", "seis", "sete", "oito", "nove", "dez", "onze", "doze",
         "treze", "catorze", "quinze", "dezesseis", "dezessete", "dezoito", "dezenove")  # fmt: skip
_TENS = ("", "", "vinte", "trinta", "quarenta", "cinquenta", "sessenta", "setenta", "oitenta", "noventa")


def number_words(n: int) -> str:
    """0 to 99 in words, masculine."""
    if n < 20:
        return _ONES[n]
    return _TENS[n // 10] + (f" e {_ONES[n % 10]}" if n % 10 else "")
