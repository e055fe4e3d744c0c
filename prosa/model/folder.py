"""A model as a folder: the same files that transformers, vLLM and llama.cpp open, ours with a manifest besides.

Only safetensors and JSON are ever read; names, shapes and sizes are compared with the settings before memory is
taken, and nothing in a folder is executed.
"""

import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file

from prosa.errors import CheckpointError, ModelFileRefused, StorageError
from prosa.model.hf_config import from_hf_config, to_hf_config
from prosa.model.settings import ModelSettings
from prosa.model.tensor_file import TensorEntry, parse_json, read_entries, read_tensors
from prosa.model.transformer import Transformer
from prosa.rundir import commit_folder, is_complete, staging_folder, storage_errors, verify_folder
from prosa.tokenizer import Tokenizer

_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_PICKLE_SUFFIXES = {".bin", ".ckpt", ".pickle", ".pkl", ".pt", ".pth"}
_JSON_LIMIT_BYTES = 64 * 1024 * 1024


def save_model(folder: Path, model: Transformer, tokenizer: Tokenizer | None = None) -> None:
    """Writes a complete Hugging Face folder durably, replacing an older one of that name.

    Raises CheckpointError if a weight is not finite, StorageError if the disk refuses.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds NaN or infinity, so the model is not saved to `{folder}`")
    control_ids: dict[str, Any] = {}
    if tokenizer is not None:
        control_ids = {
            "bos_token_id": tokenizer.end_of_text_id,
            "eos_token_id": [tokenizer.end_of_text_id, tokenizer.im_end_id],
            "pad_token_id": tokenizer.pad_id,
        }
    config = to_hf_config(model.settings, control_ids)
    config["dtype"] = str(model.unembedding.dtype).removeprefix("torch.")
    description = {"kind": "model", "settings": model.settings.model_dump(mode="json")}
    if tokenizer is not None:
        description["tokenizer"] = tokenizer.hash
    temporary = staging_folder(folder)
    try:
        with storage_errors(folder):
            save_file(tensors, temporary / _WEIGHTS, metadata={"format": "pt"})
            _write_json(temporary / "config.json", config)
            _write_json(temporary / "generation_config.json", {"do_sample": True, "temperature": 0.8, **control_ids})
            if tokenizer is not None:
                tokenizer.save(temporary)
        commit_folder(temporary, folder, description)
    except SafetensorError as error:
        raise StorageError(f"cannot write `{folder}`: {error}", hint="make room on the disk, then save again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_model(
    folder: Path,
    *,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = warnings.warn,
) -> Transformer:
    """The model of a folder, ours (verified by its manifest) or anyone's, in eval mode.

    Raises ModelFileRefused, saying which file and why, for anything that is not exactly the tensors of a known family.
    """
    if is_complete(folder):
        try:
            verify_folder(folder)
        except CheckpointError as error:
            raise ModelFileRefused(
                error.args[0], hint="restore the folder from a copy or save the model again"
            ) from None
    settings = load_settings(folder, report=report)
    entries = _find_entries(folder)
    with torch.device("meta"):
        model = Transformer(settings)
    names = _match_entries(folder, model, entries)
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted({entries[name].file for name in names}):
        tensors |= read_tensors(path, [name for name in names if entries[name].file == path], dtype)
    model.load_state_dict(tensors, assign=True)
    return model.to(device).eval()


def load_settings(folder: Path, *, report: Callable[[str], None] = warnings.warn) -> ModelSettings:
    """The settings in a model folder's config.json; code that it names is never run, and `report` says so."""
    path = folder / "config.json"
    if not path.is_file():
        raise ModelFileRefused(
            f"`{folder}` has no config.json", hint="give a run, a stage's model/ or a Hugging Face folder"
        )
    config = _read_json(path)
    if "auto_map" in config:
        report(f"`{path}` asks to run code that came with the model (auto_map); ignored")
    return from_hf_config(config, f"`{path}`")


def _find_entries(folder: Path) -> dict[str, TensorEntry]:
    """All tensors of the folder's single or sharded weights."""
    if (folder / _WEIGHTS).is_file():
        return read_entries(folder / _WEIGHTS)
    if (folder / _INDEX).is_file():
        return _read_shards(folder, _read_json(folder / _INDEX))
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLE_SUFFIXES)
    if pickles:
        raise ModelFileRefused(
            f"`{folder / pickles[0]}` is a pickle, which can run any code when it is read",
            hint="ask its author for safetensors, or convert it on a machine that you can lose",
        )
    raise ModelFileRefused(f"`{folder}` has no {_WEIGHTS}")


def _read_shards(folder: Path, index: dict[str, Any]) -> dict[str, TensorEntry]:
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise ModelFileRefused(f"`{folder / _INDEX}` has no weight_map")
    entries: dict[str, TensorEntry] = {}
    for name in sorted({str(value) for value in weight_map.values()}):
        if Path(name).name != name or not name.endswith(".safetensors") or "\\" in name:
            raise ModelFileRefused(f"`{folder / _INDEX}` names a file outside its folder or of another kind: {name!r}")
        if not (folder / name).is_file():
            raise ModelFileRefused(f"`{folder / name}` is missing, the index lists it")
        shard = read_entries(folder / name)
        doubled = entries.keys() & shard.keys()
        if doubled:
            raise ModelFileRefused(f"`{folder / name}`: {min(doubled)} is also in another shard")
        entries |= shard
    return entries


def _match_entries(folder: Path, model: Transformer, entries: dict[str, TensorEntry]) -> list[str]:
    """The names to read; every one the model needs is there in its shape, and nothing else is."""
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    missing = [name for name in expected if name not in entries]
    if missing:
        raise ModelFileRefused(f"`{folder}`: {len(missing)} tensors are missing, the first is {missing[0]}")
    for name, entry in entries.items():
        if name not in expected and not _is_redundant(name, model.settings):
            raise ModelFileRefused(
                f"`{entry.file}`: unexpected tensor {name[:80]}", hint="config.json is of another model"
            )
        if name in expected and entry.shape != expected[name]:
            raise ModelFileRefused(
                f"`{entry.file}`: {name} has shape {list(entry.shape)}, config.json means {list(expected[name])}"
            )
    return list(expected)


def _is_redundant(name: str, settings: ModelSettings) -> bool:
    """A second copy of the tied embedding, or the RoPE frequencies that old files carry."""
    return (settings.ties_embeddings and name == "lm_head.weight") or name.endswith("rotary_emb.inv_freq")


def _read_json(path: Path) -> dict[str, Any]:
    if path.stat().st_size > _JSON_LIMIT_BYTES:
        raise ModelFileRefused(f"`{path}` is larger than {_JSON_LIMIT_BYTES} bytes")
    return parse_json(path.read_bytes(), str(path))


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, allow_nan=False) + "\n", encoding="utf-8")
