"""Small corpora in the form in which the corpus room stores them, with parts so small that there are several."""

import hashlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from prosa.corpus import Corpus, Document, Part
from prosa.rundir import hash_file


def words(text: str) -> list[str]:
    return text.split()


PORTUGUESE = words("""
o a os as um uma de da do que não é em para com João Maria avó coração pão manhã três café cidade rio
pescador cantava árvore ninguém também já está será açúcar irmãos estações pássaros amanhã história
""")
ENGLISH = words("""
the a of and to in it was he she they old house river fisherman singing tree nobody already sugar
brothers stations birds tomorrow history wouldn't that's we'll through thought light never again morning
""")
CODE = words("""
def return import self for in range print lambda yield class None True x y value total items
""")


def sentence(random_stream: random.Random, language: str) -> str:
    if language == "code":
        name, value = random_stream.choice(CODE), random_stream.choice(CODE)
        return f"def {name}_{value}(x):\n    {value} = x + {random_stream.randrange(100)}\n    return {value}\n\n"
    words = random_stream.choices(PORTUGUESE if language == "pt" else ENGLISH, k=random_stream.randrange(4, 14))
    return " ".join(words).capitalize() + random_stream.choice([". ", "! ", "?\n", ", 12 — "])


def write_documents(language: str, n: int, *, seed: int = 0, sentences: int = 12) -> list[Document]:
    stream = random.Random(f"{language} {seed}")
    kind = "code" if language == "code" else "book"
    return [
        Document(
            "".join(sentence(stream, language) for _ in range(stream.randrange(1, sentences)))
            + f"({language} {number})",
            kind,
            language,
            f"{language} texts",
            "CC0-1.0",
            f"{language}.txt:{number + 1}",
        )
        for number in range(n)
    ]


def write_corpus(
    folder: Path,
    documents: Sequence[Document],
    *,
    weights: Mapping[str, float] | None = None,
    validation_every: int = 10,
    part_documents: int = 40,
) -> Corpus:
    """Every tenth document of a source is for validation; without `weights`, sources weigh what they hold."""
    folder.mkdir(parents=True)
    parts: list[Part] = []
    for source in dict.fromkeys(document.source for document in documents):
        own = [document for document in documents if document.source == source]
        splits = {
            "train": [document for number, document in enumerate(own) if number % validation_every],
            "validation": own[::validation_every],
        }
        for split, chosen in splits.items():
            for start in range(0, len(chosen), part_documents):
                parts.append(_write_part(folder, split, source, len(parts), chosen[start : start + part_documents]))
    if weights is None:
        sizes = dict.fromkeys((part.source for part in parts), 0)
        for part in parts:
            sizes[part.source] += part.n_bytes if part.split == "train" else 0
        weights = {source: size / sum(sizes.values()) for source, size in sizes.items()}
    everything = "".join(part.sha256 for part in parts)
    return Corpus(folder, {}, hashlib.sha256(everything.encode()).hexdigest(), tuple(parts), dict(weights))


def _write_part(folder: Path, split: str, source: str, number: int, documents: Sequence[Document]) -> Part:
    name = f"{split}-{source.replace(' ', '-')}-{number:05d}.parquet"
    columns = ("id", "text", "kind", "language", "source", "licence", "origin", "piece")
    rows = [{column: getattr(document, column) for column in columns} for document in documents]
    pq.write_table(pa.Table.from_pylist(rows), folder / name)
    n_bytes = sum(len(document.text.encode()) for document in documents)
    return Part(name, split, source, folder / name, len(documents), n_bytes, hash_file(folder / name))
