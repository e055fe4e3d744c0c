"""Random texts of every kind that a tokenizer meets, for comparing encoders."""

import random
import unicodedata

from prosa.tokenizer.files import CONTROL_TOKENS
from tests.tokenizer.corpora import sentence

_SPACES = [" ", "  ", "\n", "\r\n", "\t", "\u00a0", "\u2028", "\u3000", "\x0b", "\x85", " \n ", "\r", "\x1c"]
_MARKS = [*list("'\"!?.,;:-—“”()[]{}<>|_*#@/\\~^`´¨%&+=$€"), "...", "'s", "'LL", "'ſ", "'d", "<|", "|>", "´"]
_EMOJI = [
    "😀",
    "👩‍💻",
    "🇧🇷",
    "👍🏽",
    "❤️",
    "🏳️‍🌈",
    "e\u0301",
    "\u0301",
    "ﬁ",
    "ß",
    "ı",
    "K",
    "Ǆ",
    "²",
    "½",
    "Ⅷ",
    "٣",
    "中文",
    "Привет",
    "ไทย",
    "한",
]


def random_text(stream: random.Random) -> str:
    """1 to 12 fragments: sentences, code, spaces, marks, emoji, controls, forged control tokens, any code point."""
    return "".join(_fragment(stream) for _ in range(stream.randrange(1, 13)))


def _fragment(stream: random.Random) -> str:
    match stream.randrange(10):
        case 0 | 1:
            return sentence(stream, stream.choice(["pt", "en", "code"]))
        case 2:
            return stream.choice(_SPACES) * stream.choice([1, 2, 3, 8, 70, 130])
        case 3:
            return "".join(stream.choices(_SPACES, k=stream.randrange(1, 6)))
        case 4:
            return "".join(stream.choices(_MARKS, k=stream.randrange(1, 5)))
        case 5:
            return "".join(stream.choices(_EMOJI, k=stream.randrange(1, 4)))
        case 6:
            return "".join(map(chr, stream.choices(range(0xA0), k=stream.randrange(1, 8))))
        case 7:
            token = stream.choice(CONTROL_TOKENS)
            return stream.choice(
                [token, token[:-1], token[1:], token.upper(), f" {token}", unicodedata.normalize("NFD", token)]
            )
        case 8:
            return stream.choice("a1.é-😀 ") * stream.randrange(1, 150)
        case _:
            return "".join(_any_character(stream) for _ in range(stream.randrange(1, 6)))


def _any_character(stream: random.Random) -> str:
    number = stream.randrange(0x110000 - 0x800)
    return chr(number if number < 0xD800 else number + 0x800)
