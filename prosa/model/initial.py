"""The weights a model is born with: settings and a seed come in, a deterministic random network goes out."""

import math

import torch
from torch import Tensor

from prosa.device import torch_stream
from prosa.model.settings import ModelSettings, check_new_model
from prosa.model.transformer import Transformer

_EMBEDDING_STD = 0.02
_UNTIED_HEAD_STD = 0.001


def init_weights(model: Transformer, seed: int) -> None:
    """Fills every parameter in place; ConfigError if the shape is not one for new models (`check_new_model`).

    | parameter                     | value                | why                                                    |
    |-------------------------------|----------------------|--------------------------------------------------------|
    | norms                         | 1                    | no scaling                                             |
    | biases of q, k, v             | 0                    |                                                        |
    | q, k, v, gate, up             | N(0, 1 / fan_in)     | unit variance in, unit variance out at any width       |
    |                               |                      | (LeCun et al., Efficient BackProp, 1998)               |
    | o_proj, down_proj             | 0                    | each block starts as the identity (Zhang et al.,       |
    |                               |                      | Fixup, arXiv:1901.09321); Muon's updates have a fixed  |
    |                               |                      | size, so zeros grow as fast as anything else           |
    | embed_tokens                  | N(0, s^2), s = 0.02  | as GPT-2; when tied at most s = 4 / d_model: a block   |
    |                               |                      | that is the identity gives the token just read a logit |
    |                               |                      | of s d_model, which must stay far below ln(vocab_size) |
    | lm_head, when not tied        | N(0, 0.001^2)        | first loss is ln(vocab_size), yet gradients flow       |

    Each parameter draws from its own stream, (seed, name), so its values depend on neither the order nor the presence
    of others.
    """
    check_new_model(model.settings)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_initial_value(name, parameter, seed, model.settings))


def _initial_value(name: str, parameter: Tensor, seed: int, settings: ModelSettings) -> Tensor:
    if name.endswith("norm.weight"):
        return torch.ones(parameter.shape)
    if name.endswith((".bias", "o_proj.weight", "down_proj.weight")):
        return torch.zeros(parameter.shape)
    std = 1 / math.sqrt(parameter.shape[1])
    if name == "model.embed_tokens.weight":
        std = min(_EMBEDDING_STD, 4 / settings.d_model) if settings.ties_embeddings else _EMBEDDING_STD
    elif name == "lm_head.weight":
        std = _UNTIED_HEAD_STD
    return std * torch.randn(parameter.shape, generator=torch_stream(seed, f"init {name}"))
