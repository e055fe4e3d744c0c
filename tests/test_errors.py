import inspect
import re

import pytest

import prosa.errors
from prosa.errors import ProsaError

CLASSES = [value for _, value in inspect.getmembers(prosa.errors, inspect.isclass) if issubclass(value, ProsaError)]


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    listed = dict(re.findall(r"^  (\w+) +\((\d+)\)", prosa.errors.__doc__ or "", flags=re.MULTILINE))
    assert listed == {cls.__name__: str(cls.exit_code) for cls in CLASSES if cls is not ProsaError}


@pytest.mark.parametrize("cls", CLASSES)
def test_message_and_hint(cls: type[ProsaError]) -> None:
    error = cls("`a.txt:3` is empty", hint="remove it")
    assert str(error) == "`a.txt:3` is empty\n\nhint: remove it"
    assert str(cls("short")) == "short"
    assert 0 < error.exit_code < 126, "126 and above are the shell's own"
