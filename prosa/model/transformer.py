"""The whole forward pass: token ids come in, one vector of logits per position goes out.

Rooms before it make ids of text; generation draws from the logits, training compares them with the next token.
Parameter names are those of Hugging Face, so a state dict is a model file without any renaming.

    B batch   T new positions   S all positions seen so far   C d_model   F d_ff   V vocab_size
    H query heads   K key/value heads (H = G x K, each shared by G query heads)   D d_head

    x      = E[ids]                                                             x: B T C, the residual stream
    per layer:
      h    = norm(x)
      q,k,v = h Wq + bq, h Wk + bk, h Wv + bv      (b: Qwen2 only)              q: B H T D   k, v: B K T D
      q,k  = norm(q), norm(k) per head             (Qwen3 only)
      q,k  = rotate(q, position), rotate(k, position)
      x   += dropout( softmax(q k' / sqrt(D) + mask) v Wo )                     attention weights: B H T S
      h    = norm(x)
      x   += dropout( (silu(h Wgate) * (h Wup)) Wdown )
    logits = norm(x) Wunembed                      (Wunembed = E' if tied)      B T V

    norm(x) = x / sqrt(mean(x^2) + eps) * g                            RMSNorm, Zhang & Sennrich, arXiv:1910.07467
    rotate(x, p): pairs (x_i, x_{i+D/2}) turn by the angle p f_i       RoPE, Su et al., arXiv:2104.09864
    f_i = theta^(-2i/D), stretched for long contexts by `RopeScaling`  Llama 3, Grattafiori et al., arXiv:2407.21783
    shared key/value heads                                             GQA, Ainslie et al., arXiv:2305.13245
    gated feed-forward                                                 SwiGLU, Shazeer, arXiv:2002.05202
    the combination with norms of q and k                              Qwen3, Yang et al., arXiv:2505.09388
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from prosa.errors import ConfigError
from prosa.model.kv_cache import KVCache, Slots
from prosa.model.settings import ModelSettings

# Keys up to which plain matrix products are faster than torch's fused attention, in bfloat16 on CPUs.
_SHORT_ROW = 2048
# The fewest queries that such products are worth doing apart.
_QUERIES = 128
# Numbers of segments for each text and its branches; the first, where the branches begin, is seen by all of them.
BRANCHES = 1 << 16


class RMSNorm(nn.Module):
    """Scales the last axis to unit mean square; computed in fp32 whatever comes in."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch C"]:
        return F.rms_norm(x.float(), self.weight.shape, self.weight.float(), self.eps).to(self.weight.dtype)


class Linear(nn.Linear):
    """A matrix product; weights may be stored with less precision than `x` has."""

    def forward(self, x: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch D"]:
        return project(x, self.weight, self.bias)


class Attention(nn.Module):
    def __init__(self, settings: ModelSettings, layer: int) -> None:
        super().__init__()
        s = settings
        self.layer = layer
        self.q_proj = Linear(s.d_model, s.n_head * s.d_head, bias=s.has_qkv_bias)
        self.k_proj = Linear(s.d_model, s.n_kv_head * s.d_head, bias=s.has_qkv_bias)
        self.v_proj = Linear(s.d_model, s.n_kv_head * s.d_head, bias=s.has_qkv_bias)
        self.o_proj = Linear(s.n_head * s.d_head, s.d_model, bias=False)
        self.q_norm = RMSNorm(s.d_head, s.norm_eps) if s.has_qk_norm else nn.Identity()
        self.k_norm = RMSNorm(s.d_head, s.norm_eps) if s.has_qk_norm else nn.Identity()
        self.heads_shape = (-1, s.d_head)

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        cos: Float[Tensor, "*b T D"],
        sin: Float[Tensor, "*b T D"],
        mask: Bool[Tensor, "b 1 T S"] | None,
        kv_cache: KVCache | Slots | None,
    ) -> Float[Tensor, "B T C"]:
        B, T, _ = x.shape
        q = self.q_norm(self.q_proj(x).view(B, T, *self.heads_shape)).transpose(1, 2)  # B H T D
        k = self.k_norm(self.k_proj(x).view(B, T, *self.heads_shape)).transpose(1, 2)  # B K T D
        v = self.v_proj(x).view(B, T, *self.heads_shape).transpose(1, 2)  # B K T D
        # The table of angles is fp32 even where the weights are not.
        q, k = rotate(q, cos, sin).to(v.dtype), rotate(k, cos, sin).to(v.dtype)
        if kv_cache is not None:
            k, v = kv_cache.append(self.layer, k, v)  # B K S D
        y = attend(q.to(k.dtype), k, v, mask)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(B, T, -1))  # B T H*D -> B T C
        return out


