"""Rankings go in, a part to learn from and a part to test on come out, with no prompt in both."""

import hashlib
import unicodedata
from collections.abc import Sequence

from prosa.errors import ConfigError
from prosa.preferences.judgments import Message, RankedAnswers
from prosa.streams import derive_seed


def split_by_prompt(
    ranked: Sequence[RankedAnswers], *, test_fraction: float = 0.1, seed: int = 0
) -> tuple[list[RankedAnswers], list[RankedAnswers]]:
    """(train, test); every prompt falls to one side by its own hash, so more data never moves it to the other.

    About `test_fraction` of the prompts are test; of few prompts there may be none.
    """
    if not 0 <= test_fraction <= 1:
        raise ConfigError(f"test_fraction = {test_fraction} is not between 0 and 1")
    parts: tuple[list[RankedAnswers], list[RankedAnswers]] = ([], [])
    for one in ranked:
        place = derive_seed(seed, f"preference split {prompt_hash(one.messages)}") / 2**63
        parts[place < test_fraction].append(one)
    return parts


def prompt_hash(messages: Sequence[Message]) -> str:
    """Equal for prompts that differ only in case, white space and Unicode form."""
    said = "\x1f".join(f"{message['role']}\x1e{message['content']}" for message in messages)
    plain = " ".join(unicodedata.normalize("NFKC", said).casefold().split())
    return hashlib.sha256(plain.encode()).hexdigest()
