"""A model whose next token depends on nothing, so that every log-probability is a sum that can be done by hand."""

from collections.abc import Mapping
from types import SimpleNamespace

import torch
from torch import Tensor


class Unigram:
    """Logits of single tokens, 0 for all others; as much of a Transformer as scoring and greedy writing use."""

    def __init__(self, logits: Mapping[int, float], vocab_size: int = 260, context_length: int = 64) -> None:
        self.settings = SimpleNamespace(vocab_size=vocab_size, context_length=context_length)
        self.training = False
        self.logits = torch.zeros(vocab_size)
        for id, logit in logits.items():
            self.logits[id] = logit
        self.logprobs = self.logits.double().log_softmax(-1)

    def parameters(self):
        yield torch.zeros(1)

    def eval(self) -> None: ...
    def train(self, mode: bool) -> None: ...

    def hidden(self, ids: Tensor) -> Tensor:
        return torch.zeros(*ids.shape, 1)

    def unembed(self, hidden: Tensor) -> Tensor:
        return self.logits.expand(*hidden.shape[:-1], -1)

    def logprob(self, text: str) -> float:
        """Of the bytes of a text."""
        return sum(float(self.logprobs[byte]) for byte in text.encode())