class FeedForward(nn.Module):
    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.gate_proj = Linear(settings.d_model, settings.d_ff, bias=False)
        self.up_proj = Linear(settings.d_model, settings.d_ff, bias=False)
        self.down_proj = Linear(settings.d_ff, settings.d_model, bias=False)

    def forward(self, x: Float[Tensor, "B T C"]) -> Float[Tensor, "B T C"]:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    def __init__(self, settings: ModelSettings, layer: int) -> None:
        super().__init__()
        self.self_attn = Attention(settings, layer)
        self.mlp = FeedForward(settings)
        self.input_layernorm = RMSNorm(settings.d_model, settings.norm_eps)
        self.post_attention_layernorm = RMSNorm(settings.d_model, settings.norm_eps)
        self.dropout = settings.dropout

    def forward(
        self,
        x: Float[Tensor, "B T C"],
        cos: Float[Tensor, "*b T D"],
        sin: Float[Tensor, "*b T D"],
        mask: Bool[Tensor, "b 1 T S"] | None,
        kv_cache: KVCache | Slots | None,
    ) -> Float[Tensor, "B T C"]:
        attended = self.self_attn(self.input_layernorm(x), cos, sin, mask, kv_cache)
        x = x + drop(attended, self.dropout, self.training)
        return x + drop(self.mlp(self.post_attention_layernorm(x)), self.dropout, self.training)


