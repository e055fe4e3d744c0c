"""Items and judgments as the JSON that is stored and exported, and back; a row that does not fit is a DataError."""

from dataclasses import asdict
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from prosa.durable import canonical_json
from prosa.errors import DataError
from prosa.preferences.judgments import Item, Judgment

if TYPE_CHECKING:
    from pydantic import TypeAdapter

T = TypeVar("T", Item, Judgment)


def write_row(value: Item | Judgment) -> str:
    """Canonical JSON with every field. Raises DataError if a part of it is no JSON, as a number that is not finite."""
    try:
        return canonical_json(asdict(value)).decode()
    except (ValueError, TypeError) as error:
        raise DataError(f"cannot be stored as JSON: {error}") from None


def read_row(cls: type[T], row: str) -> T:
    """The item or judgment of a stored row, every type checked. Raises DataError saying what does not fit."""
    from pydantic import ValidationError

    try:
        value: T = _adapters()[cls].validate_json(row, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"the row of a {cls.__name__.lower()} does not fit: {where} {first['msg']}") from None
    return value


@cache
def _adapters() -> "dict[type, TypeAdapter[Any]]":
    from pydantic import TypeAdapter

    return {cls: TypeAdapter(cls) for cls in (Item, Judgment)}
