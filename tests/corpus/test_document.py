import hashlib

import pytest

from prosa.corpus.document import EXAMPLES_PER_REASON, Document, ReadReport, Tally, kind_of_word, language_of_word


def test_id_depends_on_the_text_alone() -> None:
    text = "Olá, açaí!"
    first = Document(text, "book", "pt", "a", "CC0-1.0", "x:1")
    second = Document(text, "article", "en", "b", "unknown", "y:2", piece=3)
    assert first.id == second.id == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    assert len(first.id) == 32


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("Dialogue", "conversation"),
        ("fairy tale", "book"),
        ("python", "code"),
        ("news", "article"),
        ("blah", ""),
        (3, ""),
    ],
)
def test_kind_words(word: object, kind: str) -> None:
    assert kind_of_word(word) == kind


@pytest.mark.parametrize(
    ("word", "language"),
    [
        ("pt-BR", "pt"),
        ("en", "en"),
        ("por_Latn", "por"),
        ("Portuguese", "pt"),
        ("code", "code"),
        ("??", ""),
        (None, ""),
    ],
)
def test_language_words(word: object, language: str) -> None:
    assert language_of_word(word) == language


def test_tally_counts_exactly_and_keeps_the_first_examples() -> None:
    left, right = Tally(), Tally()
    for number in range(3):
        left.add("binary", f"a{number}")
    for number in range(100):
        right.add("binary", f"b{number}", "why")
    right.add("empty", "c")
    left.merge(right)
    assert left.counts == {"binary": 103, "empty": 1}
    assert left.examples["binary"] == ["a0", "a1", "a2", "b0: why", "b1: why"]
    assert len(left.examples["binary"]) == EXAMPLES_PER_REASON


def test_taken_reports_merge_back_to_the_whole() -> None:
    report, whole = ReadReport(), ReadReport()
    for number in range(4):
        report.n_documents += 1
        report.skipped.add("hidden", f"f{number}")
        report.cleaned["NFC"] = report.cleaned.get("NFC", 0) + 2
        whole.merge(report.take())
    assert report.to_json() == ReadReport().to_json()
    assert (whole.n_documents, whole.skipped.counts, whole.cleaned) == (4, {"hidden": 4}, {"NFC": 8})
