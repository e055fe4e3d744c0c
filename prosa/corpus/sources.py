"""Where text comes from: a path, `python:`, `world:` or `hf:owner/name`, and what the user says about it.

A source's settings come in, its units of work or its documents come out; a fingerprint tells cheaply whether the
source is still what it was.
"""

import difflib
import hashlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator

from prosa.config import Settings
from prosa.corpus.document import Document, ReadReport, language_of_word
from prosa.corpus.hub import hub_records
from prosa.corpus.python_library import LICENCE as PYTHON_LICENCE
from prosa.corpus.python_library import python_units
from prosa.corpus.reading import ReadRules, Unit, WorldUnit, file_units, read_unit, record_units
from prosa.corpus.tree import walk
from prosa.errors import ConfigError, DataError

_PREFIXES = ("python:", "world:", "hf:")
_WORLD_DOCUMENTS_PER_UNIT = 500
ExcludeValue = bool | int | float | str


class SourceSettings(Settings):
    """One source. What a source says about its texts beats what its records say, and that beats what is guessed."""

    path: str = Field(min_length=1)
    """A file or folder, `python:`, `world:` (with its options) or `hf:owner/name[:config][:split]`."""
    name: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$", max_length=60)
    """Its name in reports and weights; taken from the path when empty."""
    kind: Literal["", "book", "article", "code", "conversation"] = ""
    language: str = ""
    """An ISO 639 code such as `pt`; found by language id when empty."""
    licence: str = Field("unknown", min_length=1, max_length=100)
    weight: float = Field(0, ge=0)
    """Share of the training tokens; 0 means in proportion to its size (docs/corpus.md)."""
    text_field: str = ""
    """The field with the text, where the usual names do not find it."""
    exclude: dict[str, ExcludeValue | tuple[ExcludeValue, ...]] = Field(default_factory=dict)
    """Records to leave out: field = value, values, or a comparison such as `">0.5"`."""
    max_bytes: int = Field(0, ge=0)
    """Stop after this much text; 0 means all of it."""
    keeps_ignored: bool = False
    """Read git-ignored, vendored, generated and hidden files too."""
    cleans: bool = True
    """False keeps every character as it was read."""

    @field_validator("language")
    @classmethod
    def _check_language(cls, value: str) -> str:
        if value and not language_of_word(value):
            raise ValueError("not a language code such as pt, en or pt-BR")
        return language_of_word(value)


def name_sources(sources: Sequence[SourceSettings]) -> tuple[SourceSettings, ...]:
    """The sources, each with a name of its own. Raises ConfigError if there are none or two were named the same."""
    if not sources:
        raise ConfigError("the corpus has no sources", hint='give at least one, such as `path = "texts/"` or `world:`')
    # Names become file names, and some file systems do not tell `A` from `a`.
    given = [source.name.casefold() for source in sources if source.name]
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ConfigError(f"two sources are called `{twice[0]}`", hint="give each source a name of its own")
    taken, named = set(given), []
    for source in sources:
        name, number = source.name or _name_of_path(source.path), 2
        while not source.name and name.casefold() in taken:
            name, number = f"{_name_of_path(source.path)}-{number}", number + 1
        taken.add(name.casefold())
        named.append(source.model_copy(update={"name": name}))
    return tuple(named)


def check_source(source: SourceSettings) -> None:
    """Raises DataError if the path is not there, naming the nearest that is, and ConfigError for wrong options."""
    if source.path.startswith("world:"):
        _world_settings(source)
        return
    if source.path.startswith(_PREFIXES):
        return
    path = _local_path(source)
    if not path.exists():
        raise DataError(f"source `{source.path}` does not exist", hint=_nearest_path(path))
    try:
        os.scandir(path).close() if path.is_dir() else path.open("rb").close()
    except OSError as error:
        raise DataError(f"source `{source.path}` cannot be read: {error.strerror}") from None


def source_units(source: SourceSettings, report: ReadReport) -> Iterator[Unit]:
    """The source's units of work, in a fixed order; what is skipped or unreadable is counted in `report`."""
    rules = read_rules(source)
    if source.path == "python:":
        yield from python_units(rules, report)
    elif source.path.startswith("world:"):
        start = 0
        while True:
            yield WorldUnit(source.path, start, start + _WORLD_DOCUMENTS_PER_UNIT)
            start += _WORLD_DOCUMENTS_PER_UNIT
    elif source.path.startswith("hf:"):
        yield from record_units(hub_records(source.path))
    else:
        yield from file_units(_local_path(source), rules, report)


