"""A corpus and its tokenizer go in, memory-mapped token ids come out, with a way back from any token to its document.

One shard for each part of the corpus: `NAME.ids`, the ids of all its documents one after the other, each ended by
`<|endoftext|>`, and `NAME.parquet`, the part without its text; docs/tokenizer.md has the format.
"""

import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from prosa.errors import CheckpointError, DataError
from prosa.rundir import commit_folder, hash_file, read_manifest, staging_folder, storage_errors, verify_folder
from prosa.tokenizer.tokenizer import Tokenizer

if TYPE_CHECKING:
    import pyarrow as pa

    from prosa.corpus import Corpus, Part

SPLITS = ("train", "validation")
_KIND = "token shards"

Ids = npt.NDArray[np.unsignedinteger[Any]]


def build_shards(
    corpus: "Corpus",
    tokenizer: Tokenizer,
    folder: Path,
    *,
    workers: int = 0,
    progress: Callable[[str, int], None] | None = None,
) -> "TokenShards":
    """Encodes every part of the corpus with `workers` threads (0: one a core) and commits `folder` in one step.

    The bytes written do not depend on `workers`. `progress` is told the name and the text bytes of each part done.
    Raises DataError for a damaged part of the corpus, StorageError when the disk refuses.
    """
    dtype = "<u2" if tokenizer.vocab_size <= 1 << 16 else "<u4"
    staging = staging_folder(folder)
    try:
        shards = []
        with ThreadPoolExecutor(workers or os.cpu_count()) as threads:
            for shard in threads.map(partial(_write_shard, staging, tokenizer, dtype), corpus.parts):
                shards.append(shard)
                if progress is not None:
                    progress(shard["name"], shard["n_bytes"])
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    description = {
        "kind": _KIND,
        "corpus": corpus.hash,
        "tokenizer": tokenizer.hash,
        "vocab_size": tokenizer.vocab_size,
        "dtype": dtype,
        "weights": dict(corpus.weights),
        "shards": shards,
    }
    commit_folder(staging, folder, description)
    return open_shards(folder, verify=False)


def open_shards(folder: Path, *, verify: bool = True) -> "TokenShards":
    """The shards in `folder`; `verify` compares the sha256 of every file with the manifest.

    Raises DataError naming a file that is missing, damaged or in another's place.
    """
    try:
        manifest = read_manifest(folder)
        if manifest["description"].get("kind") != _KIND:
            raise DataError(f"`{folder}` holds {manifest['description'].get('kind', 'something else')}, not {_KIND}")
        if verify:
            verify_folder(folder)
    except CheckpointError as error:
        raise DataError(
            f"token shards cannot be used: {error}", hint=f"delete `{folder}`; the next run makes it again"
        ) from None
    return TokenShards(folder, manifest)


def check_tokenizer(shards: "TokenShards", tokenizer: Tokenizer) -> None:
    """DataError if the shards were made with another tokenizer than this one."""
    if shards.tokenizer_hash != tokenizer.hash:
        raise DataError(
            f"`{shards.folder}` was made with tokenizer {shards.tokenizer_hash[:12]}, not with {tokenizer.hash[:12]}",
            hint=f"delete `{shards.folder}`; the next run makes it again with this tokenizer",
        )


