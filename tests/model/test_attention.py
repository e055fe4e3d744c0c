"""The attention of short rows in bfloat16 on the CPU against torch's own."""

import pytest
import torch
import torch.nn.functional as F

from prosa.model.transformer import attend

HEADS = {"grouped": (6, 2), "one for all": (4, 1), "each its own": (4, 4)}


@pytest.mark.parametrize("is_masked", [False, True])
@pytest.mark.parametrize("name", list(HEADS))
@pytest.mark.parametrize("T", [2, 41, 256, 600])
def test_short_rows_are_torchs_attention_and_gradient(name, T, is_masked):
    n_head, n_kv_head = HEADS[name]
    torch.manual_seed(T)
    q, k, v = (torch.randn(3, heads, T, 16) for heads in (n_head, n_kv_head, n_kv_head))
    segments = torch.randint(0, 2, (3, 1, T)).sort(-1).values
    mask = (segments[..., None] == segments[..., None, :]) & torch.ones(T, T, dtype=torch.bool).tril()
    expected, found = [], []
    for dtype, results in ((torch.float32, expected), (torch.bfloat16, found)):
        inputs = [x.to(dtype, copy=True).requires_grad_() for x in (q, k, v)]
        if dtype == torch.float32:
            y = F.scaled_dot_product_attention(
                *inputs, attn_mask=mask if is_masked else None, is_causal=not is_masked, enable_gqa=True
            )
        else:
            y = attend(*inputs, mask if is_masked else None)
        (y.float() * q).sum().backward()
        results += [y.detach().float(), *(x.grad.float() for x in inputs)]
    scale = max(float(one.square().mean().sqrt()) for one in expected)
    for one, other in zip(expected, found, strict=True):
        assert (one - other).square().mean().sqrt() < 0.01 * scale


def test_a_query_that_sees_nothing_is_finite():
    q = torch.randn(1, 2, 5, 16, dtype=torch.bfloat16).requires_grad_()
    attend(q, q, q, torch.zeros(1, 1, 5, 5, dtype=torch.bool)).sum().backward()
    assert q.grad is not None and q.grad.isfinite().all()
