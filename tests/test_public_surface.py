"""The door of every room: sorted, complete, and each name explained on the room's page."""

import importlib
import re
import typing
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOORS = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in (ROOT / "prosa").rglob("__init__.py")
    if path.parent.name != "prosa"
)


def page_of(door: str) -> Path:
    """The page of a room: docs/corpus.md for `prosa.corpus`, docs/world.md for `prosa.corpus.world`."""
    return ROOT / "docs" / f"{door.rpartition('.')[2]}.md"


@pytest.mark.parametrize("door", ["prosa", *DOORS])
def test_door_is_sorted_and_complete(door: str):
    module = importlib.import_module(door)
    # Constants, classes, functions, as ruff sorts them (RUF022).
    assert module.__all__ == sorted(
        set(module.__all__), key=lambda name: (not name.isupper(), not name[0].isupper(), name)
    )
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_is_on_the_page_of_its_room(door: str):
    words = set(re.findall(r"\w+", page_of(door).read_text(encoding="utf-8")))
    assert sorted(set(importlib.import_module(door).__all__) - words) == []


@pytest.mark.parametrize("door", DOORS)
def test_every_public_name_says_what_it_is(door: str):
    """A docstring of its own; constants say it where they are defined."""
    module = importlib.import_module(door)
    for name in module.__all__:
        thing = getattr(module, name)
        if callable(thing) and typing.get_origin(thing) is None:
            assert (thing.__doc__ or "").strip() and not thing.__doc__.startswith(f"{name}("), f"{door}.{name}"
