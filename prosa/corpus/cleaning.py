"""Cleaning: a text comes in, the same text without the marks of its files and transports goes out.

The rules run in the order of CLEANING_RULES, each reports whether it changed the text. Source code keeps its spaces,
blank lines and characters; only line ends and control characters are mended there.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Any

# UTF-8 read as Windows-1252 or Latin-1 leaves these pairs; ftfy, which is slow, sees only lines that have one.
_MOJIBAKE = re.compile(
    "[\u00c2\u00c3\u00c5\u00d0\u00e2\u00ef][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]"
)
_ASCII_CONTROL = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u200b\ufeff\ufffe\uffff]")
_C1_CONTROL = re.compile("[\x80-\x9f]")
_BLANK_START = re.compile(r"(?:[ \t]*\n)+")
_INVISIBLE = ("\u00ad", "\u200b", "\ufeff", "\ufffe", "\uffff")
_LANGUAGE_SAMPLE_CHARS = 1000


def clean_text(text: str, *, is_code: bool) -> tuple[str, list[str]]:
    """The cleaned text and the rules that changed it."""
    touched = []
    for rule, step in _CODE_RULES if is_code else _RULES:
        cleaned = step(text)
        if cleaned is not text and cleaned != text:
            touched.append(rule)
            text = cleaned
    return text, touched


def find_language(text: str, languages: tuple[str, ...]) -> str:
    """The likeliest language of the text, among `languages` if given; "" if the text has no letters to tell by."""
    middle = max(len(text) // 2, _LANGUAGE_SAMPLE_CHARS)
    sample = f"{text[:_LANGUAGE_SAMPLE_CHARS]} {text[middle : middle + _LANGUAGE_SAMPLE_CHARS]}"
    if not any(map(str.isalpha, sample)):
        return ""
    return str(_identifier(languages).classify(sample)[0])


@lru_cache(maxsize=2)
def _identifier(languages: tuple[str, ...]) -> Any:
    """Loading takes half a second, so it is done once a process and only where a language is not known."""
    import py3langid.langid as langid

    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    known = tuple(language for language in languages if language in identifier.labels)
    if known:
        identifier.set_languages(known)
    return identifier


def _line_ends(text: str) -> str:
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    for mark in ("\u2028", "\u2029", "\x85"):
        if mark in text:
            text = text.replace(mark, "\n")
    return text


def _control(text: str) -> str:
    """Removes characters that nobody sees: controls but tab and newline, soft hyphens, byte order marks."""
    if text.isascii():
        data = text.encode()
        clean = data.translate(None, _ASCII_CONTROL)
        return text if len(clean) == len(data) else clean.decode()
    has_ascii_control = any(chr(code) in text for code in _ASCII_CONTROL)
    if has_ascii_control or any(mark in text for mark in _INVISIBLE) or _C1_CONTROL.search(text):
        return _CONTROL.sub("", text)
    return text


def _mojibake(text: str) -> str:
    if text.isascii() or not _MOJIBAKE.search(text):
        return text
    import ftfy

    lines = text.split("\n")
    mended = [ftfy.fix_encoding(line) if _MOJIBAKE.search(line) else line for line in lines]
    return "\n".join(mended) if mended != lines else text


def _nfc(text: str) -> str:
    return text if unicodedata.is_normalized("NFC", text) else unicodedata.normalize("NFC", text)


def _trailing(text: str) -> str:
    # Looking behind keeps a long run of spaces inside a line from costing its length squared.
    return re.sub(r"(?<![ \t])[ \t]+\n", "\n", text) if " \n" in text or "\t\n" in text else text


def _blank(text: str) -> str:
    return re.sub(r"\n{4,}", "\n\n\n", text) if "\n\n\n\n" in text else text


def _outer(text: str) -> str:
    """No blank lines before the text and no space after it; the first line keeps its indentation."""
    blank = _BLANK_START.match(text)
    return text[blank.end() if blank else 0 :].rstrip()


_CODE_RULES = (("line ends", _line_ends), ("control characters", _control))
# Mojibake comes first: its bytes look like controls, soft hyphens and line ends.
_RULES = (
    ("mojibake", _mojibake),
    *_CODE_RULES,
    ("NFC", _nfc),
    ("trailing spaces", _trailing),
    ("blank lines", _blank),
    ("outer space", _outer),
)
CLEANING_RULES = tuple(rule for rule, _ in _RULES)
