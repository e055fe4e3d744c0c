"""Small models with weights that make every parameter matter, and their twins in transformers."""

from typing import Any

import torch
from torch import nn

from prosa.device import torch_stream
from prosa.model import ModelSettings, Transformer

torch.set_num_threads(1)

LLAMA3_SCALING = {"factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_context_length": 16}


def tiny_settings(**changes: Any) -> ModelSettings:
    sizes = {"n_layer": 2, "d_model": 64, "n_head": 4, "n_kv_head": 2, "d_head": 32, "d_ff": 88}
    return ModelSettings(**({"vocab_size": 97, "context_length": 64} | sizes | changes))


def tiny_model(seed: int = 0, **changes: Any) -> Transformer:
    """Random in every parameter, norms and biases included, so that a wrong use of any of them shows."""
    model = Transformer(tiny_settings(**changes)).eval()
    randomise(model, seed)
    return model


def randomise(model: nn.Module, seed: int) -> None:
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=torch_stream(seed, f"test {name}"))
            parameter.copy_(1 + 0.2 * noise if name.endswith("norm.weight") else 0.15 * noise)


def random_ids(model: Transformer, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(model.settings.vocab_size, shape, generator=torch_stream(seed, "test ids"))


def hf_twin(model: Transformer) -> Any:
    """The same weights in transformers' own class, configured by their arguments rather than by our config.json."""
    import transformers

    s = model.settings
    rope: dict[str, Any] = {"rope_type": "default", "rope_theta": s.rope_theta}
    if s.rope_scaling is not None:
        rope |= s.rope_scaling.model_dump(exclude={"original_context_length"}) | {
            "rope_type": "llama3",
            "original_max_position_embeddings": s.rope_scaling.original_context_length,
        }
    arguments: dict[str, Any] = {
        "vocab_size": s.vocab_size,
        "hidden_size": s.d_model,
        "intermediate_size": s.d_ff,
        "num_hidden_layers": s.n_layer,
        "num_attention_heads": s.n_head,
        "num_key_value_heads": s.n_kv_head,
        "head_dim": s.d_head,
        "max_position_embeddings": s.context_length,
        "rms_norm_eps": s.norm_eps,
        "rope_parameters": rope,
        "tie_word_embeddings": s.ties_embeddings,
        "attn_implementation": "eager",
    }
    if s.family != "llama":
        arguments["sliding_window"] = s.sliding_window
    if s.family.startswith("qwen"):
        arguments |= {"use_sliding_window": s.sliding_window is not None, "max_window_layers": s.n_full_layer}
    name = s.family.capitalize()
    config = getattr(transformers, f"{name}Config")(**arguments)
    twin = getattr(transformers, f"{name}ForCausalLM")(config).eval()
    missing, unexpected = twin.load_state_dict(model.state_dict(), strict=False)
    assert unexpected == [] and missing == (["lm_head.weight"] if s.ties_embeddings else [])
    twin.tie_weights()
    return twin
