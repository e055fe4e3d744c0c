import errno
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from prosa.errors import CheckpointError, ModelFileRefused, StorageError
from prosa.model import Transformer, load_model, load_settings, save_model
from prosa.model.hf_config import from_hf_config, to_hf_config
from prosa.model.tensor_file import read_entries, read_tensors
from prosa.streams import python_stream
from prosa.tokenizer import Tokenizer
from tests.model.test_transformer import VARIANTS, name_of
from tests.model.tiny import hf_twin, random_ids, tiny_model, tiny_settings


def assert_same_weights(left: Transformer, right: Transformer) -> None:
    assert left.settings == right.settings
    states = left.state_dict(), right.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_what_is_saved_is_loaded(variant: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(**variant)
    save_model(tmp_path / "model", model)
    loaded = load_model(tmp_path / "model")
    assert_same_weights(model, loaded)
    assert not loaded.training and all(parameter.requires_grad for parameter in loaded.parameters())
    ids = random_ids(model, 1, 9)
    assert torch.equal(model(ids), loaded(ids))


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_our_folder_opens_in_transformers(variant: dict[str, Any], tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    model = tiny_model(**variant)
    save_model(tmp_path / "model", model)
    twin = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    ids = random_ids(model, 2, 40)
    with torch.no_grad():
        assert (twin(ids).logits - model(ids)).abs().max() < 1e-5


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_their_folder_opens_in_ours(variant: dict[str, Any], tmp_path: Path) -> None:
    model = tiny_model(**variant)
    hf_twin(model).save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    if model.settings.sliding_window in (None, loaded.settings.sliding_window):
        assert_same_weights(model, loaded)
    ids = random_ids(model, 2, 40)
    assert torch.equal(model(ids), loaded(ids))


def test_their_shards_open_in_ours(tmp_path: Path) -> None:
    model = tiny_model(n_layer=4)
    hf_twin(model).save_pretrained(tmp_path, max_shard_size="50KB")
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 3
    assert_same_weights(model, load_model(tmp_path))


def test_half_precision_files_are_widened(tmp_path: Path) -> None:
    model = tiny_model()
    hf_twin(model).to(torch.bfloat16).save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name].bfloat16().float())
    assert load_model(tmp_path, dtype=torch.bfloat16).unembedding.dtype == torch.bfloat16


def test_dropout_is_of_training_and_not_saved(tmp_path: Path) -> None:
    save_model(tmp_path / "model", tiny_model(dropout=0.3))
    assert load_settings(tmp_path / "model") == tiny_settings()


def test_control_ids_and_tokenizer_stand_in_the_folder(tmp_path: Path) -> None:
    tokenizer = Tokenizer([])
    save_model(tmp_path / "model", tiny_model(vocab_size=260), tokenizer)
    assert Tokenizer.load(tmp_path / "model").hash == tokenizer.hash
    for name in ("config.json", "generation_config.json"):
        saved = json.loads((tmp_path / "model" / name).read_bytes())
        assert saved["eos_token_id"] == [tokenizer.end_of_text_id, tokenizer.im_end_id]
        assert saved["pad_token_id"] == tokenizer.pad_id


def test_saving_again_replaces_the_folder(tmp_path: Path) -> None:
    save_model(tmp_path / "model", tiny_model(seed=1))
    save_model(tmp_path / "model", tiny_model(seed=2))
    assert_same_weights(load_model(tmp_path / "model"), tiny_model(seed=2))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_model_with_nan_is_not_saved(tmp_path: Path) -> None:
    save_model(tmp_path / "model", tiny_model(seed=1))
    broken = tiny_model(seed=2)
    with torch.no_grad():
        broken.model.norm.weight[3] = torch.nan
    with pytest.raises(CheckpointError, match=r"model.norm.weight holds NaN or infinity"):
        save_model(tmp_path / "model", broken)
    assert_same_weights(load_model(tmp_path / "model"), tiny_model(seed=1))


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("no space")])
def test_a_full_disk_leaves_the_old_model(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_file(*_: object, **__: object) -> None:
        raise error

    save_model(tmp_path / "model", tiny_model(seed=1))
    monkeypatch.setattr("prosa.model.folder.save_file", save_file)
    with pytest.raises(StorageError, match="cannot write"):
        save_model(tmp_path / "model", tiny_model(seed=2))
    assert_same_weights(load_model(tmp_path / "model"), tiny_model(seed=1))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


# Folders that must be refused. Each is a folder of transformers that something was done to.

Damage = Callable[[Path], object]


def edit_config(**changes: Any) -> Damage:
    def damage(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_bytes())
        config |= changes
        (folder / "config.json").write_text(json.dumps({k: v for k, v in config.items() if v != "removed"}))

    return damage


def edit_tensors(change: Callable[[dict[str, torch.Tensor]], object]) -> Damage:
    def damage(folder: Path) -> None:
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return damage


def edit_bytes(change: Callable[[bytes], bytes]) -> Damage:
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors"
        path.write_bytes(change(path.read_bytes()))

    return damage


def edit_header(change: Callable[[dict[str, Any]], object]) -> Damage:
    def edit(data: bytes) -> bytes:
        (length,) = struct.unpack("<Q", data[:8])
        header = json.loads(data[8 : 8 + length])
        change(header)
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return edit_bytes(edit)


def only_file(name: str) -> Damage:
    return lambda folder: (folder / "model.safetensors").rename(folder / name)


def write_index(weight_map: Any) -> Damage:
    def damage(folder: Path) -> None:
        (folder / "model.safetensors").rename(folder / "part.safetensors")
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))

    return damage


