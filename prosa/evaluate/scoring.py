"""How probable a model finds given tokens: passages of token ids come in, nats per scored token go out.

Everything that measures by likelihood (bits per byte, cloze) stands on this one function, which batches passages of
similar length and never holds more than a slice of the logits.

    B batch   T positions   C d_model   N scored tokens of a batch   V vocab_size
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from prosa.device import Device
from prosa.errors import ModelFileRefused
from prosa.model import Transformer

# Logits of one slice, in numbers: 4 MB in float32, which stays in a processor's cache; a GPU wants larger pieces.
_SLICE_LOGITS = {"cpu": 2**20}
_SLICE_LOGITS_ELSEWHERE = 2**25


def score_passages(
    model: Transformer,
    lengths: Sequence[int] | Int[np.ndarray, " P"],
    n_scored: Sequence[int] | Int[np.ndarray, " P"],
    read: Callable[[int], Int[np.ndarray, " L"]],
    *,
    batch_tokens: int,
    device: Device | None = None,
) -> Iterator[tuple[int, Float[np.ndarray, " n"]]]:
    """Pairs (passage number, nats of each of its last `n_scored` tokens), in the order they are computed.

    Passage p is `read(p)`: `lengths[p]` + 1 ids, of which all but the last are read and all but the first predicted.
    A batch holds at most `batch_tokens` positions (or one passage), longest passages first, so that memory peaks at
    once. Weights stay as they are; `device` says in which number format to compute (None: float32).
    Raises ModelFileRefused if a probability is not a number.
    """
    lengths, n_scored = np.asarray(lengths), np.asarray(n_scored)
    dtype = torch.float32 if device is None else device.compute_dtype
    was_training = model.training
    model.eval()
    try:
        for batch in _batches(lengths, batch_tokens):
            rows = [read(passage) for passage in batch]
            nats = _score_batch(model, rows, n_scored[batch], dtype)
            yield from zip(batch, np.split(nats, np.cumsum(n_scored[batch])[:-1]), strict=True)
    finally:
        model.train(was_training)


def _batches(lengths: Int[np.ndarray, " P"], batch_tokens: int) -> Iterator[list[int]]:
    order = np.argsort(-lengths, kind="stable")
    first = 0
    while first < len(order):
        size = max(1, batch_tokens // int(lengths[order[first]]))
        yield order[first : first + size].tolist()
        first += size


def _score_batch(
    model: Transformer,
    rows: list[Int[np.ndarray, " L"]],
    n_scored: Int[np.ndarray, " B"],
    dtype: torch.dtype,
) -> Float[np.ndarray, " N"]:
    """Nats of the scored tokens of all rows, one after another; rows are padded on the right, which a causal model
    does not see."""
    width = max(len(row) for row in rows)
    padded = np.zeros((len(rows), width), np.int64)
    is_scored = np.zeros((len(rows), width - 1), bool)
    for i, (row, n) in enumerate(zip(rows, n_scored, strict=True)):
        padded[i, : len(row)] = row
        is_scored[i, len(row) - 1 - n : len(row) - 1] = True
    device = next(model.parameters()).device
    ids, mask = torch.from_numpy(padded).to(device), torch.from_numpy(is_scored).to(device)
    with torch.inference_mode(), torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
        hidden = model.hidden(ids[:, :-1])[mask]  # B T C -> N C
        nats = _nats(model, hidden, ids[:, 1:][mask])
    if not bool(torch.isfinite(nats).all()):
        raise ModelFileRefused("the model gives probabilities that are not numbers", hint="its weights are damaged")
    return nats.cpu().numpy()


def _nats(model: Transformer, hidden: Float[Tensor, "N C"], targets: Int[Tensor, " N"]) -> Float[Tensor, " N"]:
    n_logits = _SLICE_LOGITS.get(hidden.device.type, _SLICE_LOGITS_ELSEWHERE)
    size = max(1, n_logits // model.settings.vocab_size)
    return torch.cat(
        [
            F.cross_entropy(model.unembed(h).float(), t, reduction="none")
            for h, t in zip(torch.split(hidden, size), torch.split(targets, size), strict=True)
        ]
    )
