"""The files of a tokenizer: merges go in, `tokenizer.json` and `tokenizer_config.json` come out, and the way back.

The files are what transformers, vLLM and llama.cpp read; the way back accepts only what this module itself writes.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from prosa.errors import TokenizerError

# How text is cut into pieces before merging: the published pattern of Qwen2, which llama.cpp knows as `qwen2`.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CONTROL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")
# Written for other programs; ours never reads a template, see prosa.tokenizer.chat.
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
TOKENIZER_FILE, CONFIG_FILE = "tokenizer.json", "tokenizer_config.json"
MAX_VOCAB_SIZE = 131_072
MAX_TOKEN_BYTES = 64
_FILE_LIMIT_BYTES = 8 * 1024 * 1024


def byte_alphabet() -> list[str]:
    """One printable character for each byte, as in GPT-2: printable Latin-1 is itself, the others follow U+0100."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def write_token(token: bytes, alphabet: Sequence[str]) -> str:
    """A token's bytes in the alphabet of `byte_alphabet`."""
    return "".join(alphabet[byte] for byte in token)


def tokenizer_json(tokens: Sequence[bytes], merges: Iterable[tuple[int, int]]) -> bytes:
    """The bytes of `tokenizer.json`; `tokens` are the 256 single bytes and then one per merge, no control tokens."""
    alphabet = byte_alphabet()
    words = [write_token(token, alphabet) for token in tokens]
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": len(tokens) + position,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for position, content in enumerate(CONTROL_TOKENS)
        ],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": SPLIT_PATTERN}, "behavior": "Isolated", "invert": False},
                {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
            ],
        },
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {word: id for id, word in enumerate(words)},
            "merges": [[words[left], words[right]] for left, right in merges],
        },
    }
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def tokenizer_config_json() -> bytes:
    """The bytes of `tokenizer_config.json`: what transformers needs to know beside `tokenizer.json`."""
    end_of_text, im_start, im_end, pad = CONTROL_TOKENS
    value = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": None,
        "eos_token": end_of_text,
        "pad_token": pad,
        "unk_token": None,
        "additional_special_tokens": [im_start, im_end],
        "add_prefix_space": False,
        "clean_up_tokenization_spaces": False,
        "chat_template": CHAT_TEMPLATE,
    }
    return json.dumps(value, indent=1).encode() + b"\n"


def find_merges(value: Mapping[str, Any], path: Path) -> list[tuple[int, int]]:
    """The merges in a parsed `tokenizer.json` as pairs of ids; TokenizerError if they are not of our shape."""
    model = value.get("model")
    merges = model.get("merges") if isinstance(model, dict) else None
    if not isinstance(merges, list) or len(merges) > MAX_VOCAB_SIZE:
        raise not_ours(path, f"it has no list `model.merges` of at most {MAX_VOCAB_SIZE:,}")
    ids: dict[str, int] = {character: byte for byte, character in enumerate(byte_alphabet())}
    pairs = []
    for number, merge in enumerate(merges):
        match merge:
            case [str(left), str(right)] if left in ids and right in ids and len(left + right) <= MAX_TOKEN_BYTES:
                pairs.append((ids[left], ids[right]))
                ids.setdefault(left + right, 256 + number)
            case _:
                raise not_ours(
                    path, f"merge {number} does not join two earlier tokens to one of {MAX_TOKEN_BYTES} bytes"
                )
    return pairs


def check_equal(found: Mapping[str, Any], expected: bytes, path: Path) -> None:
    """Compares a parsed `tokenizer.json` with what we would have written; TokenizerError names the key that differs.

    Spacing and the order of keys may differ; a key more, a key less or another value may not.
    """
    wanted = json.loads(expected)
    for key in sorted(found.keys() | wanted.keys()):
        try:
            # Compared as text, because 1 == True == 1.0 in Python but not in other readers of the file.
            is_equal = json.dumps(found.get(key), sort_keys=True) == json.dumps(wanted.get(key), sort_keys=True)
        except RecursionError:
            is_equal = False
        if not is_equal or key not in found or key not in wanted:
            raise not_ours(path, f"its `{key}` is not what Prosa writes")


def read_tokenizer(path: Path) -> dict[str, Any]:
    """The JSON object in the file; repeated keys are refused, since two readers could then see two tokenizers."""
    try:
        if path.stat().st_size > _FILE_LIMIT_BYTES:
            raise not_ours(path, f"it is larger than {_FILE_LIMIT_BYTES >> 20} MiB")
        data = path.read_bytes()
        # What takes memory is the number of small lists and objects, and ours has one for each merge.
        if data.count(b"[") + data.count(b"{") > 4 * MAX_VOCAB_SIZE:
            raise not_ours(path, "it has too many lists or objects")
        value = json.loads(data, object_pairs_hook=_unique_keys)
    except FileNotFoundError:
        raise TokenizerError(f"`{path}` does not exist", hint="a tokenizer is made by `prosa tokenizer`") from None
    except (ValueError, RecursionError, OSError) as error:
        raise not_ours(path, f"it cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise not_ours(path, "it is not a JSON object")
    return value


def not_ours(path: Path, reason: str) -> TokenizerError:
    """The error for a file that is damaged or was made by another program."""
    return TokenizerError(
        f"`{path}` is not a tokenizer made by Prosa, or it is damaged: {reason}",
        hint="only tokenizers trained by Prosa can be loaded; their files must not be edited",
    )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key is repeated")
    return value
