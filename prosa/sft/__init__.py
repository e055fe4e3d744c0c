"""A model that writes on learns to answer: supervised fine-tuning, docs/sft.md."""

from prosa.sft.batches import SftBatch, SftBatches, make_batch
from prosa.sft.conversations import Conversation, ConversationSource, read_conversations
from prosa.sft.data import SftData, prepare_data
from prosa.sft.lora import LoraSettings, add_lora, load_adapter, merge_lora, save_adapter
from prosa.sft.packing import EncodedConversation, encode_conversations, pack
from prosa.sft.planning import SftSettings
from prosa.sft.show import print_rows
from prosa.sft.train import Job, hash_weights, loss, main, make_batches, mean_loss, preview, read_job

__all__ = [
    "Conversation",
    "ConversationSource",
    "EncodedConversation",
    "Job",
    "LoraSettings",
    "SftBatch",
    "SftBatches",
    "SftData",
    "SftSettings",
    "add_lora",
    "encode_conversations",
    "hash_weights",
    "load_adapter",
    "loss",
    "main",
    "make_batch",
    "make_batches",
    "mean_loss",
    "merge_lora",
    "pack",
    "prepare_data",
    "preview",
    "print_rows",
    "read_conversations",
    "read_job",
    "save_adapter",
]