class Decoder(nn.Module):
    """Embedding, layers and final norm, under the name `model` as in Hugging Face's files."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        # Drawing what is overwritten anyway would import torch's compiler where weights have no memory yet: a second.
        weight = torch.zeros(settings.vocab_size, settings.d_model)
        self.embed_tokens = nn.Embedding.from_pretrained(weight, freeze=False)  # type: ignore[no-untyped-call]
        self.layers = nn.ModuleList(Block(settings, layer) for layer in range(settings.n_layer))
        self.norm = RMSNorm(settings.d_model, settings.norm_eps)


class Transformer(nn.Module):
    """A decoder-only Transformer; see the top of this file. Weights are as torch makes them until `init_weights`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        self.settings = settings
        self.model = Decoder(settings)
        self.windows = [settings.window_of_layer(layer) for layer in range(settings.n_layer)]
        if not settings.ties_embeddings:
            self.lm_head = Linear(settings.d_model, settings.vocab_size, bias=False)
        cos, sin = rotation_table(settings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(
        self,
        ids: Int[Tensor, "B T"],
        kv_cache: KVCache | None = None,
        *,
        segments: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T V"]:
        """Logits of the token after each position; with a cache, `ids` continue the rows it holds.

        segments: several texts in one row, each position numbered with its text; none sees another. Positions count
        on from text to text, which changes nothing because RoPE depends on distances alone.
        """
        return self.unembed(self.hidden(ids, kv_cache, segments=segments))

    def hidden(
        self,
        ids: Int[Tensor, "B T"],
        kv_cache: KVCache | None = None,
        *,
        segments: Int[Tensor, "B T"] | None = None,
        positions: Int[Tensor, "B T"] | None = None,
    ) -> Float[Tensor, "B T C"]:
        """The residual stream after the final norm, so that a loss can unembed it in chunks.

        positions: where each id stands in its own text, where that is not its column; only together with segments.
        """
        T = ids.shape[1]
        seen = 0 if kv_cache is None else max(kv_cache.lengths)
        length = seen + T if positions is None else int(positions.max()) + 1
        if length > self.settings.context_length:
            raise ConfigError(f"a row of {length} tokens does not fit in a context of {self.settings.context_length}")
        if kv_cache is not None:
            kv_cache.reserve(T)
            positions = kv_cache.new_positions if seen > 0 else positions
        if positions is None:
            cos, sin = self.cos[:T], self.sin[:T]
        else:
            cos, sin = self.cos[positions].unsqueeze(1), self.sin[positions].unsqueeze(1)  # B 1 T D
        is_uniform = kv_cache is None or not kv_cache.is_ragged
        assert segments is None or kv_cache is None, "texts packed into one row are read at once"
        masks = {
            window: attention_mask(T, seen, window, positions, is_uniform, ids.device)
            if segments is None
            else segments_mask(segments, window, positions)
            for window in set(self.windows)
        }
        x = self.model.embed_tokens(ids).to(self.model.norm.weight.dtype)
        x = drop(x, self.settings.dropout, self.training)
        for block, window in zip(self.model.layers, self.windows, strict=True):
            x = block(x, cos, sin, masks[window], kv_cache)
        if kv_cache is not None:
            kv_cache.advance(T)
        out: Tensor = self.model.norm(x)
        return out

    def unembed(self, hidden: Float[Tensor, "*batch C"]) -> Float[Tensor, "*batch V"]:
        """Logits of hidden vectors."""
        return project(hidden, self.unembedding)

    def step(
        self,
        ids: Int[Tensor, " B"],
        positions: Int[Tensor, " B"],
        keys: Sequence[Float[Tensor, "B K S D"]],
        values: Sequence[Float[Tensor, "B K S D"]],
    ) -> Float[Tensor, "B V"]:
        """Logits after one more token in each row, whose keys and values it writes into each layer's slots.

        The same as `forward` with a cache, but a function of tensors alone, which the compiler makes one program of.
        """
        S = keys[0].shape[2]
        cos, sin = self.cos[positions][:, None, None], self.sin[positions][:, None, None]  # B 1 1 D
        masks = {
            window: attention_mask(1, S - 1, window, positions[:, None], False, ids.device)
            for window in set(self.windows)
        }
        slots = Slots(keys, values, positions)
        x = self.model.embed_tokens(ids[:, None]).to(self.model.norm.weight.dtype)  # B 1 C
        for block, window in zip(self.model.layers, self.windows, strict=True):
            x = block(x, cos, sin, masks[window], slots)
        return self.unembed(self.model.norm(x))[:, 0]

    @property
    def unembedding(self) -> Float[Tensor, "V C"]:
        """The matrix whose rows are compared with the hidden vector; the embedding itself when tied."""
        return self.model.embed_tokens.weight if self.settings.ties_embeddings else self.lm_head.weight


def project(
    x: Float[Tensor, "*batch C"], weight: Float[Tensor, "D C"], bias: Float[Tensor, " D"] | None = None
) -> Float[Tensor, "*batch D"]:
    """x W' + b, in the numbers of `weight`, as those of `x`."""
    if x.device.type == "cpu" and x.numel() == x.shape[-1] and torch.compiler.is_compiling():
        # One row: a loop that reads the weights as fast as memory gives them, which the library's product does not.
        y = (weight.float() * x.float().reshape(-1)).sum(-1).reshape(*x.shape[:-1], -1)
        return (y if bias is None else y + bias).to(x.dtype)
    if x.dtype == weight.dtype or torch.is_autocast_enabled(x.device.type):
        return F.linear(x, weight, bias)
    return F.linear(x.to(weight.dtype), weight, bias).to(x.dtype)


def drop(x: Float[Tensor, "*batch C"], fraction: float, is_training: bool) -> Float[Tensor, "*batch C"]:
    """Dropout (Srivastava et al. 2014), to 1/65536; four numbers share a draw, torch's one for each is slow on CPUs."""
    n_dropped = min(round(fraction * 65_536), 65_535)
    if not is_training or n_dropped == 0:
        return x
    draws = torch.randint(-(2**63), 2**63 - 1, ((x.numel() + 3) // 4,), device=x.device)
    is_kept = draws.view(torch.int16)[: x.numel()].view(x.shape) >= n_dropped - 32_768
    return torch.where(is_kept, x * (65_536 / (65_536 - n_dropped)), 0)


def rotation_table(settings: ModelSettings) -> tuple[Float[Tensor, "S D"], Float[Tensor, "S D"]]:
    """Cosines and sines of every position's angles, each angle written twice for the two halves of a head.

    Always on the CPU, so that a model whose weights have no memory yet has its table.
    """
    D = settings.d_head
    frequencies = 1.0 / (settings.rope_theta ** (torch.arange(0, D, 2, dtype=torch.float32, device="cpu") / D))
    scaling = settings.rope_scaling
    if scaling is not None:
        # Waves that turn many times within the original context stay, slow ones are stretched, between is blended.
        turns = scaling.original_context_length * frequencies / (2 * math.pi)
        blend = ((turns - scaling.low_freq_factor) / (scaling.high_freq_factor - scaling.low_freq_factor)).clamp(0, 1)
        frequencies = (1 - blend) * frequencies / scaling.factor + blend * frequencies
    angles = torch.outer(torch.arange(settings.context_length, dtype=torch.float32, device="cpu"), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Float[Tensor, "B h T D"], cos: Float[Tensor, "*b T D"], sin: Float[Tensor, "*b T D"]) -> Tensor:
    """RoPE in the half-split layout of Hugging Face: dimension i is paired with i + D/2."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def attend(
    q: Float[Tensor, "B H T D"],
    k: Float[Tensor, "B K S D"],
    v: Float[Tensor, "B K S D"],
    mask: Bool[Tensor, "b 1 T S"] | None,
) -> Float[Tensor, "B H T D"]:
    """Each query's softmax(q k / sqrt(D)) over the keys it sees, times v (Vaswani et al. 2017, equation 1)."""
    (H, T), (K, S) = q.shape[1:3], k.shape[1:3]
    if T == 1 and mask is not None and q.device.type == "cpu" and torch.compiler.is_compiling():
        return attend_once(q, k, v, mask)
    if T == 1 or S > _SHORT_ROW or q.dtype != torch.bfloat16 or q.device.type != "cpu":
        return F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=mask is None and T > 1, enable_gqa=H != K
        )
    # On CPUs torch's own takes up to three times as long in bfloat16 (benchmarks/attention.py).
    if mask is None:
        mask = torch.ones(T, S, dtype=torch.bool, device=q.device).tril()[None, None]
    if T < S:
        return attend_plainly(q, k, v, mask)
    # Queries go part by part: no query sees keys that come after its part.
    size = max(_QUERIES, T // 4)
    # Split and joined instead of sliced: in torch 2.13 a compiled sum of slices' gradients can be NaN (docs/log.md).
    queries, keys, values = (torch.split(x, size, dim=2) for x in (q, k, v))
    parts = [
        attend_plainly(
            queries[i],
            torch.cat(keys[: i + 1], dim=2),
            torch.cat(values[: i + 1], dim=2),
            mask[:, :, i * size : (i + 1) * size, : (i + 1) * size],
        )
        for i in range(len(queries))
    ]
    return torch.cat(parts, dim=2)


def attend_plainly(
    q: Float[Tensor, "B H T D"], k: Float[Tensor, "B K S D"], v: Float[Tensor, "B K S D"], mask: Bool[Tensor, "b 1 T S"]
) -> Float[Tensor, "B H T D"]:
    """`attend` as two products with a softmax between them, all in the numbers of `q`."""
    (B, H, T, D), K = q.shape, k.shape[1]
    # Not -inf, so that a padded query that sees nothing does not become NaN.
    bias = torch.zeros(mask.shape, dtype=q.dtype, device=q.device).masked_fill(~mask, torch.finfo(q.dtype).min / 2)
    scores = (q * D**-0.5).reshape(B, K, H // K, T, D) @ k.unsqueeze(2).transpose(-1, -2)  # B K G T S
    # Not `softmax`, which autocast would take to float32 and back, in memory.
    weights = torch._softmax(scores + bias.unsqueeze(2), -1, False)
    return (weights @ v.unsqueeze(2)).reshape(B, H, T, D)


def attend_once(
    q: Float[Tensor, "B H 1 D"], k: Float[Tensor, "B K S D"], v: Float[Tensor, "B K S D"], mask: Bool[Tensor, "b 1 1 S"]
) -> Float[Tensor, "B H 1 D"]:
    """`attend` for one query of each row, written so that the compiler makes loops of it."""
    B, K, _, D = k.shape
    # Written to memory: the compiler would else turn the query again for every key.
    q = torch.empty_like(q).index_copy(0, torch.arange(B, device=q.device), q * D**-0.5)
    q = q.reshape(B, K, -1, 1, D).float()  # B K G 1 D
    scores = (q * k.unsqueeze(2).float()).sum(-1).masked_fill(~mask, -torch.inf)  # B K G S
    weights = (scores - scores.amax(-1, keepdim=True)).exp()
    mixed = (weights.unsqueeze(-1) * v.unsqueeze(2).float()).sum(3) / weights.sum(-1, keepdim=True)  # B K G D
    return mixed.to(v.dtype).reshape(B, -1, 1, D)


def attention_mask(
    T: int, seen: int, window: int | None, positions: Int[Tensor, "B T"] | None, is_uniform: bool, device: torch.device
) -> Bool[Tensor, "b 1 T S"] | None:
    """True where a query may see a key; None where the causal triangle (T > 1) or "all keys" (T = 1) says the same.

    seen: cached positions of the longest row; is_uniform: all rows hold equally many.
    """
    is_plain = positions is None or (T == 1 and is_uniform)
    if is_plain and (window is None or window >= seen + T):
        return None
    keys = torch.arange(seen + T, device=device)
    queries = keys[None, :, None] if positions is None else positions[:, :, None]  # b T 1
    visible = keys <= queries
    if window is not None:
        visible = visible & (keys > queries - window)
    return visible[:, None]  # b 1 T S


def segments_mask(
    segments: Int[Tensor, "B T"], window: int | None, positions: Int[Tensor, "B T"] | None
) -> Bool[Tensor, "B 1 T T"]:
    """True where a query may see a key of its own segment, not after it, not beyond the window.

    With positions, segments are branches: a query also sees the beginning that its branch shares with others.
    """
    T = segments.shape[1]
    columns = torch.arange(T, device=segments.device)
    of_key = segments[:, None, :]
    visible = segments[:, :, None] == of_key
    if positions is not None:
        visible = visible | ((segments - segments % BRANCHES)[:, :, None] == of_key)
    visible = visible & (columns <= columns[:, None])
    if window is not None and (positions is not None or window < T):
        places = columns[None] if positions is None else positions
        visible = visible & (places[:, None, :] > places[:, :, None] - window)
    return visible[:, None]
