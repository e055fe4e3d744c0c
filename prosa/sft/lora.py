"""Low-rank adapters: a frozen model goes in, a model of which only small added matrices learn comes out.

W x becomes W x + (alpha / rank) B A x, with A rank x in, B out x rank and B = 0 at the start (Hu et al. 2021,
arXiv:2106.09685, section 4.1). Adapters are saved as `peft` does, merged models have the shape of any other.
"""

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import Field
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from prosa.config import Settings
from prosa.device import torch_stream
from prosa.errors import CheckpointError, ConfigError, ModelFileRefused, StorageError
from prosa.model import drop
from prosa.rundir import commit_folder, staging_folder, storage_errors

BLOCK_MATRICES = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
_CONFIG, _WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."
_JSON_LIMIT_BYTES = 1_000_000
_OTHER = "it was made for another model, or by another method; peft's `merge_and_unload` makes an ordinary model of it"
# What peft's file may say without changing what the adapter computes; anything else must be empty or off.
_HARMLESS = {
    *("peft_type", "task_type", "auto_mapping", "base_model_name_or_path", "revision", "inference_mode", "r"),
    *("lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
    *("use_rslora", "megatron_core", "peft_version", "qalora_group_size"),
}


class LoraSettings(Settings):
    """How large adapters are and where; rank 0 trains the whole model instead."""

    rank: int = Field(0, ge=0, le=4096)
    """Rows of A and columns of B; 0 is full fine-tuning."""
    alpha: float = Field(0.0, ge=0, le=1e6)
    """The adapter's output is multiplied by alpha / rank; 0 is twice the rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Share of the adapter's inputs dropped while training."""
    targets: tuple[str, ...] = BLOCK_MATRICES
    """The linear layers that get one, by the last part of their names."""


class LoraLinear(nn.Module):
    """A frozen linear layer and its adapter."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, dropout: float) -> None:
        super().__init__()
        place = {"device": layer.weight.device, "dtype": layer.weight.dtype}
        self.base_layer = layer
        self.lora_A = nn.Linear(layer.in_features, rank, bias=False, **place)
        self.lora_B = nn.Linear(rank, layer.out_features, bias=False, **place)
        self.rank, self.alpha, self.dropout = rank, alpha, dropout

    def forward(self, x: Float[Tensor, "*batch I"]) -> Float[Tensor, "*batch O"]:
        out: Tensor = self.base_layer(x)
        added: Tensor = self.lora_B(self.lora_A(drop(x, self.dropout, self.training)))
        return out + self.alpha / self.rank * added

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The frozen layer with the adapter added to its matrix, computed in float32."""
        change = self.lora_B.weight.float() @ self.lora_A.weight.float()
        self.base_layer.weight.add_((self.alpha / self.rank * change).to(self.base_layer.weight.dtype))
        return self.base_layer


def add_lora(model: nn.Module, settings: LoraSettings, seed: int = 0) -> None:
    """Freezes the model and gives its layers of `settings.targets` adapters that change nothing yet.

    A is uniform as torch draws a linear layer's matrix (and peft does), B is zero. ConfigError if no layer has such a
    name, or one of the names is nowhere.
    """
    layers = _linear_layers(model)
    unknown = [target for target in settings.targets if all(_last(name) != target for name in layers)]
    if unknown or not settings.targets:
        known = ", ".join(dict.fromkeys(map(_last, layers)))
        raise ConfigError(f"lora.targets: no linear layer is called {unknown or 'nothing'}", hint=f"there are {known}")
    model.requires_grad_(False)
    for name, layer in layers.items():
        if _last(name) in settings.targets:
            adapter = LoraLinear(layer, settings.rank, settings.alpha or 2.0 * settings.rank, settings.dropout)
            bound = 1 / math.sqrt(layer.in_features)
            with torch.no_grad():
                drawn = torch.rand(adapter.lora_A.weight.shape, generator=torch_stream(seed, f"adapter {name}"))
                adapter.lora_A.weight.copy_((2 * drawn - 1) * bound)
                adapter.lora_B.weight.zero_()
            _replace(model, name, adapter)


def merge_lora(model: nn.Module) -> None:
    """Adds every adapter to its layer's matrix and removes it: the model is then one of the usual shape, not frozen."""
    for name, adapter in _adapters(model).items():
        _replace(model, name, adapter.merged())
    model.requires_grad_(True)


def save_adapter(folder: Path, model: nn.Module, *, trained_on: str = "") -> None:
    """Writes the adapters as a folder that `peft.PeftModel.from_pretrained` reads; durably, replacing an older one.

    trained_on: path or name of the model they belong to. CheckpointError if a number is not finite.
    """
    adapters = _adapters(model)
    assert adapters, "the model has no adapters"
    first = next(iter(adapters.values()))
    assert all((a.rank, a.alpha) == (first.rank, first.alpha) for a in adapters.values())
    tensors = {
        f"{_PREFIX}{name}.{part}.weight": getattr(adapter, part).weight.detach().cpu().contiguous()
        for name, adapter in adapters.items()
        for part in ("lora_A", "lora_B")
    }
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise CheckpointError(f"{name} holds NaN or infinity, so the adapter is not saved to `{folder}`")
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": trained_on,
        "inference_mode": True,
        "r": first.rank,
        "lora_alpha": int(first.alpha) if first.alpha == int(first.alpha) else first.alpha,
        "lora_dropout": first.dropout,
        "target_modules": sorted({_last(name) for name in adapters}),
        "bias": "none",
        "fan_in_fan_out": False,
        "init_lora_weights": True,
    }
    temporary = staging_folder(folder)
    try:
        with storage_errors(folder):
            save_file(tensors, temporary / _WEIGHTS, metadata={"format": "pt"})
            (temporary / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        commit_folder(temporary, folder, {"kind": "adapter"})
    except SafetensorError as error:
        raise StorageError(f"cannot write `{folder}`: {error}", hint="make room on the disk, then save again") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def load_adapter(folder: Path, model: nn.Module) -> None:
    """Gives `model` the adapters of a folder, ours or peft's; all else of the model is frozen.

    Raises ModelFileRefused for anything but plain LoRA of linear layers that the model has.
    """
    config = _read_config(folder / _CONFIG)
    rank, alpha = config["r"], float(config["lora_alpha"])
    if config.get("use_rslora"):
        # Rank-stabilised LoRA divides by the root of the rank (Kalajdzievski 2023, arXiv:2312.03732).
        alpha *= math.sqrt(rank)
    tensors, layers = _read_tensors(folder / _WEIGHTS), _linear_layers(model)
    names = list(dict.fromkeys(name.rpartition(".lora_")[0].removeprefix(_PREFIX) for name in tensors))
    adapters = {}
    for name in names:
        if name not in layers:
            raise ModelFileRefused(f"`{folder / _WEIGHTS}`: the model has no linear layer {name[:80]}", hint=_OTHER)
        adapters[name] = LoraLinear(layers[name], rank, alpha, float(config.get("lora_dropout") or 0.0))
    expected = {
        f"{_PREFIX}{name}.{part}.weight": getattr(adapter, part).weight
        for name, adapter in adapters.items()
        for part in ("lora_A", "lora_B")
    }
    for name in expected.keys() | tensors.keys():
        if name not in expected or name not in tensors:
            raise ModelFileRefused(f"`{folder / _WEIGHTS}`: {name[:120]} is not as in plain LoRA", hint=_OTHER)
        if expected[name].shape != tensors[name].shape:
            found, wanted = list(tensors[name].shape), list(expected[name].shape)
            raise ModelFileRefused(f"`{folder / _WEIGHTS}`: {name} has shape {found}, not {wanted}", hint=_OTHER)
    model.requires_grad_(False)
    with torch.no_grad():
        for name, weight in expected.items():
            weight.copy_(tensors[name])
    for name, adapter in adapters.items():
        _replace(model, name, adapter)


def _read_config(path: Path) -> dict[str, Any]:
    if not path.is_file() or path.stat().st_size > _JSON_LIMIT_BYTES:
        raise ModelFileRefused(f"`{path}` is missing or too large", hint="give the folder of an adapter")
    try:
        config = json.loads(path.read_bytes())
        is_lora = config["peft_type"] == "LORA" and type(config["r"]) is int and 0 < config["r"] <= 65_536
        is_lora = is_lora and isinstance(config["lora_alpha"], int | float)
    except (ValueError, KeyError, TypeError):
        raise ModelFileRefused(f"`{path}` is no description of an adapter") from None
    if not is_lora:
        raise ModelFileRefused(f"`{path}` describes no LoRA adapter", hint=_OTHER)
    for key, value in config.items():
        is_plain = not value or (key, value) in (
            ("bias", "none"),
            ("init_lora_weights", True),
            ("init_lora_weights", "gaussian"),
        )
        if key not in _HARMLESS and not is_plain:
            raise ModelFileRefused(f"`{path}`: {key} = {value!r} is not supported"[:200], hint=_OTHER)
    return dict(config)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise ModelFileRefused(f"`{path}` cannot be read: {error}", hint="copy or download the file again") from None
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelFileRefused(f"`{path}`: {name[:120]} holds NaN or infinity")
    return tensors


def _linear_layers(model: nn.Module) -> Mapping[str, nn.Linear]:
    """The linear layers inside the blocks."""
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and ".layers." in f".{name}"
    }


def _adapters(model: nn.Module) -> Mapping[str, LoraLinear]:
    return {name: module for name, module in model.named_modules() if isinstance(module, LoraLinear)}


def _replace(model: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, module)


def _last(name: str) -> str:
    return name.rpartition(".")[2]