def read_source(source: SourceSettings, report: ReadReport) -> Iterator[Document]:
    """The documents of one source, uncleaned, in order; bad input is counted in `report` and passed over.

    Raises DataError if the source is not there.
    """
    (source,) = name_sources([source])
    check_source(source)
    rules, limit, n_bytes = read_rules(source), limit_bytes(source), 0
    for unit in source_units(source, report):
        for document in read_unit(unit, rules, report):
            if limit and n_bytes >= limit:
                return
            report.n_documents += 1
            n_bytes += len(document.text.encode("utf-8", "surrogatepass"))
            yield with_settings(document, source)


def read_rules(source: SourceSettings) -> ReadRules:
    return ReadRules(source.name, source.text_field, dict(source.exclude), source.keeps_ignored)


def with_settings(document: Document, source: SourceSettings) -> Document:
    """The document with what the source's settings say, and the last resorts for what nobody said."""
    kind = source.kind or document.kind or "article"
    licence = source.licence
    if licence == "unknown":
        licence = document.licence or (PYTHON_LICENCE if source.path == "python:" else licence)
    return Document(
        text=document.text,
        kind=kind,
        language="code" if kind == "code" else source.language or document.language,
        source=source.name,
        licence=licence,
        origin=document.origin,
        piece=document.piece,
    )


def limit_bytes(source: SourceSettings) -> int:
    """How much text to take from the source; 0 means all."""
    world = int(_world_settings(source).size_bytes) if source.path.startswith("world:") else 0
    return min(filter(None, (world, source.max_bytes)), default=0)


def size_bytes(source: SourceSettings) -> int:
    """Roughly how much there is to read, for the choice between one process and many."""
    if source.path.startswith("world:"):
        # Writing is slower than reading, so a byte of it counts for several.
        return 5 * limit_bytes(source)
    if source.path.startswith("hf:"):
        return source.max_bytes or 10**9
    if source.path == "python:":
        return 20_000_000
    files = walk(_local_path(source), ReadReport(), keeps_ignored=source.keeps_ignored)
    return sum(file.n_bytes * (3 if file.compression else 1) for file in files)


def fingerprint(source: SourceSettings) -> str:
    """Changes when the source's texts may have changed: names, sizes and times of files, or versions."""
    digest = hashlib.blake2b(digest_size=16)
    if source.path == "python:":
        digest.update(sys.version.encode())
    elif source.path.startswith("world:"):
        folder = Path(__file__).with_name("world")
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
            digest.update(path.read_bytes())
    elif source.path.startswith("hf:"):
        digest.update(source.path.encode())
    else:
        for file in walk(_local_path(source), ReadReport(), keeps_ignored=source.keeps_ignored):
            digest.update(f"{file.name}\0{file.n_bytes}\0{file.path.stat().st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _world_settings(source: SourceSettings) -> Any:
    from prosa.corpus.world import parse_world

    return parse_world(source.path)


def _local_path(source: SourceSettings) -> Path:
    return Path(source.path).expanduser()


def _name_of_path(path: str) -> str:
    prefix, colon, rest = path.partition(":")
    if f"{prefix}:" in _PREFIXES and colon:
        stem = Path(rest.split(":")[0]).name if prefix == "hf" else prefix
    else:
        stem = Path(os.path.abspath(path)).name.split(".")[0] or "source"  # noqa: PTH100 (links keep their names)
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", stem).strip("-.")[:50] or "source"


def _nearest_path(path: Path) -> str:
    folder = next((parent for parent in path.absolute().parents if parent.is_dir()), Path.cwd())
    wanted = path.absolute().relative_to(folder).parts[0]
    names = sorted(item.name for item in folder.iterdir())
    if close := difflib.get_close_matches(wanted, names, n=1, cutoff=0.5):
        return f"did you mean `{folder / close[0]}`?"
    return f"`{folder}` has {', '.join(names[:8])}" if names else f"`{folder}` is empty"
