"""A corpus on disk: parts of at most 16 MB of text, a manifest and a report.

A folder comes in; documents come out, by split and source, in a fixed order.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prosa.corpus.document import Document
from prosa.errors import CheckpointError, DataError
from prosa.rundir import hash_json, is_complete, read_manifest, verify_folder

CORPUS_FORMAT = 1
PART_BYTES = 16_000_000
COLUMNS = ("id", "text", "kind", "language", "source", "licence", "origin", "piece")
_REBUILD = "delete the folder and build the corpus again"


@dataclass(frozen=True, slots=True)
class Part:
    """One parquet file with the columns of COLUMNS, of one split and source."""

    name: str
    split: str
    source: str
    path: Path
    n_documents: int
    n_bytes: int
    sha256: str

    def documents(self) -> Iterator[Document]:
        """Its documents in stored order. Raises DataError if the file is damaged."""
        import pyarrow
        import pyarrow.parquet

        try:
            columns = pyarrow.parquet.read_table(self.path, columns=list(COLUMNS[1:])).columns
            rows = zip(*(column.to_pylist() for column in columns), strict=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise DataError(f"`{self.path}` is damaged: {error}".partition("\n")[0], hint=_REBUILD) from None
        for row in rows:
            yield Document(*row)


@dataclass(frozen=True, slots=True)
class Corpus:
    """A built corpus.

    `weights` are the sources' shares of the training tokens, summing to 1; `hash` depends on every document, its place
    and the weights, and on nothing else.
    """

    folder: Path
    manifest: dict[str, Any]
    hash: str
    parts: tuple[Part, ...]
    weights: dict[str, float]

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources with text, in the order of the settings."""
        return tuple(dict.fromkeys(part.source for part in self.parts))

    def documents(self, split: str, source: str | None = None) -> Iterator[Document]:
        """The documents of "train" or "validation", of one source or of all, in stored order."""
        for part in self.parts:
            if part.split == split and source in (None, part.source):
                yield from part.documents()

    def n_bytes(self, split: str, source: str | None = None) -> int:
        """UTF-8 bytes of text."""
        return sum(part.n_bytes for part in self.parts if part.split == split and source in (None, part.source))


def open_corpus(folder: Path, *, verify: bool = False) -> Corpus:
    """The corpus in `folder`; with `verify`, every byte is compared with the manifest first.

    Raises DataError if there is none or it is damaged.
    """
    folder = Path(folder)
    if not is_complete(folder):
        raise DataError(f"`{folder}` is not a corpus", hint="build it with `prosa corpus`")
    try:
        if verify:
            verify_folder(folder)
        manifest = read_manifest(folder)
    except CheckpointError as error:
        raise DataError(f"{error}", hint=_REBUILD) from None
    description = manifest["description"]
    if description.get("what") != "corpus" or description.get("corpus_format") != CORPUS_FORMAT:
        raise DataError(f"`{folder}` is not a corpus that this Prosa reads", hint=_REBUILD)
    files = {entry["name"]: entry for entry in manifest["files"]}
    parts = tuple(
        Part(path=folder / entry["name"], sha256=files[entry["name"]]["sha256"], **entry)
        for entry in description["parts"]
    )
    for part in parts:
        if not part.path.is_file() or part.path.stat().st_size != files[part.name]["bytes"]:
            raise DataError(f"`{part.path}` is missing or cut short", hint=_REBUILD)
    content = [[part.name, part.split, part.source, part.sha256] for part in parts]
    corpus_hash = hash_json({"parts": content, "weights": description["weights"]})
    return Corpus(folder, manifest, corpus_hash, parts, description["weights"])


def describe_corpus(corpus: Corpus) -> dict[str, Any]:
    """The report written when the corpus was built: totals, sources, duplicates, rejects with places, samples."""
    try:
        report: dict[str, Any] = json.loads((corpus.folder / "report.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"`{corpus.folder / 'report.json'}` cannot be read: {error}", hint=_REBUILD) from None
    return {"folder": str(corpus.folder), "hash": corpus.hash, "weights": corpus.weights, **report}
