"""Data sets of the Hugging Face hub, streamed through `datasets`, which is an optional extra.

`hf:owner/name[:config][:split]` or a local data set folder comes in, records come out in the data set's order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prosa.errors import ConfigError, DataError

_SPLITS = ("train", "validation", "test", "valid", "dev")


def hub_records(address: str) -> Iterator[tuple[Any, str]]:
    """Pairs (record, origin). Raises ConfigError without the extra, DataError if the data set cannot be streamed."""
    try:
        import datasets
    except ImportError:
        raise ConfigError(
            f"`{address}` needs the package `datasets`", hint='install it with `pip install "prosa[hub]"`'
        ) from None
    name, config, split = parse_hub_address(address)
    try:
        rows = datasets.load_dataset(name, config, split=split, streaming=True)
        for index, row in enumerate(rows):
            yield row, f"{name}:{split}#{index}"
    except Exception as error:  # the many errors of the hub, its formats and the network
        message = str(error).strip().partition("\n")[0]
        raise DataError(
            f"`{address}` cannot be streamed: {type(error).__name__}: {message}",
            hint="check the name, the config and the split, and that the hub can be reached",
        ) from error


def parse_hub_address(address: str) -> tuple[str, str | None, str]:
    """(name or folder, config, split); the split is `train` unless given, and a lone word after the name may be one."""
    name = address.removeprefix("hf:")
    words: list[str] = []
    while ":" in name and not Path(name).exists():
        name, _, word = name.rpartition(":")
        words.insert(0, word)
    if not name or len(words) > 2:
        raise ConfigError(f"`{address}` is not of the form hf:owner/name[:config][:split]")
    if len(words) == 1 and words[0].split("[")[0] in _SPLITS:
        return name, None, words[0]
    return name, words[0] or None if words else None, words[1] if len(words) == 2 else "train"
