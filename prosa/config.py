"""Typed settings: defaults < file.toml < key=value; an unknown key is an error that names the nearest one.

Every room declares its settings as a frozen class in the file that uses them. A run writes the resolved settings
to its folder, and resuming reads that file, so nothing is ever taken from a default that has since changed.
"""

import copy
import difflib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import tomli_w
from pydantic import BaseModel, ConfigDict, ValidationError

from prosa.errors import ConfigError


class Settings(BaseModel):
    """A frozen group of settings; unknown keys are refused and numbers must be finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, protected_namespaces=()
    )


S = TypeVar("S", bound=Settings)


def read_settings(
    cls: type[S],
    path: Path | None = None,
    overrides: Sequence[str] = (),
    *,
    values: Mapping[str, Any] | None = None,
) -> S:
    """Settings of class `cls`: its defaults, then the TOML file (or `values`), then `section.key=value` words.

    Raises ConfigError naming the key, what was found and, for an unknown key, the nearest known one.
    """
    found = read_toml(path) if path is not None else copy.deepcopy(dict(values or {}))
    for word in overrides:
        _apply_override(found, word)
    return resolve_settings(cls, found, origin=str(path) if path is not None else "command line")


def resolve_settings(cls: type[S], values: Mapping[str, Any], *, origin: str) -> S:
    """`values` checked against `cls`; every problem found is in the one ConfigError raised."""
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        problems, hints = [], []
        for item in error.errors():
            key = ".".join(str(part) for part in item["loc"]) or "settings"
            if item["type"] == "extra_forbidden":
                problems.append(f"unknown setting `{key}`")
                hints.append(_nearest(cls, item["loc"]))
            elif item["type"] == "missing":
                problems.append(f"`{key}` is missing")
            else:
                problems.append(f"`{key}` = {_shorten(repr(item['input']))}: {_lower_first(item['msg'])}")
        message = f"{origin}: " + "; ".join(problems)
        raise ConfigError(
            message, hint="; ".join(filter(None, hints)) or "docs/configs.md lists every setting"
        ) from None


def read_toml(path: Path) -> dict[str, Any]:
    """The TOML file as nested dicts; ConfigError with line and column if it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise ConfigError(f"settings file `{path}` does not exist", hint=_similar_files(path)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise ConfigError(f"settings file `{path}` cannot be read: {error}") from None


def dump_settings(settings: Settings) -> str:
    """The settings as TOML; keys whose value is None are left out, as TOML has no null."""
    return tomli_w.dumps(settings.model_dump(mode="json", exclude_none=True))


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs (dotted key, leaf value) of nested mappings, in order."""
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def diff_values(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """One line `key: before -> after` for every leaf that differs; missing ones show as `(none)`."""
    old, new = dict(flatten(before)), dict(flatten(after))
    return [
        f"{key}: {old.get(key, '(none)')} -> {new.get(key, '(none)')}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
    ]


def _apply_override(values: dict[str, Any], word: str) -> None:
    key, equals, text = word.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"`{word}` is not of the form key=value", hint="for example `pretrain.steps=500`")
    *sections, leaf = key.strip().split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"`{key}`: `{section}` is not a section")
    values[leaf] = _parse_value(text.strip())


def _parse_value(text: str) -> Any:
    """A TOML value; anything that is not one is taken as a plain string, so that quotes are not needed in a shell."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _nearest(cls: type[Settings], location: tuple[int | str, ...]) -> str:
    fields: Mapping[str, Any] = cls.model_fields
    # Numbers are positions in a list and the like; only names lead from one group of settings to the next.
    for name in (part for part in location[:-1] if part in fields):
        fields = next((group.model_fields for group in _groups_within(fields[str(name)].annotation)), fields)
    close = difflib.get_close_matches(str(location[-1]), list(fields), n=1, cutoff=0.5)
    return f"did you mean `{close[0]}`?" if close else f"known settings here: {', '.join(sorted(fields))}"


def _groups_within(annotation: Any) -> Iterator[type[Settings]]:
    """The groups of settings that a type is made of: of itself, of `tuple[Group, ...]`, of `Group | None`."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        yield annotation
    for argument in get_args(annotation):
        yield from _groups_within(argument)


def _similar_files(path: Path) -> str:
    folder = path.parent if path.parent.is_dir() else Path("configs")
    names = sorted(item.name for item in folder.glob("*.toml")) if folder.is_dir() else []
    return f"`{folder}` has {', '.join(names)}" if names else "give the path of a TOML file"


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def _lower_first(text: str) -> str:
    return text[:1].lower() + text[1:]
