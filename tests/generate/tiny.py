"""A model that writes bytes: random, so that every token is possible and the choice is sensitive to any mistake."""

from collections.abc import Sequence
from typing import Any

import torch

from prosa.generate import LanguageModel, Sampling
from prosa.generate.sampling import Sampler
from prosa.model import Transformer
from prosa.streams import numpy_stream
from prosa.tokenizer import Tokenizer
from tests.model.tiny import tiny_model

TOKENIZER = Tokenizer([])


def byte_model(seed: int = 0, **changes: Any) -> Transformer:
    return tiny_model(seed, **({"vocab_size": 260} | changes))


def byte_language_model(seed: int = 0, **changes: Any) -> LanguageModel:
    return LanguageModel(byte_model(seed, **changes), TOKENIZER)


def write_slowly(
    model: Transformer, prompt: Sequence[int], sampling: Sampling, sample: int = 0
) -> tuple[list[int], list[float]]:
    """Ids and log-probabilities by the definition: alone, without a cache, everything computed anew at each step."""
    context_length, ids, logprobs = model.settings.context_length, list(prompt), list[float]()
    window = ids[-context_length:]
    sampler = Sampler([sampling], [ids], 260)
    stream = numpy_stream(sampling.seed or 0, "sample", sample, *prompt)
    while True:
        with torch.no_grad():
            logits = model(torch.tensor([window]))[:, -1]
        chosen = sampler.choose(logits, torch.tensor([stream.random()], dtype=torch.float64))
        sampler.record(chosen)
        id = int(chosen)
        ids.append(id)
        logprobs.append(float(logits[0].log_softmax(-1)[id]))
        if id in (TOKENIZER.end_of_text_id, TOKENIZER.im_end_id):
            break
        if len(ids) - len(prompt) == sampling.max_new_tokens:
            break
        if len(window) == context_length:
            if sampling.when_full == "stop":
                break
            window = window[-(context_length // 2) :]
        window = [*window, id]
    return ids[len(prompt) :], logprobs
