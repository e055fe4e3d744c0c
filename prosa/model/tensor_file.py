"""Reading safetensors files from strangers: a header of names and shapes comes out before any tensor is mapped.

The format is 8 bytes of header length, a JSON header, then the tensors one after the other without gaps.
"""

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from prosa.errors import ModelFileRefused

HEADER_LIMIT_BYTES = 8 * 1024 * 1024
_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2}
_DAMAGED = "copy or download the file again"


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """Where a tensor lies and what it is, as its file's header claims and its file's length confirms."""

    file: Path
    shape: tuple[int, ...]


def read_entries(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one file; ModelFileRefused if the header contradicts itself or the file's length."""
    with path.open("rb") as file:
        size_bytes = path.stat().st_size
        header_bytes = int.from_bytes(file.read(8), "little")
        if size_bytes < 8 or not 2 <= header_bytes <= min(HEADER_LIMIT_BYTES, size_bytes - 8):
            raise ModelFileRefused(f"`{path}`: a header of {header_bytes} bytes cannot be right", hint=_DAMAGED)
        header = parse_json(file.read(header_bytes), str(path))
    header.pop("__metadata__", None)
    entries, spans = {}, []
    for name, value in header.items():
        shape, (start, end) = _read_entry(path, name, value)
        entries[name] = TensorEntry(path, shape)
        spans.append((start, end))
    position = 0
    for start, end in sorted(spans):
        if start != position:
            raise ModelFileRefused(f"`{path}`: tensors overlap or leave gaps at byte {position}", hint=_DAMAGED)
        position = end
    if 8 + header_bytes + position != size_bytes:
        raise ModelFileRefused(
            f"`{path}` has {size_bytes} bytes, its header describes {8 + header_bytes + position}", hint=_DAMAGED
        )
    return entries


def read_tensors(path: Path, names: list[str], dtype: torch.dtype) -> dict[str, Tensor]:
    """Copies of the named tensors in `dtype`; ModelFileRefused for a value that is not finite."""
    tensors = {}
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            for name in names:
                tensor = file.get_tensor(name).to(dtype, copy=True)
                if not torch.isfinite(tensor).all():
                    raise ModelFileRefused(f"`{path}`: {name} holds NaN or infinity in {dtype}")
                tensors[name] = tensor
    except SafetensorError as error:
        raise ModelFileRefused(f"`{path}` cannot be read: {error}", hint=_DAMAGED) from None
    return tensors


def parse_json(data: bytes, origin: str) -> dict[str, Any]:
    """A JSON object without duplicate keys; anything else is ModelFileRefused."""
    try:
        value = json.loads(data, object_pairs_hook=_unique_pairs)
    except (ValueError, RecursionError) as error:
        raise ModelFileRefused(f"`{origin}` is not valid JSON: {error}", hint=_DAMAGED) from None
    if not isinstance(value, dict):
        raise ModelFileRefused(f"`{origin}` holds no JSON object", hint=_DAMAGED)
    return value


def _read_entry(path: Path, name: str, value: Any) -> tuple[tuple[int, ...], tuple[int, int]]:
    try:
        dtype, shape, (start, end) = value["dtype"], tuple(value["shape"]), value["data_offsets"]
        numbers = [*shape, start, end]
    except (TypeError, KeyError, ValueError):
        raise ModelFileRefused(f"`{path}`: the header entry of {name[:80]} is malformed", hint=_DAMAGED) from None
    if dtype not in _ITEM_BYTES:
        raise ModelFileRefused(
            f"`{path}`: {name[:80]} has number format {str(dtype)[:20]}", hint=f"known: {', '.join(_ITEM_BYTES)}"
        )
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise ModelFileRefused(f"`{path}`: {name[:80]} has a negative or fractional size", hint=_DAMAGED)
    if end - start != math.prod(shape) * _ITEM_BYTES[dtype]:
        raise ModelFileRefused(f"`{path}`: {name[:80]} has shape {shape} but {end - start} bytes", hint=_DAMAGED)
    return shape, (start, end)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result
