import math

import pytest
import torch
import torch.nn.functional as F

from prosa.errors import ConfigError
from prosa.model import Transformer, init_weights
from tests.model.tiny import random_ids, tiny_settings


def born(seed: int, **changes: object) -> Transformer:
    model = Transformer(tiny_settings(**changes))
    init_weights(model, seed)
    return model


def test_the_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(1)
    first = born(7)
    torch.manual_seed(2)
    second, other = born(7), born(8)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))
    q_proj = "model.layers.0.self_attn.q_proj.weight"
    assert not torch.equal(first.state_dict()[q_proj], other.state_dict()[q_proj])


def test_a_parameter_does_not_depend_on_the_others() -> None:
    shallow, deep = born(3).state_dict(), born(3, n_layer=4, ties_embeddings=False).state_dict()
    assert all(torch.equal(tensor, deep[name]) for name, tensor in shallow.items())
    assert not torch.equal(deep["model.layers.0.mlp.up_proj.weight"], deep["model.layers.1.mlp.up_proj.weight"])


@pytest.mark.parametrize("d_model", [64, 768])
@pytest.mark.parametrize("ties", [True, False])
def test_a_new_model_knows_nothing_but_passes_gradients(ties: bool, d_model: int) -> None:
    model = born(0, vocab_size=500, ties_embeddings=ties, d_model=d_model)
    ids = random_ids(model, 4, 33)
    loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
    assert abs(loss.item() - math.log(500)) < 0.15
    loss.backward()
    zero = {name for name, parameter in model.named_parameters() if not parameter.grad.abs().sum() > 0}
    # Behind an output matrix of zeros nothing is felt until its first step.
    assert all(name.split(".")[-2] not in ("o_proj", "down_proj", "embed_tokens", "lm_head") for name in zero)


def test_values_follow_the_documented_table() -> None:
    assert born(0, d_model=512).unembedding.std().item() == pytest.approx(4 / 512, rel=0.05)
    assert born(0).unembedding.std().item() == pytest.approx(0.02, rel=0.05)
    state = born(0, family="qwen2", ties_embeddings=False, vocab_size=3000).state_dict()
    for name, tensor in state.items():
        kind = name.split(".")[-2]
        if kind in ("o_proj", "down_proj") or name.endswith(".bias"):
            assert not tensor.any()
        elif kind.endswith("norm"):
            assert (tensor == 1).all()
        else:
            std = {"embed_tokens": 0.02, "lm_head": 0.001}.get(kind, tensor.shape[1] ** -0.5)
            assert tensor.std().item() == pytest.approx(std, rel=0.05), name
            assert abs(tensor.mean().item()) < 0.05 * std, name


def test_unusual_heads_are_for_loading_only() -> None:
    with pytest.raises(ConfigError, match="d_head = 80"):
        born(0, d_head=80)
