"""Documents become token ids, conversations become ids and a loss mask, ids become text again; docs/tokenizer.md.

Stands between the corpus and the model: what the model sees of a text is what this room makes of it.
"""

from prosa.tokenizer.chat import (
    ROLES,
    Segment,
    conversation_segments,
    render_conversation,
    render_segments,
    roles_after,
)
from prosa.tokenizer.report import describe_tokenizer
from prosa.tokenizer.shards import TokenShards, TokenStream, build_shards, check_tokenizer, open_shards
from prosa.tokenizer.stream import StreamingDecoder
from prosa.tokenizer.tokenizer import Tokenizer
from prosa.tokenizer.training import TokenizerSettings, choose_vocab_size, train_tokenizer, training_report

__all__ = [
    "ROLES",
    "Segment",
    "StreamingDecoder",
    "TokenShards",
    "TokenStream",
    "Tokenizer",
    "TokenizerSettings",
    "build_shards",
    "check_tokenizer",
    "choose_vocab_size",
    "conversation_segments",
    "describe_tokenizer",
    "open_shards",
    "render_conversation",
    "render_segments",
    "roles_after",
    "train_tokenizer",
    "training_report",
]
