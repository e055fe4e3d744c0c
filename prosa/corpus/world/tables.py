"""The packaged data files: tables with named columns, and sections of lines under `[name]`."""

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

_DATA = files("prosa.corpus.world").joinpath("data")


def _lines(name: str) -> list[str]:
    text = _DATA.joinpath(f"{name}.txt").read_text(encoding="utf-8")
    return [line.rstrip() for line in text.splitlines() if line.strip() and not line.startswith("# ")]


@cache
def table(name: str) -> tuple[dict[str, str], ...]:
    """Rows of data/NAME.txt: the first line names the columns, cells are parted by `|`."""
    header, *rows = [[cell.strip() for cell in line.split("|")] for line in _lines(name)]
    return tuple(dict(zip(header, row, strict=True)) for row in rows)


@cache
def sections(name: str) -> dict[str, tuple[str, ...]]:
    """Lines of data/NAME.txt by section."""
    found: dict[str, list[str]] = {}
    for line in _lines(name):
        if header := re.fullmatch(r"\[([^\]|]+)\]", line):
            current = found.setdefault(header[1], [])
        else:
            current.append(line)
    return {header: tuple(lines) for header, lines in found.items()}


def names(column: str) -> tuple[str, ...]:
    """A list of data/names.txt: female, male, surname, pet, or those of strangers."""
    return tuple(sections("names")[column][0].split())


def entries(lines: Sequence[str]) -> list[str]:
    """The entries of a section of words, parted by `;`."""
    return [entry.strip() for entry in ";".join(lines).split(";") if entry.strip()]


def irregular(language: str, section: str) -> dict[str, list[str]]:
    """Irregular forms by word."""
    rows = (entry.split() for entry in entries(sections(f"{language}/irregular")[section]))
    return {word: forms for word, *forms in rows}
