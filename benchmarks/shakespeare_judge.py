"""One judge for both models: nats per character over every character of the last tenth of the text.

Each model reads windows of its own context, and each character is scored once; the first one follows the last
character of the training text. Windows overlap by half, so that each character has at least half a context before it,
or stand side by side, which is what nanoGPT's own evaluation comes to on average.
"""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_ROWS = 32


def read_text(path: Path) -> str:
    """The text of a plain or gzip file, without changing its line ends."""
    data = path.read_bytes()
    return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")


def split_start(text: str) -> int:
    """Where validation begins: the last tenth of the characters."""
    return int(0.9 * len(text))


def cut_windows(n_targets: int, context: int, stride: int) -> list[tuple[int, int, int]]:
    """(first target, end, scored from) of windows that score each of `n_targets` exactly once."""
    windows, scored = [], 0
    while scored < n_targets:
        start = 0 if scored == 0 else scored + stride - context
        end = min(start + context, n_targets)
        windows.append((start, end, scored))
        scored = end
    return windows


def nats_per_character(
    logits_of: "Callable[[Tensor], Tensor]", ids: list[int], context: int, *, overlap: bool = True
) -> float:
    """Mean -ln p of ids[1:], each given the ids before it in its window.

    logits_of: ids (B, T) -> logits (B, T, V), in float32.
    """
    import torch
    import torch.nn.functional as F

    total, tokens = 0.0, torch.tensor(ids)
    windows = cut_windows(len(ids) - 1, context, context - context // 2 if overlap else context)
    by_length: dict[int, list[tuple[int, int, int]]] = {}
    for window in windows:
        by_length.setdefault(window[1] - window[0], []).append(window)
    with torch.inference_mode():
        for same in by_length.values():
            for first in range(0, len(same), _ROWS):
                rows = same[first : first + _ROWS]
                inputs = torch.stack([tokens[start:end] for start, end, _ in rows])
                targets = torch.stack([tokens[start + 1 : end + 1] for start, end, _ in rows])
                nats = F.cross_entropy(logits_of(inputs).float().transpose(1, 2), targets, reduction="none")
                total += sum(
                    float(row[scored - start :].double().sum())
                    for row, (start, _, scored) in zip(nats, rows, strict=True)
                )
    return total / (len(ids) - 1)


def judge_peer(folder: Path, text: str) -> float:
    """Nats per character of a peer's folder."""
    import json

    from safetensors.torch import load_model

    from benchmarks.shakespeare_peer import BLOCK_SIZE, build_peer

    alphabet = json.loads((folder / "alphabet.json").read_text(encoding="utf-8"))
    number = {character: index for index, character in enumerate(alphabet)}
    model = build_peer(len(alphabet)).eval()  # type: ignore[no-untyped-call]
    load_model(model, str(folder / "weights.safetensors"))
    ids = [number[character] for character in text[split_start(text) - 1 :]]
    return nats_per_character(lambda inputs: model(input_ids=inputs).logits, ids, BLOCK_SIZE)


def judge_prosa(run: Path, text: str, *, overlap: bool = True) -> float:
    """Nats per character of a run; its tokens are bytes and the text is ASCII, so tokens are characters."""
    import prosa

    llm = prosa.load(run)
    ids = llm.tokenizer.encode(text[split_start(text) - 1 :])
    assert len(ids) == len(text) - split_start(text) + 1, "a token is not a character"
    model = llm.model.eval()
    return nats_per_character(lambda inputs: model(inputs), ids, model.settings.context_length, overlap=overlap)
