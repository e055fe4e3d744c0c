from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from prosa.config import resolve_settings
from prosa.errors import ConfigError
from prosa.model import ModelSettings, Transformer, check_new_model, count_parameters, flops_per_token
from tests.model.tiny import LLAMA3_SCALING, tiny_settings

VARIANTS: list[dict[str, Any]] = [
    {},
    {"ties_embeddings": False},
    {"family": "qwen2"},
    {"family": "llama", "n_kv_head": 4, "n_layer": 3},
    {"family": "mistral", "d_head": 64, "sliding_window": 5},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_parameters_are_counted_as_they_are(variant: dict[str, Any]) -> None:
    settings = tiny_settings(**variant)
    assert count_parameters(settings) == sum(p.numel() for p in Transformer(settings).parameters())


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_flops_equal_those_torch_counts(variant: dict[str, Any]) -> None:
    settings = tiny_settings(**variant)
    model, ids = Transformer(settings), torch.zeros(3, 24, dtype=torch.long)
    # torch counts nothing for its fused CPU attention; the plain one is the same two products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(ids).sum().backward()
    assert counter.get_total_flops() == flops_per_token(settings, 24) * ids.numel()


def refused(values: dict[str, Any]) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_settings(ModelSettings, tiny_settings().model_dump() | values, origin="test")
    assert "\n" not in caught.value.args[0]
    return str(caught.value.args[0])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"vocab_size": 2**40}, "less than or equal to 1048576"),
        ({"n_layer": 10**9}, "less than or equal to 512"),
        ({"d_model": 0}, "greater than or equal to 8"),
        ({"d_ff": -1}, "greater than or equal to 1"),
        ({"d_head": 33}, "multiple of 2"),
        ({"n_kv_head": 3}, "n_head = 4 is not a multiple of n_kv_head = 3"),
        ({"rope_theta": float("nan")}, "finite number"),
        ({"dropout": 1.0}, "less than 1"),
        ({"context_length": 2**20, "d_head": 256}, "exceeds 134217728"),
        ({"family": "llama", "sliding_window": 8}, "no sliding window"),
        ({"family": "llama", "d_model": 66}, "divisible by n_head"),
        ({"n_full_layer": 1}, "needs a sliding_window"),
        ({"sliding_window": 8, "n_full_layer": 3}, "exceeds n_layer"),
        ({"rope_scaling": LLAMA3_SCALING | {"high_freq_factor": 0.5}}, "high_freq_factor must be greater"),
        ({"family": "gpt2"}, "'qwen3', 'qwen2', 'llama' or 'mistral'"),
        ({"n_layers": 3}, "unknown setting `n_layers`"),
    ],
    ids=str,
)
def test_impossible_sizes_are_refused_with_their_bound(values: dict[str, Any], words: str) -> None:
    assert words in refused(values)


def test_new_models_keep_to_heads_that_other_programs_run() -> None:
    check_new_model(tiny_settings(d_head=96))
    with pytest.raises(ConfigError, match="d_head = 80: other programs run only 32, 64, 96, 128, 256"):
        check_new_model(tiny_settings(d_head=80))


def test_large_new_models_have_rows_that_quantise() -> None:
    large = {"vocab_size": 50_000, "n_layer": 12, "n_head": 12, "n_kv_head": 12, "d_head": 64, "d_ff": 2048}
    check_new_model(tiny_settings(d_model=768, **large))
    with pytest.raises(ConfigError, match="d_model = 700 is not a multiple of 256") as caught:
        check_new_model(tiny_settings(d_model=700, **large))
    assert caught.value.hint == "the nearest is 768"
