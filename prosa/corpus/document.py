"""A document and the tallies kept while documents are made.

Readers turn sources into documents, cleaning and splitting pass them on, parts store them. Everything that a rule
touched, skipped or refused is counted here with a few places to look at.
"""

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

KINDS = ("book", "article", "code", "conversation")
EXAMPLES_PER_REASON = 5

# Words that data sets use for our four kinds; any other word says nothing about the kind.
_KIND_WORDS = {
    "book": "book novel story short_story children_story fairy_tale fiction poem poetry play conto romance livro",
    "article": "article news encyclopedia technical_docs docs documentation web blog essay speech notícia artigo",
    "code": "code python source source_code program",
    "conversation": "conversation dialogue dialog chat hearing_transcript transcript conversa diálogo",
}
_KIND_OF_WORD = {word: kind for kind, words in _KIND_WORDS.items() for word in words.split()}
_LANGUAGE_NAMES = {"english": "en", "portuguese": "pt", "português": "pt", "inglês": "en", "code": "code"}
_LANGUAGE_CODE = re.compile(r"([a-z]{2,3})(?:[-_][A-Za-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Document:
    """One text with where it came from.

    `language` is an ISO 639 code, "code" for source code, or "" while unknown. `origin` leads a person back to the
    place, as `file:line` or `file`. `piece` counts the pieces of a text too long for one document, from 0.
    """

    text: str
    kind: str
    language: str
    source: str
    licence: str
    origin: str
    piece: int = 0

    @property
    def id(self) -> str:
        """32 hex characters that depend on the text alone."""
        return content_id(self.text.encode("utf-8"))


def content_id(data: bytes) -> str:
    """blake2b-128 of UTF-8 text, in hex."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def kind_of_word(word: Any) -> str:
    """The kind that a data set's own word means ("dialogue" -> "conversation"), or ""."""
    return _KIND_OF_WORD.get(word.strip().lower().replace(" ", "_"), "") if isinstance(word, str) else ""


def language_of_word(word: Any) -> str:
    """The language that a data set's own word means ("pt-BR" -> "pt"), or ""."""
    if not isinstance(word, str):
        return ""
    word = word.strip()
    if name := _LANGUAGE_NAMES.get(word.lower()):
        return name
    match = _LANGUAGE_CODE.fullmatch(word)
    return match.group(1) if match else ""


@dataclass(slots=True)
class Tally:
    """Exact counts by reason, and the first few places of each."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, where: str, detail: str = "") -> None:
        self.counts[reason] = self.counts.get(reason, 0) + 1
        places = self.examples.setdefault(reason, [])
        if len(places) < EXAMPLES_PER_REASON:
            places.append(f"{where}: {detail}" if detail else where)

    def merge(self, other: "Tally") -> None:
        for reason, count in other.counts.items():
            self.counts[reason] = self.counts.get(reason, 0) + count
            places = self.examples.setdefault(reason, [])
            places.extend(other.examples.get(reason, [])[: EXAMPLES_PER_REASON - len(places)])

    def to_json(self) -> dict[str, Any]:
        return {
            reason: {"count": count, "examples": self.examples.get(reason, [])}
            for reason, count in sorted(self.counts.items())
        }


@dataclass(slots=True)
class ReadReport:
    """What reading and cleaning met: nothing is left out of a corpus without being counted here.

    rejected  input that cannot be used (binary, malformed, undecodable, empty ...)
    skipped   input left out by a rule or at the user's wish (git-ignored, vendored, generated, excluded ...)
    repaired  input used after a repair of its encoding
    cleaned   documents touched by each cleaning rule
    """

    n_documents: int = 0
    rejected: Tally = field(default_factory=Tally)
    skipped: Tally = field(default_factory=Tally)
    repaired: Tally = field(default_factory=Tally)
    cleaned: dict[str, int] = field(default_factory=dict)

    def merge(self, other: "ReadReport") -> None:
        self.n_documents += other.n_documents
        self.rejected.merge(other.rejected)
        self.skipped.merge(other.skipped)
        self.repaired.merge(other.repaired)
        for rule, count in other.cleaned.items():
            self.cleaned[rule] = self.cleaned.get(rule, 0) + count

    def take(self) -> "ReadReport":
        """What was counted so far; counting starts again from nothing."""
        taken = ReadReport(self.n_documents, self.rejected, self.skipped, self.repaired, self.cleaned)
        self.n_documents, self.cleaned = 0, {}
        self.rejected, self.skipped, self.repaired = Tally(), Tally(), Tally()
        return taken

    def to_json(self) -> dict[str, Any]:
        return {
            "documents_read": self.n_documents,
            "rejected": self.rejected.to_json(),
            "skipped": self.skipped.to_json(),
            "repaired": self.repaired.to_json(),
            "cleaned": dict(sorted(self.cleaned.items())),
        }
