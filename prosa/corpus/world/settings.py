"""The size, seed and mixture of a town, typed or read from a source such as `world:people=24,seed=3,size=4MB`."""

import difflib
import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from prosa.config import Settings, resolve_settings
from prosa.errors import ConfigError

Language = Literal["pt", "en"]


class WorldSettings(Settings):
    """A town and how much is written about it.

    `richness` is the share of each list of words in use: less makes a smaller language, easier for a small model.
    The four kinds are shares of the text in bytes, on any scale.
    """

    seed: int = Field(0, ge=0)
    n_people: int = Field(150, ge=4, le=150)
    n_places: int = Field(60, ge=4, le=60)
    n_trades: int = Field(40, ge=2, le=40)
    n_animals: int = Field(40, ge=2, le=40)
    n_dishes: int = Field(40, ge=2, le=40)
    n_objects: int = Field(40, ge=2, le=40)
    n_events: int = Field(16, ge=2, le=16)
    n_relations: int = Field(8, ge=1, le=8)
    languages: tuple[Language, ...] = ("pt", "en")
    size_bytes: int = Field(16_000_000, ge=1)
    richness: float = Field(1.0, gt=0, le=1)
    book: float = Field(0.40, ge=0)
    article: float = Field(0.30, ge=0)
    conversation: float = Field(0.20, ge=0)
    code: float = Field(0.10, ge=0)

    @field_validator("languages")
    @classmethod
    def _check_languages(cls, value: tuple[Language, ...]) -> tuple[Language, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("name each language once, at least one of pt, en")
        return value

    @model_validator(mode="after")
    def _check_kinds(self) -> "WorldSettings":
        if not self.book + self.article + self.conversation + self.code:
            raise ValueError("at least one kind of text needs a share above zero")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "full": {},
    # What five minutes on two cores can learn by heart: benchmarks/quickstart.py.
    "small": {
        "n_people": 8,
        "n_places": 8,
        "n_trades": 16,
        "n_animals": 16,
        "n_dishes": 16,
        "n_objects": 16,
        "n_events": 3,
        "richness": 0.25,
        "size_bytes": 6_000_000,
        "book": 0.22,
        "article": 0.50,
        "conversation": 0.22,
        "code": 0.06,
    },
}
_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9}
_SHORT = {name.removeprefix("n_"): name for name in WorldSettings.model_fields} | {"size": "size_bytes"}


def parse_world(text: str) -> WorldSettings:
    """Settings from `world:[preset][,key=value...]`; `world:` alone is the whole town.

    Keys are the settings' names, with or without `n_` (`people=24`); `size` takes KB, MB or GB, and `languages`
    joins with `+` (`pt+en`). Raises ConfigError naming what is wrong and the nearest key.
    """
    values: dict[str, Any] = {}
    for word in filter(None, re.split(r"[,?&]", text.removeprefix("world:"))):
        key, equals, value = (part.strip() for part in word.partition("="))
        if not equals:
            if key not in PRESETS:
                raise ConfigError(f"`{text}`: no town is called `{key}`", hint=f"there are {', '.join(PRESETS)}")
            values |= PRESETS[key]
            continue
        name = key if key in WorldSettings.model_fields else _SHORT.get(key)
        if name is None:
            near = difflib.get_close_matches(key, [*_SHORT, *WorldSettings.model_fields], n=1, cutoff=0.4)
            hint = f"did you mean `{near[0]}`?" if near else f"known keys: {', '.join(_SHORT)}"
            raise ConfigError(f"`{text}`: unknown setting `{key}`", hint=hint)
        values[name] = _parse_value(text, name, value)
    return resolve_settings(WorldSettings, values, origin=f"`{text}`")


def _parse_value(text: str, name: str, value: str) -> Any:
    if name == "languages":
        return tuple(value.split("+"))
    if name != "size_bytes":
        return value
    match = re.fullmatch(r"([\d_]+(?:\.\d+)?)\s*([KMG]?B?)", value, re.IGNORECASE)
    unit = match[2].upper() if match else ""
    if match is None or (unit and unit.removesuffix("B") + "B" not in _UNITS):
        raise ConfigError(f"`{text}`: size `{value}` is not a number of bytes", hint="for example `size=4MB`")
    return int(float(match[1]) * _UNITS[unit.removesuffix("B") + "B" if unit else ""])
