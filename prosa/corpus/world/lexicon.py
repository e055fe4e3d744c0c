"""The frames and words of one language, read from its data files into a grammar."""

from functools import cache
from math import ceil

from prosa.corpus.world import english, portuguese
from prosa.corpus.world.frames import Forms, Grammar
from prosa.corpus.world.tables import entries, sections

_FORMS = {
    "pt": {"noun": portuguese.noun_forms, "adjective": portuguese.adjective_forms, "verb": portuguese.verb_forms},
    "en": {"noun": english.noun_forms, "adjective": english.adjective_forms, "verb": english.verb_forms},
}


@cache
def grammar(language: str, richness: float = 1.0) -> Grammar:
    """The frames of one language and that share of each list of words; `¶` begins a paragraph and `¦` a line."""
    words: dict[str, list[Forms]] = {}
    for header, lines in sections(f"{language}/words").items():
        name, kind = header.split()
        forms = _FORMS[language].get(kind)
        kept = entries(lines)
        kept = kept[: ceil(richness * len(kept))]
        words[name] = [forms(entry) if forms else {"": entry} for entry in kept]
    frames: dict[str, list[str]] = {}
    for file in ("facts", "articles", "stories", "dialogues"):
        for name, lines in sections(f"{language}/{file}").items():
            frames.setdefault(name, []).extend(line.replace("¶", "\n\n").replace("¦", "\n") for line in lines)
    return Grammar(frames, words)
