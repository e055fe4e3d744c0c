from typing import Any

import pytest
import torch

from prosa.errors import ConfigError
from prosa.model import KVCache, Transformer, drop
from tests.model.reference import reference_logits
from tests.model.tiny import LLAMA3_SCALING, hf_twin, random_ids, tiny_model, tiny_settings
from tests.training.tiny_run import NEEDS_COMPILER

FAMILIES = ["qwen3", "qwen2", "llama", "mistral"]
VARIANTS: list[dict[str, Any]] = [
    *({"family": family, "ties_embeddings": ties} for family in FAMILIES for ties in (True, False)),
    {"family": "qwen3", "n_kv_head": 4, "d_head": 96, "d_ff": 30, "rope_theta": 5e5},
    {"family": "qwen3", "n_head": 6, "n_kv_head": 1},
    {"family": "llama", "rope_scaling": LLAMA3_SCALING, "rope_theta": 5e5},
    {"family": "qwen3", "rope_scaling": LLAMA3_SCALING},
    {"family": "mistral", "sliding_window": 7},
    {"family": "qwen3", "sliding_window": 7, "n_full_layer": 1},
    {"family": "qwen2", "sliding_window": 5},
    {"family": "mistral", "sliding_window": 64},
]


def name_of(variant: dict[str, Any]) -> str:
    return "-".join(f"{key}={value}" for key, value in variant.items() if key != "rope_scaling") + (
        "-scaled" if "rope_scaling" in variant else ""
    )


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_logits_equal_transformers(variant: dict[str, Any]) -> None:
    model = tiny_model(**variant)
    ids = random_ids(model, 2, 50)
    with torch.no_grad():
        difference = (model(ids) - hf_twin(model)(ids).logits).abs().max()
    assert difference < 1e-5


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_equal_transformers(family: str) -> None:
    model = tiny_model(family=family, sliding_window=9 if family == "mistral" else None)
    twin, ids = hf_twin(model), random_ids(model, 2, 20)
    probe = torch.randn(2, 20, model.settings.vocab_size, generator=torch.Generator().manual_seed(0))
    (model(ids) * probe).sum().backward()
    (twin(ids).logits * probe).sum().backward()
    theirs = dict(twin.named_parameters())
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "variant",
    [
        {"family": "qwen3", "ties_embeddings": False},
        {"family": "qwen2"},
        {"family": "llama"},
        {"family": "qwen3", "sliding_window": 3, "n_full_layer": 1},
    ],
    ids=name_of,
)
def test_logits_equal_the_naive_reference(variant: dict[str, Any]) -> None:
    model = tiny_model(seed=1, **variant)
    ids = random_ids(model, 9)
    expected = reference_logits(model.settings, model.state_dict(), ids.tolist())
    with torch.no_grad():
        torch.testing.assert_close(model(ids[None])[0].double(), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("variant", [{}, {"sliding_window": 6}, {"sliding_window": 6, "n_full_layer": 1}], ids=str)
@pytest.mark.parametrize("chunks", [[1] * 12, [12], [5, 1, 4, 2], [1, 11]], ids=str)
def test_reading_in_chunks_with_a_cache_equals_reading_at_once(variant: dict[str, Any], chunks: list[int]) -> None:
    model = tiny_model(**variant)
    ids, kv_cache = random_ids(model, 3, 12), KVCache(model.settings, 3, 20)
    with torch.no_grad():
        pieces = [model(piece, kv_cache) for piece in ids.split(chunks, dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids), rtol=0, atol=1e-5)
    assert kv_cache.lengths == [12, 12, 12]


@pytest.mark.parametrize("variant", [{}, {"sliding_window": 4, "n_full_layer": 1}], ids=str)
def test_rows_of_different_lengths_share_a_cache_without_disturbing_each_other(variant: dict[str, Any]) -> None:
    model, lengths = tiny_model(**variant), [3, 9, 1, 6]
    ids = random_ids(model, 4, 20)
    kv_cache = KVCache(model.settings, 4, 20)
    with torch.no_grad():
        whole = model(ids)
        model(ids[:, :9], kv_cache)
        kv_cache.truncate(lengths)
        for width in (1, 3, 1):
            starts = list(kv_cache.lengths)
            new = torch.stack([row[start : start + width] for row, start in zip(ids, starts, strict=True)])
            logits = model(new, kv_cache)
            for row, start in enumerate(starts):
                torch.testing.assert_close(logits[row], whole[row, start : start + width], rtol=0, atol=1e-5)


def test_cache_rows_can_be_chosen_repeated_and_replaced() -> None:
    model = tiny_model()
    ids = random_ids(model, 3, 12)
    kv_cache = KVCache(model.settings, 3, 8)
    with torch.no_grad():
        whole = model(ids)
        model(ids[:, :8], kv_cache)
        kv_cache.truncate([8, 5, 3])
        chosen = kv_cache.select([2, 0, 2])
        assert chosen.lengths == [3, 8, 3] and chosen.capacity == 8
        logits = model(torch.stack([ids[2, 3:4], ids[0, 8:9], ids[2, 3:4]]), chosen)
        torch.testing.assert_close(logits[:, 0], whole[[2, 0, 2], [3, 8, 3]], rtol=0, atol=1e-5)
        fresh = KVCache(model.settings, 1, 12)
        model(ids[1:2, :6], fresh)
        chosen.replace_rows([1], fresh)
        assert chosen.lengths == [4, 6, 4] and chosen.capacity == 64
        logits = model(torch.stack([ids[2, 4:5], ids[1, 6:7], ids[2, 4:5]]), chosen)
        torch.testing.assert_close(logits[:, 0], whole[[2, 1, 2], [4, 6, 4]], rtol=0, atol=1e-5)


def test_it_compiles_whole_and_computes_the_same() -> None:
    model = tiny_model(sliding_window=6, n_full_layer=1)
    ids = random_ids(model, 2, 16)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager", dynamic=False)
    torch.testing.assert_close(compiled(ids), model(ids), rtol=0, atol=1e-5)


def test_bfloat16_autocast_stays_near_float32_and_keeps_the_residual_stream_exact() -> None:
    model = tiny_model()
    ids = random_ids(model, 2, 30)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        hidden, logits = model.hidden(ids), model(ids)
    assert hidden.dtype == torch.float32 and logits.dtype == torch.bfloat16
    ragged = KVCache(model.settings, 2, 40)
    with torch.no_grad():
        exact = model(ids)
        model(ids[:, :20], ragged)
        ragged.truncate([20, 9])
        with torch.autocast("cpu", torch.bfloat16):
            assert model(ids[:, :1], ragged).isfinite().all()
    assert (logits.float() - exact).abs().mean() < 0.02 * exact.abs().mean() + 0.02


def test_bfloat16_weights_stay_near_float32_with_and_without_a_cache() -> None:
    exact, half = tiny_model(family="qwen2"), tiny_model(family="qwen2").bfloat16()
    ids, kv_cache = random_ids(exact, 2, 12), KVCache(exact.settings, 2, 12, dtype=torch.bfloat16)
    with torch.no_grad():
        expected, whole = exact(ids), half(ids)
        pieces = torch.cat([half(ids[:, :5], kv_cache), half(ids[:, 5:6], kv_cache), half(ids[:, 6:], kv_cache)], dim=1)
    for logits in (whole, pieces):
        assert logits.dtype == torch.bfloat16
        assert (logits.float() - expected).abs().mean() < 0.03 * expected.abs().mean()


def test_hidden_can_be_unembedded_in_chunks() -> None:
    model = tiny_model(ties_embeddings=False)
    ids = random_ids(model, 2, 10)
    with torch.no_grad():
        hidden = model.hidden(ids)
        chunks = torch.cat([model.unembed(chunk) for chunk in hidden.split(3, dim=1)], dim=1)
        torch.testing.assert_close(chunks, model(ids), rtol=0, atol=1e-5)


def test_dropout_acts_in_training_only() -> None:
    model = tiny_model(dropout=0.5)
    ids = random_ids(model, 1, 10)
    with torch.no_grad():
        torch.testing.assert_close(model(ids), tiny_model()(ids), rtol=0, atol=0)
        model.train()
        assert not torch.equal(model(ids), model(ids))


@pytest.mark.parametrize(
    ("fraction", "is_compiled"),
    [(0.0, False), (1e-3, False), (0.15, False), (0.9, False), pytest.param(0.15, True, marks=NEEDS_COMPILER)],
)
def test_dropout_zeroes_the_fraction_and_keeps_the_mean(fraction: float, is_compiled: bool) -> None:
    act = torch.compile(drop, dynamic=False) if is_compiled else drop
    torch.manual_seed(0)
    x = torch.linspace(1, 2, 501 * 997).view(501, 997)  # numbers that four do not divide
    y = act(x, fraction, True)
    kept = y != 0
    deviation = (fraction * (1 - fraction) / x.numel()) ** 0.5
    assert abs(kept.float().mean() - (1 - fraction)) <= 5 * deviation + 1e-5
    torch.testing.assert_close(y[kept], x[kept] / (1 - fraction), rtol=1e-4, atol=0)
    # Neighbours, which share a draw, are dropped independently.
    both = (~kept[:, 1:] & ~kept[:, :-1]).float().mean()
    assert abs(both - fraction**2) <= 8 * deviation + 1e-5
    assert torch.equal(act(x, fraction, False), x)


def test_tied_embeddings_are_one_parameter() -> None:
    assert "lm_head.weight" not in tiny_model().state_dict()
    model = tiny_model()
    assert model.unembedding is model.model.embed_tokens.weight


@pytest.mark.parametrize("cached", [0, 60])
def test_more_tokens_than_the_context_are_refused(cached: int) -> None:
    model = Transformer(tiny_settings())
    kv_cache = None
    if cached:
        kv_cache = KVCache(model.settings, 1, 80)
        model(torch.zeros(1, cached, dtype=torch.long), kv_cache)
    with pytest.raises(ConfigError, match="65 tokens does not fit in a context of 64"):
        model(torch.zeros(1, 65 - cached, dtype=torch.long), kv_cache)
