"""The four sizes at which speed is measured: about 1, 14, 50 and 124 million parameters."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prosa.model import ModelSettings

# Layers, width, heads, width of the feed-forward part, vocabulary.
SHAPES: dict[str, tuple[int, int, int, int, int]] = {
    "1M": (4, 128, 4, 352, 2048),
    "14M": (6, 384, 6, 1024, 8192),
    "50M": (12, 512, 8, 1536, 16_384),
    "124M": (12, 768, 12, 2048, 50_304),
}


def settings_of(name: str, context_length: int) -> "ModelSettings":
    """A model of that size in the planner's form: Qwen3's, tied embeddings, one key head for each query head."""
    from prosa.model import ModelSettings

    n_layer, d_model, n_head, d_ff, vocab_size = SHAPES[name]
    return ModelSettings(
        vocab_size=vocab_size,
        n_layer=n_layer,
        d_model=d_model,
        n_head=n_head,
        n_kv_head=n_head,
        d_head=d_model // n_head,
        d_ff=d_ff,
        context_length=context_length,
    )
