"""A saved tokenizer opens in transformers with the same ids; anything else under its name is refused quickly."""

import json
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prosa.errors import TokenizerError
from prosa.rundir import hash_file
from prosa.tokenizer import Tokenizer, render_conversation
from prosa.tokenizer.files import byte_alphabet
from tests.tokenizer.test_chat import MESSAGES
from tests.tokenizer.texts import random_text


def test_a_saved_tokenizer_loads_as_it_was(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path / "new")
    again = Tokenizer.load(tmp_path / "new")
    assert again.hash == tokenizer.hash == hash_file(tmp_path / "new" / "tokenizer.json")
    assert again.encode("Ninguém já está") == tokenizer.encode("Ninguém já está")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["tokenizer.json", "tokenizer_config.json"]


@pytest.mark.parametrize("model_type", [None, "qwen3", "llama", "mistral"])
def test_transformers_gives_the_same_ids(tokenizer: Tokenizer, tmp_path: Path, model_type: str | None) -> None:
    from transformers import AutoTokenizer

    tokenizer.save(tmp_path)
    if model_type:
        (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    other = AutoTokenizer.from_pretrained(tmp_path)
    assert other.is_fast
    assert len(other) == tokenizer.vocab_size
    assert (other.eos_token_id, other.pad_token_id) == (tokenizer.end_of_text_id, tokenizer.pad_id)
    assert other.convert_tokens_to_ids(["<|im_start|>", "<|im_end|>"]) == [tokenizer.im_start_id, tokenizer.im_end_id]
    stream = random.Random(7)
    for _ in range(200):
        text = random_text(stream).replace("<|", "<")
        ids = tokenizer.encode(text)
        assert other(text)["input_ids"] == ids
        assert other.decode(ids) == text
    for n_messages, add_prompt in ((5, False), (4, True)):
        rendered = other.apply_chat_template(
            MESSAGES[:n_messages], add_generation_prompt=add_prompt, tokenize=True, return_dict=False
        )
        assert rendered == render_conversation(tokenizer, MESSAGES[:n_messages], add_prompt)[0]


def test_the_alphabet_is_that_of_tokenizers() -> None:
    from tokenizers import pre_tokenizers

    assert sorted(byte_alphabet()) == sorted(pre_tokenizers.ByteLevel.alphabet())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    for text in ("\x00 \n\x7f", "é", "ÿ\u0100", "😀"):
        [(word, _)] = level.pre_tokenize_str(text)
        assert word == "".join(byte_alphabet()[byte] for byte in text.encode())


def edit(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def apply(data: bytes) -> bytes:
        value = json.loads(data)
        change(value)
        return json.dumps(value).encode()

    return apply


def nest(depth: int) -> Callable[[bytes], bytes]:
    return lambda data: data.replace(b'"version":"1.0"', b'"version":' + b"[" * depth + b"]" * depth)


def swap_ids(value: dict[str, Any]) -> None:
    vocab = value["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]


def swap_merges(value: dict[str, Any]) -> None:
    merges = value["model"]["merges"]
    merges[0], merges[200] = merges[200], merges[0]


BAD_FILES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda data: b"",
    "not JSON": lambda data: b"\x80\x04pickle",
    "a list": lambda data: b"[]",
    "truncated": lambda data: data[:-200],
    "not UTF-8": lambda data: data[:-2] + b"\xff}",
    "deep": lambda data: b"[" * 1_000_000,
    **{f"a key {depth} deep": nest(depth) for depth in (100, 900, 960, 990)},
    "wide": lambda data: b"[" + b"{}," * 2_000_000 + b"{}]",
    "too large": lambda data: data + b" " * (9 << 20),
    "a key twice": lambda data: data.replace(b'"version":', b'"version":"1.0","version":', 1),
    "huge number": lambda data: data.replace(b'"1.0"', b"9" * 5000),
    "unknown key": edit(lambda value: value.update(auto_map={"AutoTokenizer": "x.py"})),
    "key missing": edit(lambda value: value.pop("decoder")),
    "other pattern": edit(lambda value: value["pre_tokenizer"]["pretokenizers"][0]["pattern"].update(Regex="(a+)+$")),
    "a normalizer": edit(lambda value: value.update(normalizer={"type": "NFC"})),
    "a post-processor": edit(lambda value: value.update(post_processor={"type": "ByteLevel"})),
    "dropout": edit(lambda value: value["model"].update(dropout=0.1)),
    "ids swapped": edit(swap_ids),
    "ids not dense": edit(lambda value: value["model"]["vocab"].update(a=70_000)),
    "id a boolean": edit(lambda value: value["model"]["vocab"].update({byte_alphabet()[1]: True})),
    "id a float": edit(lambda value: value["model"]["vocab"].update(a=97.0)),
    "token missing": edit(lambda value: value["model"]["vocab"].pop("a")),
    "token too many": edit(lambda value: value["model"]["vocab"].update(zzzz=9_999)),
    "merges swapped": edit(swap_merges),
    "merge missing": edit(lambda value: value["model"]["merges"].pop()),
    "merge twice": edit(lambda value: value["model"]["merges"].append(value["model"]["merges"][0])),
    "merge of nothing": edit(lambda value: value["model"]["merges"].append(["zzzz", "a"])),
    "merge a string": edit(lambda value: value["model"]["merges"].append("a b")),
    "merge of three": edit(lambda value: value["model"]["merges"].append(["a", "b", "c"])),
    "merges an object": edit(lambda value: value["model"].update(merges={})),
    "no model": edit(lambda value: value.update(model=None)),
    "special not special": edit(lambda value: value["added_tokens"][0].update(special=False)),
    "control id moved": edit(lambda value: value["added_tokens"][1].update(id=5)),
    "control token added": edit(lambda value: value["added_tokens"].append(value["added_tokens"][0])),
    "control token that is a word": edit(lambda value: value["added_tokens"][3].update(content="senha")),
    "many doublings": edit(
        lambda value: value["model"].update(merges=[["a" * 2**power, "a" * 2**power] for power in range(25)])
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_are_refused(tokenizer_folder: Path, tmp_path: Path, name: str) -> None:
    data = (tokenizer_folder / "tokenizer.json").read_bytes()
    path = tmp_path / "tokenizer.json"
    path.write_bytes(BAD_FILES[name](data))
    start = time.perf_counter()
    with pytest.raises(TokenizerError, match=r"tokenizer\.json") as caught:
        Tokenizer.load(tmp_path)
    assert caught.value.hint
    assert time.perf_counter() - start < 2


def test_a_hostile_vocabulary_of_long_tokens_is_refused_in_time(tmp_path: Path) -> None:
    """Every token at the limit of length: the proof of merges must give up before it takes long."""
    stream = random.Random(8)
    merges = []
    for _ in range(2_000):
        word = "".join(stream.choices("abcdefgh", k=64))
        merges += [[word[:end], word[end]] for end in range(1, 64)]
    unique = list({left + right: [left, right] for left, right in merges}.values())
    (tmp_path / "tokenizer.json").write_text(json.dumps({"model": {"merges": unique}}))
    start = time.perf_counter()
    with pytest.raises(TokenizerError):
        Tokenizer.load(tmp_path)
    assert time.perf_counter() - start < 4


def test_missing_and_foreign_folders(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="does not exist"):
        Tokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").mkdir()
    with pytest.raises(TokenizerError):
        Tokenizer.load(tmp_path)


def test_a_template_in_the_folder_is_never_read(tokenizer: Tokenizer, tokenizer_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(tokenizer_folder, tmp_path / "copy")
    (tmp_path / "copy" / "tokenizer_config.json").write_text('{"chat_template": "{{ cycler.__init__.__globals__ }}"}')
    loaded = Tokenizer.load(tmp_path / "copy")
    assert render_conversation(loaded, MESSAGES) == render_conversation(tokenizer, MESSAGES)


def test_bit_flips_are_refused_or_harmless(tokenizer: Tokenizer, tokenizer_folder: Path, tmp_path: Path) -> None:
    data = bytearray((tokenizer_folder / "tokenizer.json").read_bytes())
    path = tmp_path / "tokenizer.json"
    stream = random.Random(9)
    n_refused = 0
    for _ in range(200):
        place, bit = stream.randrange(len(data)), 1 << stream.randrange(8)
        data[place] ^= bit
        path.write_bytes(data)
        data[place] ^= bit
        try:
            assert Tokenizer.load(tmp_path).hash == tokenizer.hash
        except TokenizerError:
            n_refused += 1
    assert n_refused > 150