NORM = "model.norm.weight"
EMBED = "model.embed_tokens.weight"
REFUSALS: list[tuple[str, Damage, str]] = [
    ("no config", lambda folder: (folder / "config.json").unlink(), "has no config.json"),
    ("config is no JSON", lambda folder: (folder / "config.json").write_text("{"), "is not valid JSON"),
    ("config is a list", lambda folder: (folder / "config.json").write_text("[]"), "holds no JSON object"),
    ("config is deep", lambda folder: (folder / "config.json").write_text("[" * 10**6), "is not valid JSON"),
    ("gpt2", edit_config(model_type="gpt2"), "model_type 'gpt2' is unknown"),
    ("no family", edit_config(model_type="removed"), "model_type None is unknown"),
    ("no sizes", edit_config(hidden_size="removed"), "'hidden_size' is missing"),
    ("size is text", edit_config(hidden_size="many"), "d_model"),
    ("no heads", edit_config(num_attention_heads=0, num_key_value_heads=None), "n_head"),
    ("absurd vocabulary", edit_config(vocab_size=10**12), "less than or equal to 1048576"),
    ("absurd but allowed", edit_config(vocab_size=2**20, hidden_size=2**16, num_hidden_layers=512), "are missing"),
    ("absurd context", edit_config(max_position_embeddings=10**9), "less than or equal to 1048576"),
    ("negative layers", edit_config(num_hidden_layers=-1), "greater than or equal to 1"),
    ("NaN in config", edit_config(rms_norm_eps=float("nan")), "norm_eps"),
    ("gelu", edit_config(hidden_act="gelu"), "hidden_act = 'gelu' is not supported"),
    ("bias", edit_config(attention_bias=True), "attention_bias = 'True' is not supported"),
    ("quantised", edit_config(quantization_config={"bits": 4}), "quantization_config"),
    ("yarn", edit_config(rope_parameters={"rope_type": "yarn", "factor": 2}), "rope_type 'yarn' is not supported"),
    ("rope is text", edit_config(rope_parameters="x"), "rope_parameters is not an object"),
    ("partial rope", edit_config(partial_rotary_factor=0.5), "partial_rotary_factor"),
    (
        "mixed windows",
        edit_config(use_sliding_window=True, sliding_window=4, layer_types=["sliding_attention", "full_attention"]),
        "layer_types",
    ),
    ("windows are text", edit_config(use_sliding_window=True, sliding_window=4, layer_types="x"), "layer_types"),
    ("no weights", lambda folder: (folder / "model.safetensors").unlink(), "has no model.safetensors"),
    ("pytorch_model.bin", only_file("pytorch_model.bin"), "is a pickle"),
    ("model.pt", only_file("model.pt"), "is a pickle"),
    ("model.pth", only_file("model.pth"), "is a pickle"),
    ("model.pkl", only_file("model.pkl"), "is a pickle"),
    ("empty file", edit_bytes(lambda data: b""), "a header of 0 bytes cannot be right"),
    ("header of 4 GiB", edit_bytes(lambda data: struct.pack("<Q", 2**32) + data[8:]), "cannot be right"),
    ("header past the end", edit_bytes(lambda data: struct.pack("<Q", len(data)) + data[8:]), "cannot be right"),
    ("header is noise", edit_bytes(lambda data: data[:8] + b"\xff" * 20 + data[28:]), "is not valid JSON"),
    ("truncated", edit_bytes(lambda data: data[:-1]), "its header describes"),
    ("too long", edit_bytes(lambda data: data + b"\0"), "its header describes"),
    ("missing tensor", edit_tensors(lambda t: t.pop(NORM)), "1 tensors are missing, the first is model.norm.weight"),
    ("unexpected tensor", edit_tensors(lambda t: t.update(extra=torch.zeros(1))), "unexpected tensor extra"),
    ("wrong shape", edit_tensors(lambda t: t.update({NORM: torch.zeros(63)})), r"has shape \[63\], config.json means"),
    ("transposed", edit_tensors(lambda t: t.update({EMBED: t[EMBED].T.contiguous()})), r"shape \[64, 97\]"),
    ("NaN", edit_tensors(lambda t: t[NORM].fill_(torch.nan)), "model.norm.weight holds NaN or infinity"),
    ("infinity", edit_tensors(lambda t: t[EMBED][3].fill_(-torch.inf)), "holds NaN or infinity"),
    ("integers", edit_tensors(lambda t: t.update({NORM: torch.zeros(64, dtype=torch.int8)})), "number format I8"),
    ("overflow", edit_tensors(lambda t: t[NORM].fill_(3e38)), "NaN or infinity in torch.float16"),
    ("entry is a number", edit_header(lambda h: h.update({NORM: 3})), "header entry of model.norm.weight is malformed"),
    ("negative shape", edit_header(lambda h: h[NORM].update(shape=[-64])), "negative or fractional"),
    ("fractional shape", edit_header(lambda h: h[NORM].update(shape=[64.0])), "negative or fractional"),
    ("absurd shape", edit_header(lambda h: h[NORM].update(shape=[2**60, 2**60])), "has shape"),
    ("overlap", edit_header(lambda h: h[NORM].update(data_offsets=[0, 256])), "overlap or leave gaps"),
    ("index without map", write_index(None), "has no weight_map"),
    ("index names a path", write_index({NORM: "../part.safetensors"}), "outside its folder"),
    ("index names a pickle", write_index({NORM: "part.bin"}), "outside its folder or of another kind"),
    ("index names a lost file", write_index({NORM: "other.safetensors"}), "is missing, the index lists it"),
]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("foreign")
    hf_twin(tiny_model()).save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("damage", "words"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_in_one_line(damage: Damage, words: str, foreign: Path, tmp_path: Path) -> None:
    for path in foreign.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    damage(tmp_path)
    dtype = torch.float16 if "float16" in words else torch.float32
    with pytest.raises(ModelFileRefused, match=words) as caught:
        load_model(tmp_path, dtype=dtype)
    assert "\n" not in caught.value.args[0] and caught.value.exit_code == 66


def test_a_key_given_twice_is_refused(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen3", "model_type": "llama"}')
    with pytest.raises(ModelFileRefused, match="a key occurs twice"):
        load_settings(tmp_path)


def test_code_in_a_folder_is_reported_and_never_run(foreign: Path, tmp_path: Path) -> None:
    for path in foreign.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    edit_config(auto_map={"AutoModelForCausalLM": "evil.Model"})(tmp_path)
    canary = tmp_path / "canary"
    (tmp_path / "evil.py").write_text(f"open({str(canary)!r}, 'w')")
    reports: list[str] = []
    load_model(tmp_path, report=reports.append)
    assert len(reports) == 1 and "auto_map" in reports[0] and not canary.exists()
    with pytest.warns(UserWarning, match="auto_map"):
        load_model(tmp_path)


def test_second_copies_in_old_files_are_ignored(foreign: Path, tmp_path: Path) -> None:
    for path in foreign.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    edit_tensors(
        lambda t: t.update(
            {"lm_head.weight": t[EMBED].clone(), "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(16)}
        )
    )(tmp_path)
    assert_same_weights(load_model(tmp_path), tiny_model())


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "generation_config.json", "manifest.json"])
def test_one_flipped_bit_in_our_folder_is_noticed(name: str, tmp_path: Path) -> None:
    save_model(tmp_path / "model", tiny_model())
    path = tmp_path / "model" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileRefused, match=name):
        load_model(tmp_path / "model")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=4,
)


@settings(max_examples=500, derandomize=True, deadline=None, database=None)
@given(st.data())
def test_any_value_of_any_config_key_is_accepted_or_refused(data: st.DataObject) -> None:
    config = to_hf_config(tiny_settings(sliding_window=4, n_full_layer=1), {})
    key = data.draw(st.sampled_from([*config, "layer_types", "rope_parameters.factor", "rope_parameters.rope_type"]))
    section, _, leaf = key.rpartition(".")
    (config[section] if section else config)[leaf] = data.draw(JSON)
    try:
        from_hf_config(config, "config.json")
    except ModelFileRefused as error:
        assert "\n" not in error.args[0]


def test_a_damaged_header_is_refused_or_harmless(foreign: Path, tmp_path: Path) -> None:
    original = (foreign / "model.safetensors").read_bytes()
    header_end = 8 + int.from_bytes(original[:8], "little")
    chance, path = python_stream(0, "test header"), tmp_path / "model.safetensors"
    n_refused = 0
    for _ in range(300):
        data = bytearray(original)
        data[chance.randrange(header_end)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        try:
            entries = read_entries(path)
            read_tensors(path, list(entries), torch.float32)
        except ModelFileRefused:
            n_refused += 1
    assert n_refused > 100
