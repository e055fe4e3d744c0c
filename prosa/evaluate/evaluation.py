"""How good is a model: everything this room measures, in one call, from a model, its tokenizer and documents.

The result is a pure function of what comes in: an evaluation that was killed and run again gives the same numbers.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import Field

from prosa.config import Settings
from prosa.corpus import Document
from prosa.corpus.world import Cloze, World
from prosa.device import Device
from prosa.evaluate.bits import BitsPerByte, bits_per_byte
from prosa.evaluate.comparison import Comparison, compare_bits, compare_cloze
from prosa.evaluate.compressors import xz_bits_per_byte
from prosa.evaluate.documents import EncodedDocuments, encode_documents, encoded_split
from prosa.evaluate.facts import ClozeReport, cloze
from prosa.evaluate.memorisation import MemorisationReport, measure_memorisation
from prosa.generate import LanguageModel, Sampling, make_rows, write
from prosa.metrics import Progress
from prosa.model import Transformer
from prosa.streams import derive_seed, numpy_stream
from prosa.tokenizer import Tokenizer, TokenShards
from prosa.wording import Language

_STEPS = {
    "en": {"bits": "bits per byte", "xz": "xz -9e", "cloze": "world facts", "writing": "writing", "copies": "copies"},
    "pt": {
        "bits": "bits por byte",
        "xz": "xz -9e",
        "cloze": "fatos do mundo",
        "writing": "escrita",
        "copies": "cópias",
    },
}


class EvaluateSettings(Settings):
    """What to measure and how closely; 0 leaves a part out, and 0 for `context_length` is the model's own."""

    context_length: int = Field(default=0, ge=0)
    batch_tokens: int = Field(default=4096, ge=1)
    compares_xz: bool = True
    cloze_items: int = Field(default=400, ge=0)
    memorisation_texts: int = Field(default=32, ge=0, le=64)
    memorisation_text_tokens: int = Field(default=256, ge=1)
    memorisation_windows: int = Field(default=2000, ge=1)
    memorisation_window_tokens: int = Field(default=50, ge=1)
    temperature: float = Field(default=0.8, ge=0, le=10)
    seed: int = Field(default=0, ge=0)


