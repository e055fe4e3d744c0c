"""Between `ModelSettings` and Hugging Face's config.json, which comes from strangers and is only ever read as data.

A key that changes the arithmetic in a way this model cannot follow is refused by name; keys that do not are ignored.
"""

from collections.abc import Mapping
from typing import Any, get_args

from prosa.config import resolve_settings
from prosa.errors import ConfigError, ModelFileRefused
from prosa.model.settings import Family, ModelSettings

_ARCHITECTURES = {
    "qwen3": "Qwen3ForCausalLM",
    "qwen2": "Qwen2ForCausalLM",
    "llama": "LlamaForCausalLM",
    "mistral": "MistralForCausalLM",
}
# What a missing key means is the family's own default in transformers.
_DEFAULT_HEAD = {"qwen3": 128}
_DEFAULT_WINDOW_LAYERS = 28
_DEFAULT_MISTRAL_WINDOW = 4096


def to_hf_config(settings: ModelSettings, control_ids: Mapping[str, Any]) -> dict[str, Any]:
    """config.json for transformers, vLLM and llama.cpp; control_ids: bos/eos/pad_token_id, or empty."""
    s = settings
    rope: dict[str, Any] = {"rope_type": "default"}
    if s.rope_scaling is not None:
        rope = {
            "rope_type": "llama3",
            "factor": s.rope_scaling.factor,
            "low_freq_factor": s.rope_scaling.low_freq_factor,
            "high_freq_factor": s.rope_scaling.high_freq_factor,
            "original_max_position_embeddings": s.rope_scaling.original_context_length,
        }
    config: dict[str, Any] = {
        "architectures": [_ARCHITECTURES[s.family]],
        "model_type": s.family,
        "vocab_size": s.vocab_size,
        "num_hidden_layers": s.n_layer,
        "hidden_size": s.d_model,
        "num_attention_heads": s.n_head,
        "num_key_value_heads": s.n_kv_head,
        "head_dim": s.d_head,
        "intermediate_size": s.d_ff,
        "hidden_act": "silu",
        "max_position_embeddings": s.context_length,
        "rms_norm_eps": s.norm_eps,
        "tie_word_embeddings": s.ties_embeddings,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "dtype": "float32",
        # The same twice: transformers 5 reads rope_parameters, everything older the other two.
        "rope_parameters": {**rope, "rope_theta": s.rope_theta},
        "rope_theta": s.rope_theta,
        "rope_scaling": rope if s.rope_scaling is not None else None,
        **control_ids,
    }
    if s.family != "llama":
        config["sliding_window"] = s.sliding_window
    if s.family in ("llama", "qwen3"):
        config["attention_bias"] = False
    if s.family in ("qwen2", "qwen3"):
        config["use_sliding_window"] = s.sliding_window is not None
        config["max_window_layers"] = s.n_full_layer if s.sliding_window is not None else s.n_layer
    return config


def from_hf_config(config: Mapping[str, Any], origin: str) -> ModelSettings:
    """Settings of a config.json; ModelFileRefused for a family, feature or size that cannot be built."""
    family = config.get("model_type")
    if not isinstance(family, str) or family not in get_args(Family):
        raise ModelFileRefused(
            f"{origin}: model_type {family!r} is unknown", hint=f"known families: {', '.join(get_args(Family))}"
        )
    _refuse_foreign_arithmetic(config, family, origin)
    try:
        values = _sizes(config, family) | _rope(config, origin) | _window(config, family, origin)
    except KeyError as error:
        raise ModelFileRefused(f"{origin}: {error} is missing") from None
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise ModelFileRefused(f"{origin}: a value is of the wrong kind: {error}") from None
    try:
        return resolve_settings(ModelSettings, values, origin=origin)
    except ConfigError as error:
        raise ModelFileRefused(error.args[0], hint="docs/model.md gives the bounds of every size") from None


def _sizes(config: Mapping[str, Any], family: str) -> dict[str, Any]:
    n_head = config["num_attention_heads"]
    d_head = config.get("head_dim")
    if d_head is None:
        d_head = _DEFAULT_HEAD.get(family) or config["hidden_size"] // n_head
    n_kv_head = config.get("num_key_value_heads")
    return {
        "family": family,
        "vocab_size": config["vocab_size"],
        "n_layer": config["num_hidden_layers"],
        "d_model": config["hidden_size"],
        "n_head": n_head,
        "n_kv_head": n_head if n_kv_head is None else n_kv_head,
        "d_head": d_head,
        "d_ff": config["intermediate_size"],
        "context_length": config["max_position_embeddings"],
        "norm_eps": config.get("rms_norm_eps", 1e-6),
        "ties_embeddings": config.get("tie_word_embeddings", False),
    }


def _rope(config: Mapping[str, Any], origin: str) -> dict[str, Any]:
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(rope, dict):
        raise ModelFileRefused(f"{origin}: rope_parameters is not an object")
    kind = rope.get("rope_type") or rope.get("type") or "default"
    values: dict[str, Any] = {"rope_theta": rope.get("rope_theta") or config.get("rope_theta") or 10_000.0}
    if kind == "llama3":
        values["rope_scaling"] = {
            "factor": rope.get("factor"),
            "low_freq_factor": rope.get("low_freq_factor"),
            "high_freq_factor": rope.get("high_freq_factor"),
            "original_context_length": rope.get("original_max_position_embeddings"),
        }
    elif kind != "default":
        raise ModelFileRefused(f"{origin}: rope_type {kind!r} is not supported", hint="known: default, llama3")
    if rope.get("partial_rotary_factor", config.get("partial_rotary_factor", 1.0)) not in (None, 1, 1.0):
        raise ModelFileRefused(f"{origin}: partial_rotary_factor other than 1 is not supported")
    return values


def _window(config: Mapping[str, Any], family: str, origin: str) -> dict[str, Any]:
    if family == "llama":
        return {}
    if family == "mistral":
        return {"sliding_window": config.get("sliding_window", _DEFAULT_MISTRAL_WINDOW)}
    if not config.get("use_sliding_window", False) or config.get("sliding_window") is None:
        return {}
    n_layer = config["num_hidden_layers"]
    n_full = min(config.get("max_window_layers", _DEFAULT_WINDOW_LAYERS), n_layer)
    types = config.get("layer_types")
    if types is not None:
        n_full = types.count("full_attention") if isinstance(types, list) else 0
        if types != ["full_attention"] * n_full + ["sliding_attention"] * (len(types) - n_full):
            raise ModelFileRefused(f"{origin}: layer_types must be full_attention first, then sliding_attention")
    if n_full == n_layer:
        return {}
    return {"sliding_window": config["sliding_window"], "n_full_layer": n_full}


def _refuse_foreign_arithmetic(config: Mapping[str, Any], family: str, origin: str) -> None:
    for key, expected in (
        ("hidden_act", "silu"),
        ("attention_bias", False),
        ("mlp_bias", False),
        ("quantization_config", None),
    ):
        found = config.get(key, expected)
        if found != expected and not (key == "attention_bias" and family == "qwen2"):
            raise ModelFileRefused(f"{origin}: {key} = {str(found)[:80]!r} is not supported, only {expected!r}")