class TokenShards:
    """Token ids of a whole corpus, by split and source, in the corpus's order; the ids stay on the disk.

    `weights` are the sources' shares of the mixture; `hash` is that of the manifest, so of every byte.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any]) -> None:
        description = manifest["description"]
        self.folder = folder
        self.manifest = manifest
        self.hash: str = manifest["sha256"]
        self.tokenizer_hash: str = description["tokenizer"]
        self.corpus_hash: str = description["corpus"]
        self.vocab_size: int = description["vocab_size"]
        self.weights: dict[str, float] = description["weights"]
        self.sources = tuple(dict.fromkeys(shard["source"] for shard in description["shards"]))
        self._streams = {
            (split, source): TokenStream(
                folder,
                description["dtype"],
                [shard for shard in description["shards"] if (shard["split"], shard["source"]) == (split, source)],
            )
            for split in SPLITS
            for source in self.sources
        }

    def stream(self, split: str, source: str) -> "TokenStream":
        """All documents of a source one after the other; empty if it has none in this split."""
        try:
            return self._streams[split, source]
        except KeyError:
            raise DataError(
                f"`{self.folder}` has no {split!r} tokens of source {source!r}",
                hint=f"splits are {', '.join(SPLITS)}; sources are {', '.join(self.sources)}",
            ) from None

    def n_tokens(self, split: str, source: str) -> int:
        """Tokens of a source in a split, the ends of documents included."""
        return self.stream(split, source).n_tokens

    def n_bytes(self, split: str, source: str) -> int:
        """UTF-8 bytes of the text of a source in a split."""
        return self.stream(split, source).n_bytes

    def document_lengths(self, split: str, source: str) -> npt.NDArray[np.int64]:
        """Tokens of each document, its `<|endoftext|>` included, in stored order."""
        return self.stream(split, source).document_lengths

    def read(self, split: str, source: str, document: int, start: int, length: int) -> Ids:
        """`length` ids of one document from its token `start` on; DataError if it has not so many."""
        stream = self.stream(split, source)
        stream.check_document(document)
        if not 0 <= start <= start + length <= stream.document_lengths[document]:
            raise DataError(
                f"document {document} of {source!r} has {stream.document_lengths[document]} tokens, "
                f"not {start} to {start + length}"
            )
        return stream.read_span(int(stream.document_starts[document]) + start, length)

    def document(self, split: str, source: str, document: int) -> dict[str, Any]:
        """Where a document comes from: id, kind, language, source, licence, origin, n_bytes, n_tokens and split."""
        return {**self.stream(split, source).document_row(document), "split": split}

    def document_table(self, split: str) -> "pa.Table":
        """One row for each document of a split, as in `document`, in the order of `sources` and then as stored."""
        import pyarrow as pa

        return pa.concat_tables(
            [self.stream(split, source).table for source in self.sources], promote_options="default"
        )


class TokenStream:
    """The documents of one source and split, stored one after the other."""

    def __init__(self, folder: Path, dtype: str, shards: list[dict[str, Any]]) -> None:
        self._folder = folder
        self._dtype = np.dtype(dtype)
        self._shards = shards
        self._ends = np.cumsum([shard["n_tokens"] for shard in shards], dtype=np.int64)
        self.n_tokens: int = sum(shard["n_tokens"] for shard in shards)
        self.n_bytes: int = sum(shard["n_bytes"] for shard in shards)

    def __len__(self) -> int:
        return self.n_tokens

    def read_span(self, position: int, length: int) -> Ids:
        """`length` ids from token `position` of the stream on, unsigned and read-only or a copy.

        Raises DataError if the stream does not reach so far.
        """
        if not 0 <= position <= position + length <= self.n_tokens:
            raise DataError(f"the stream has {self.n_tokens:,} tokens, not {position:,} to {position + length:,}")
        pieces = []
        shard = int(np.searchsorted(self._ends, position, side="right"))
        while length:
            ids = self._ids[shard]
            first = position - (int(self._ends[shard]) - len(ids))
            piece = ids[first : first + length]
            pieces.append(piece)
            position, length, shard = position + len(piece), length - len(piece), shard + 1
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty(0, self._dtype)

    @cached_property
    def document_lengths(self) -> npt.NDArray[np.int64]:
        """int64[n_documents], see TokenShards.document_lengths."""
        return np.asarray(self.table.column("n_tokens"), dtype=np.int64)

    @cached_property
    def document_starts(self) -> npt.NDArray[np.int64]:
        """int64[n_documents]: the position in the stream of each document's first token."""
        return np.cumsum(self.document_lengths) - self.document_lengths

    def document_row(self, document: int) -> dict[str, Any]:
        """The row of one document in `table`."""
        self.check_document(document)
        row: dict[str, Any] = self.table.slice(document, 1).to_pylist()[0]
        return row

    def check_document(self, document: int) -> None:
        """DataError if there is no such document."""
        if not 0 <= document < self.table.num_rows:
            raise DataError(f"the stream has {self.table.num_rows:,} documents, none is number {document}")

    @cached_property
    def table(self) -> "pa.Table":
        """One row for each document: what the corpus says of it but its text, then n_bytes and n_tokens."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._shards:
            return pa.schema([("n_bytes", pa.int64()), ("n_tokens", pa.int64())]).empty_table()
        return pa.concat_tables([pq.read_table(self._folder / f"{shard['name']}.parquet") for shard in self._shards])

    @cached_property
    def _ids(self) -> list[Ids]:
        return [_map_ids(self._folder / f"{shard['name']}.ids", self._dtype, shard) for shard in self._shards]


def _map_ids(path: Path, dtype: np.dtype[Any], shard: dict[str, Any]) -> Ids:
    if not shard["n_tokens"]:
        return np.empty(0, dtype)
    try:
        ids = np.memmap(path, dtype, mode="r")
    except (OSError, ValueError) as error:
        raise DataError(f"token shard `{path}` cannot be read: {error}") from None
    if len(ids) != shard["n_tokens"]:
        raise DataError(f"token shard `{path}` has {len(ids):,} tokens, its manifest says {shard['n_tokens']:,}")
    return ids


def _write_shard(folder: Path, tokenizer: Tokenizer, dtype: str, part: "Part") -> dict[str, Any]:
    """Encodes one part of the corpus into `folder`; its entry for the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if hash_file(Path(part.path)) != part.sha256:
        raise DataError(
            f"`{part.path}` is damaged: its sha256 differs from the corpus's", hint="build the corpus again"
        )
    table = pq.read_table(part.path)
    n_bytes, n_tokens = [], []
    name = part.name.removesuffix(".parquet")
    path = folder / f"{name}.ids"
    with storage_errors(path), path.open("wb") as file:
        for text in table.column("text"):
            ids = np.array([*tokenizer.encode(text.as_py()), tokenizer.end_of_text_id], dtype=dtype)
            file.write(ids.tobytes())
            n_bytes.append(len(text.as_buffer()))
            n_tokens.append(len(ids))
        index = table.drop_columns("text")
        index = index.append_column("n_bytes", pa.array(n_bytes, pa.int64()))
        index = index.append_column("n_tokens", pa.array(n_tokens, pa.int64()))
        pq.write_table(index, folder / f"{name}.parquet", compression="zstd")
    return {
        "name": name,
        "split": part.split,
        "source": part.source,
        "n_documents": table.num_rows,
        "n_bytes": sum(n_bytes),
        "n_tokens": sum(n_tokens),
    }
