"""A model that reads bytes, two layers deep, and conversations short enough for it."""

import json
from pathlib import Path
from typing import Any

import torch

from prosa.corpus import ReadReport
from prosa.model import ModelSettings, Transformer, init_weights, save_model
from prosa.sft import Conversation, EncodedConversation, SftSettings, encode_conversations, main
from prosa.tokenizer import Tokenizer
from prosa.training import FitResult, World

TOKENIZER = Tokenizer([])
MODEL = ModelSettings(
    vocab_size=260, n_layer=2, d_model=64, n_head=2, n_kv_head=2, d_head=32, d_ff=128, context_length=96
)
# Everything is given, so that nothing has to be measured.
FAST = {
    "validation_fraction": 0.2, "context_length": 96, "batch_size": 4, "micro_batch": 2, "evaluate_every": 5,
    "sample_every": 10, "save_every": 5, "dtype": "float32", "device": "cpu", "threads": 1,
}  # fmt: skip


def chat(*words: str, system: str = "") -> list[dict[str, str]]:
    """Messages of user and assistant in turn."""
    messages = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(words)]
    return [{"role": "system", "content": system}, *messages] if system else messages


def encode(*conversations: list[dict[str, str]], context_length: int = 96) -> list[EncodedConversation]:
    items = [Conversation(tuple(messages), "s", f"x:{i}") for i, messages in enumerate(conversations)]
    report = ReadReport()
    encoded = list(encode_conversations(TOKENIZER, items, context_length, report))
    assert len(encoded) == len(items) and not report.repaired.counts
    return encoded


def some_chats(n: int) -> list[list[dict[str, str]]]:
    """Conversations of one or two turns and many lengths, each shorter than the context."""
    return [
        chat(*(word for turn in range(1 + i % 2) for word in (f"Oi {i}{'?' * (i % 5)}", "Ok" * (1 + (i + turn) % 4))))
        for i in range(n)
    ]


def write_base(folder: Path, seed: int = 0, *, tokenizer: Tokenizer = TOKENIZER, **changes: Any) -> Path:
    model = Transformer(MODEL.model_copy(update=changes))
    init_weights(model, seed)
    save_model(folder, model, tokenizer)
    return folder


def write_chats(path: Path, conversations: list[list[dict[str, str]]]) -> Path:
    lines = (json.dumps({"messages": messages}, ensure_ascii=False) for messages in conversations)
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def run_sft(folder: Path, base: Path, data: Path, **changes: Any) -> FitResult:
    torch.set_num_threads(1)
    settings = SftSettings.model_validate({"sources": [{"path": str(data)}], "steps": 10} | FAST | changes)
    return main(folder, settings, base, world=World(), is_shown=False)
