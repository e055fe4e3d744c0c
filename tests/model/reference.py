"""The forward pass once more, written from the formulas: one position, one head, one number at a time, in float64."""

import math

import torch
from torch import Tensor

from prosa.model import ModelSettings


def reference_logits(s: ModelSettings, weights: dict[str, Tensor], ids: list[int]) -> Tensor:
    w = {name.removeprefix("model."): tensor.double() for name, tensor in weights.items()}
    zero = torch.zeros(1, dtype=torch.float64)

    def norm(x: Tensor, name: str) -> Tensor:
        return x / math.sqrt(sum(v * v for v in x.tolist()) / len(x) + s.norm_eps) * w[name]

    def turn(x: Tensor, position: int) -> Tensor:
        out, half = x.clone(), s.d_head // 2
        for i in range(half):
            angle = position * s.rope_theta ** (-2 * i / s.d_head)
            pair = complex(float(x[i]), float(x[i + half])) * complex(math.cos(angle), math.sin(angle))
            out[i], out[i + half] = pair.real, pair.imag
        return out

    def heads(x: Tensor, at: str, kind: str, count: int) -> list[Tensor]:
        flat = w[f"{at}.{kind}_proj.weight"] @ x + w.get(f"{at}.{kind}_proj.bias", zero)
        parts = [flat[h * s.d_head : (h + 1) * s.d_head] for h in range(count)]
        return [norm(part, f"{at}.{kind}_norm.weight") for part in parts] if s.has_qk_norm and kind != "v" else parts

    stream = [w["embed_tokens.weight"][id] for id in ids]
    for layer in range(s.n_layer):
        at, window = f"layers.{layer}.self_attn", s.window_of_layer(layer) or len(ids)
        normed = [norm(x, f"layers.{layer}.input_layernorm.weight") for x in stream]
        q = [[turn(head, t) for head in heads(x, at, "q", s.n_head)] for t, x in enumerate(normed)]
        k = [[turn(head, t) for head in heads(x, at, "k", s.n_kv_head)] for t, x in enumerate(normed)]
        v = [heads(x, at, "v", s.n_kv_head) for x in normed]
        for t in range(len(ids)):
            seen, mixed = range(max(0, t - window + 1), t + 1), []
            for h in range(s.n_head):
                g = h * s.n_kv_head // s.n_head
                exps = [math.exp(float(q[t][h] @ k[u][g]) / math.sqrt(s.d_head)) for u in seen]
                mixed.append(sum(e / sum(exps) * v[u][g] for e, u in zip(exps, seen, strict=True)))
            stream[t] = stream[t] + w[f"{at}.o_proj.weight"] @ torch.cat(mixed)
        for t, x in enumerate(stream):
            h, mlp = norm(x, f"layers.{layer}.post_attention_layernorm.weight"), f"layers.{layer}.mlp"
            gate = w[f"{mlp}.gate_proj.weight"] @ h
            up = w[f"{mlp}.up_proj.weight"] @ h
            stream[t] = x + w[f"{mlp}.down_proj.weight"] @ (gate / (1 + torch.exp(-gate)) * up)
    head = w["embed_tokens.weight"] if s.ties_embeddings else w["lm_head.weight"]
    return torch.stack([head @ norm(x, "norm.weight") for x in stream])