@dataclass(frozen=True, slots=True)
class XzBits:
    """Bits per byte of `xz -9e` on the same documents, all as one stream and each source by itself."""

    total: float
    by_source: dict[str, float]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """All measurements of one model; what was not measured is None."""

    bits: BitsPerByte
    xz: XzBits | None
    cloze: ClozeReport | None
    memorisation: MemorisationReport | None

    def to_json(self) -> dict[str, Any]:
        return {
            "bits_per_byte": self.bits.to_json(),
            "xz": None if self.xz is None else asdict(self.xz),
            "cloze": None if self.cloze is None else self.cloze.to_json(),
            "memorisation": None if self.memorisation is None else self.memorisation.to_json(),
        }


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Two models on the same documents and the same items."""

    bits: Comparison
    bits_by_language: dict[str, Comparison]
    cloze: Comparison | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def evaluate(
    model: Transformer,
    tokenizer: Tokenizer,
    documents: TokenShards | EncodedDocuments,
    *,
    world: World | None = None,
    settings: EvaluateSettings | None = None,
    device: Device | None = None,
    language: Language = "en",
    is_shown: bool = True,
) -> Evaluation:
    """Bits per byte beside xz, world facts if there is a `world`, and, given token shards, memorisation.

    `documents` are token shards, whose validation split is measured, or the result of `encode_documents`. A progress
    bar in `language` stands for each part. Raises DataError if there is no validation text.
    """
    settings = settings or EvaluateSettings()
    names = {step: name if is_shown else "" for step, name in _STEPS[language].items()}
    texts = documents if isinstance(documents, EncodedDocuments) else encoded_split(documents, "validation", tokenizer)
    bits = bits_per_byte(
        model,
        texts,
        device=device,
        context_length=settings.context_length or None,
        batch_tokens=settings.batch_tokens,
        seed=settings.seed,
        description=names["bits"],
    )
    xz = _measure_xz(texts, names["xz"]) if settings.compares_xz else None
    items = choose_items(world, settings.cloze_items, settings.seed) if world is not None else []
    facts = (
        cloze(model, tokenizer, items, device=device, batch_tokens=settings.batch_tokens, description=names["cloze"])
        if items
        else None
    )
    copied = None
    if isinstance(documents, TokenShards) and settings.memorisation_texts:
        copied = measure_memorisation(
            _write_texts(model, tokenizer, settings, names["writing"]),
            documents,
            window_tokens=settings.memorisation_window_tokens,
            n_windows=settings.memorisation_windows,
            seed=settings.seed,
            description=names["copies"],
        )
    return Evaluation(bits, xz, facts, copied)


def compare(
    first: LanguageModel,
    second: LanguageModel,
    documents: Iterable[Document],
    *,
    world: World | None = None,
    settings: EvaluateSettings | None = None,
    device: Device | None = None,
    language: Language = "en",
    is_shown: bool = True,
) -> ModelComparison:
    """Both models measured on the same documents and world items, whatever their tokenizers, with paired tests."""
    settings = (settings or EvaluateSettings()).model_copy(update={"compares_xz": False})
    documents = list(documents)
    a, b = (
        evaluate(
            one.model,
            one.tokenizer,
            encode_documents(one.tokenizer, documents),
            world=world,
            settings=settings,
            device=device,
            language=language,
            is_shown=is_shown,
        )
        for one in (first, second)
    )
    return ModelComparison(
        bits=compare_bits(a.bits, b.bits, seed=settings.seed),
        bits_by_language={
            name: compare_bits(a.bits, b.bits, language=name, seed=settings.seed) for name in a.bits.by_language
        },
        cloze=compare_cloze(a.cloze, b.cloze, seed=settings.seed) if a.cloze and b.cloze else None,
    )


def choose_items(world: World, n: int, seed: int) -> list[Cloze]:
    """At most `n` of a world's cloze items in all its languages, a seeded sample in the world's order."""
    items = [item for language in world.settings.languages for item in world.cloze(language)]
    chosen = numpy_stream(seed, "cloze items").permutation(len(items))[:n]
    return [items[i] for i in np.sort(chosen)]


def _measure_xz(documents: EncodedDocuments, description: str) -> XzBits:
    column = np.array(documents.labels["source"])
    sources = np.unique(column).tolist()
    n_passes = 1 + (len(sources) > 1)
    done = 0
    with Progress(description, n_passes * int(documents.n_bytes.sum()), unit="byte", is_shown=bool(description)) as bar:

        def read(numbers: Iterable[int]) -> Iterator[str]:
            nonlocal done
            for number in numbers:
                yield documents.text(int(number))
                done += int(documents.n_bytes[number])
                bar.update(done)

        total = xz_bits_per_byte(read(range(len(column))))
        if len(sources) == 1:
            return XzBits(total, {sources[0]: total})
        return XzBits(total, {name: xz_bits_per_byte(read(np.flatnonzero(column == name))) for name in sources})


def _write_texts(
    model: Transformer, tokenizer: Tokenizer, settings: EvaluateSettings, description: str
) -> list[list[int]]:
    """Texts written from nothing, as token ids without the prompt."""
    sampling = Sampling(
        temperature=settings.temperature,
        max_new_tokens=settings.memorisation_text_tokens,
        n=settings.memorisation_texts,
        seed=derive_seed(settings.seed, "memorisation texts"),
    )
    rows = make_rows(tokenizer, [[tokenizer.end_of_text_id]], [sampling], model.settings.context_length)
    total, done = settings.memorisation_texts * settings.memorisation_text_tokens, 0
    with Progress(description, total, unit="token", is_shown=bool(description)) as progress:
        for drawn in write(model, tokenizer, rows):
            done += len(drawn)
            progress.update(done)
    return [row.ids[row.n_prompt :] for row in rows]
