"""Token ids become logits: the whole forward pass in one file, in the shapes of Qwen3, Qwen2, Llama and Mistral."""

from prosa.model.branches import Tree, group_by_length, plant, read_trees, read_where
from prosa.model.folder import load_model, load_settings, save_model
from prosa.model.initial import init_weights
from prosa.model.kv_cache import KVCache
from prosa.model.settings import ModelSettings, RopeScaling, check_new_model, count_parameters, flops_per_token
from prosa.model.transformer import Transformer, drop

__all__ = [
    "KVCache",
    "ModelSettings",
    "RopeScaling",
    "Transformer",
    "Tree",
    "check_new_model",
    "count_parameters",
    "drop",
    "flops_per_token",
    "group_by_length",
    "init_weights",
    "load_model",
    "load_settings",
    "plant",
    "read_trees",
    "read_where",
    "save_model",
]
