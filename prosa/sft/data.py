"""All sources of a job go in; what is learned, what is held out and what was passed over come out.

Conversations that begin with the same question stand on the same side of the split, so that no held-out answer was
learned in other words.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prosa.corpus import ReadReport
from prosa.errors import ConfigError, DataError
from prosa.sft.conversations import read_conversations
from prosa.sft.packing import EncodedConversation, encode_conversations
from prosa.sft.planning import SftSettings
from prosa.tokenizer import Tokenizer, TokenShards, check_tokenizer
from prosa.training import Batches

# What rows of the base model's text are called among the sources, and for how many epochs they differ.
_REPLAY, _REPLAY_EPOCHS = "base text", 4


@dataclass(frozen=True, slots=True)
class SftData:
    """Encoded conversations of both splits; `weights` say how often an epoch reads those of each source.

    replay: rows of the text that the base model learned from, every token of them to be learned again.
    """

    train: Sequence[EncodedConversation]
    validation: Sequence[EncodedConversation]
    weights: Mapping[str, float]
    report: ReadReport
    replay: Sequence[EncodedConversation] = ()

    @property
    def longest(self) -> int:
        """Tokens of the longest conversation."""
        return max(item.length for item in (*self.train, *self.validation))

    @property
    def hash(self) -> str:
        """sha256 over everything that training sees, in order."""
        digest = hashlib.sha256()
        for split in (self.train, self.validation, *([self.replay] if self.replay else [])):
            for item in split:
                digest.update(f"\n{item.id} {item.source} {self.weights[item.source]:g} ".encode())
                digest.update(item.ids.tobytes() + np.packbits(item.is_target).tobytes())
            digest.update(b"\n\n")
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class SampleQuestion:
    """A held-out conversation up to its first answer: the question as text, what the model is given, what is wanted."""

    question: str
    prompt_ids: list[int]
    wanted: str


def prepare_data(settings: SftSettings, tokenizer: Tokenizer, context_length: int) -> SftData:
    """Reads, encodes and divides the conversations of all sources.

    The validation split has about `validation_fraction` of the questions, by their hash, and at least one where there
    are two. Raises DataError when no conversation can be used, ConfigError without sources.
    """
    if not settings.sources:
        raise ConfigError(
            "there is nothing to learn from: no sources", hint='for example `sources = [{path = "world:"}]`'
        )
    weights: dict[str, float] = {}
    report = ReadReport()
    encoded: list[EncodedConversation] = []
    for source in settings.sources:
        if (source.name or source.path) in weights:
            raise ConfigError(f"two sources are called `{source.name or source.path}`", hint="give each a name")
        weights[source.name or source.path] = source.weight
        encoded += encode_conversations(tokenizer, read_conversations(source, report), context_length, report)
    if not encoded:
        raise DataError(f"no conversation can be used: {_reasons(report)}", hint="docs/sft.md shows the known formats")
    train, validation = _split(encoded, settings.validation_fraction)
    return SftData(train, validation, weights, report)


def add_replay(
    data: SftData, settings: SftSettings, shards: TokenShards | None, tokenizer: Tokenizer, width: int
) -> SftData:
    """The same with rows of `width` tokens of the text in `shards`, drawn anew each epoch, as `settings.replay` asks.

    Raises ConfigError when there is no such text, DataError when it is another tokenizer's.
    """
    if not settings.replay:
        return data
    if shards is None:
        raise ConfigError(
            "sft.replay wants the text that the base model learned from, and the run has none", hint="set sft.replay=0"
        )
    check_tokenizer(shards, tokenizer)
    n_tokens = sum(data.weights[item.source] * item.length for item in data.train)
    n_rows = max(1, round(settings.replay * n_tokens / width))
    batches = Batches(shards, context_length=width, batch_size=1, seed=settings.seed)
    replay = [_replay_row(batches, number) for number in range(n_rows * _REPLAY_EPOCHS)]
    return replace(data, replay=replay, weights={**data.weights, _REPLAY: 1 / _REPLAY_EPOCHS})


def _replay_row(batches: Batches, number: int) -> EncodedConversation:
    row = batches.batch(number)
    ids = np.append(row.ids[0].numpy(), row.targets[0, -1].numpy()).astype(np.int32)
    return EncodedConversation(ids, np.arange(len(ids)) > 0, f"{_REPLAY} {number}", "", _REPLAY, "")


def choose_questions(data: SftData, tokenizer: Tokenizer, n: int) -> list[SampleQuestion]:
    """Some held-out questions (learned ones where none are held out), each once, every language in turn."""
    by_language: dict[str, list[EncodedConversation]] = {}
    asked = set()
    for item in data.validation or data.train:
        if item.prompt_id not in asked:
            by_language.setdefault(item.language, []).append(item)
        asked.add(item.prompt_id)
    columns = [by_language[language] for language in sorted(by_language)]
    longest = max(map(len, columns))
    in_turn = [column[place] for place in range(min(n, longest)) for column in columns if place < len(column)]
    return [_question(item, tokenizer) for item in in_turn[:n]]


def _question(item: EncodedConversation, tokenizer: Tokenizer) -> SampleQuestion:
    ids = item.ids.tolist()
    start = int(item.is_target.argmax())
    end = ids.index(tokenizer.im_end_id, start)
    # The last message before the answer: <|im_start|>user, line end, words, <|im_end|>, line end, <|im_start|>...
    closed = max(place for place in range(start) if ids[place] == tokenizer.im_end_id)
    opened = max(place for place in range(closed) if ids[place] == tokenizer.im_start_id)
    question = tokenizer.decode(ids[opened + 1 : closed]).partition("\n")[2]
    return SampleQuestion(question, ids[:start], tokenizer.decode(ids[start:end]))


def _split(
    encoded: Sequence[EncodedConversation], fraction: float
) -> tuple[list[EncodedConversation], list[EncodedConversation]]:
    if not fraction:
        return list(encoded), []
    limit = f"{min(round(fraction * 2**32), 2**32 - 1):08x}"
    questions = {item.prompt_id for item in encoded}
    held_out = {id for id in questions if id[:8] < limit}
    if not held_out and len(questions) > 1:
        held_out = {min(questions)}
    if held_out == questions:
        held_out -= {max(questions)}
    validation = [item for item in encoded if item.prompt_id in held_out]
    # In an order that has nothing to do with the sources, so that the first few stand for all.
    validation.sort(key=lambda item: item.id)
    return [item for item in encoded if item.prompt_id not in held_out], validation


def _reasons(report: ReadReport) -> str:
    """What went wrong most often, with a place to look at."""
    counts = report.rejected.counts | report.skipped.counts
    examples = report.rejected.examples | report.skipped.examples
    most = sorted(counts, key=lambda reason: -counts[reason])[:4]
    named = [f"{reason} {counts[reason]:,} (such as {examples[reason][0]})" for reason in most]
    return "; ".join(named) or "the sources are empty"
