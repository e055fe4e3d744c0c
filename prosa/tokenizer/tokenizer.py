"""Text goes in, token ids come out, and the way back: byte-level BPE, where no text can produce a control id.

tiktoken encodes, with the merges that `tokenizers` learned; that both give the same ids is checked on every load.
"""

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt

from prosa.errors import TokenizerError
from prosa.rundir import write_durably
from prosa.tokenizer import files
from prosa.tokenizer.merges import build_tokens
from prosa.tokenizer.stream import StreamingDecoder

# A run of 32,768 letters, spaces or marks is no writing: it is cut, so that time stays linear and stacks shallow.
_WINDOW_CHARACTERS, _RUN_WINDOWS = 1_024, 32
_LETTER_DIGIT_SPACE = re.compile(r"[^\W_]|\s")
_BATCH_CHARACTERS = 65_536
_VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥"}
_SAMPLE = (
    "O João não vê: às 7h30 haverá café?  Two cats' tails, we'LL see; naïve façade\u2014\u201cok\u201d...\r\n\n"
    "def f(x):\n\treturn {'a': x**2, \"b\": [0x1F, 3.14]}  # ção\n\n    pass   \n"
    "\U0001f600\U0001f469\u200d\U0001f4bb e\u0301 \u4e2d\u6587 \u0410\u0431 \u00b2\u00bd \x00\x1b\u2028 \u00a0 end \t "
)


class Tokenizer:
    """A vocabulary of 256 bytes, then one token per merge, then four control tokens; the id of a byte is the byte.

    `n_bytes` is int32[vocab_size]: the bytes each token stands for, 0 for control tokens. `hash` is the sha256 of the
    `tokenizer.json` that `save` writes.
    """

    def __init__(self, merges: Sequence[tuple[int, int]]) -> None:
        """`merges`: pairs of ids, merge i makes token 256 + i. TokenizerError if no training could give them."""
        import tiktoken

        tokens = build_tokens(merges)
        n_ranks = len(tokens)
        ranks = {token: rank for rank, token in enumerate(tokens)}
        self._encoding = tiktoken.Encoding(
            "prosa", pat_str=files.SPLIT_PATTERN, mergeable_ranks=ranks, special_tokens={}
        )
        self._json = files.tokenizer_json(tokens, merges)
        self._bytes: tuple[bytes, ...] = (*tokens, *[b""] * len(files.CONTROL_TOKENS))
        self.vocab_size = len(self._bytes)
        self.end_of_text_id, self.im_start_id, self.im_end_id, self.pad_id = range(n_ranks, self.vocab_size)
        self.control_ids = frozenset(range(n_ranks, self.vocab_size))
        self.n_bytes: npt.NDArray[np.int32] = np.array([len(token) for token in self._bytes], dtype=np.int32)
        self.hash = hashlib.sha256(self._json).hexdigest()

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, whatever it says: never a control id. TokenizerError if it has a lone surrogate."""
        _check_unicode(text)
        first, *others = [self._encoding.encode_ordinary(part) for part in _cut_runs(text)]
        for ids in others:
            first += ids
        return first

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, computed on all cores."""
        batches = list(_group(texts))
        if len(batches) < 2:
            return [self.encode(text) for text in texts]
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            encoded = threads.map(lambda batch: [self.encode(text) for text in batch], batches)
            return [ids for batch in encoded for ids in batch]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`: control tokens are dropped, bytes that form no character become U+FFFD.

        Raises TokenizerError for an id outside the vocabulary.
        """
        return b"".join(map(self.token_bytes, ids)).decode("utf-8", "replace")

    def stream(self) -> StreamingDecoder:
        """A decoder to which the ids are given one by one."""
        return StreamingDecoder(self._bytes)

    def token_bytes(self, id: int) -> bytes:
        """The bytes of one token, often not whole characters; b"" for control tokens."""
        if not 0 <= id < self.vocab_size:
            raise TokenizerError(f"there is no token {id}: the vocabulary has {self.vocab_size:,}")
        return self._bytes[id]

    def show(self, id: int) -> str:
        """One token for people: spaces, tabs and line ends visible, all else that does not print as an escape."""
        token = self.token_bytes(id)
        if id in self.control_ids:
            return files.CONTROL_TOKENS[id - self.end_of_text_id]
        return "".join(map(_show_character, token.decode("utf-8", "backslashreplace")))

    def save(self, folder: Path) -> None:
        """Writes `tokenizer.json` and `tokenizer_config.json`, which `transformers.AutoTokenizer` loads.

        Raises StorageError if the disk refuses.
        """
        write_durably(folder / files.TOKENIZER_FILE, self._json)
        write_durably(folder / files.CONFIG_FILE, files.tokenizer_config_json())

    @classmethod
    def load(cls, folder: Path) -> "Tokenizer":
        """The tokenizer saved in `folder`; nothing in its files is ever run, and no template in them is read.

        Raises TokenizerError if `tokenizer.json` is missing, is not exactly of the form that `save` writes, or if
        tiktoken and `tokenizers` do not agree on its ids.
        """
        path = folder / files.TOKENIZER_FILE
        value = files.read_tokenizer(path)
        try:
            tokenizer = cls(files.find_merges(value, path))
        except TokenizerError as error:
            raise error if error.hint else files.not_ours(path, str(error)) from None
        files.check_equal(value, tokenizer._json, path)
        tokenizer.check_encoders()
        return tokenizer

    def check_encoders(self) -> None:
        """Compares the ids of tiktoken and `tokenizers` on a sample of all kinds of text; TokenizerError if unequal."""
        import tokenizers

        other = tokenizers.Tokenizer.from_buffer(self._json)
        if other.encode(_SAMPLE).ids != self.encode(_SAMPLE):
            raise TokenizerError(
                f"tiktoken and tokenizers {tokenizers.__version__} give different ids for the same merges",
                hint="install the versions in constraints.txt",
            )


def _check_unicode(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        found = f"U+{ord(text[error.start]):04X}"
        raise TokenizerError(
            f"the text has a lone surrogate, {found}, at character {error.start}: it is not Unicode",
            hint='`text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")` joins pairs, replaces the rest',
        ) from None


def _cut_runs(text: str) -> Iterator[str]:
    """`text` in parts, cut at every 32nd window in a row that is one unbroken run; mostly one part."""
    start = n_windows = 0
    for window in range(0, len(text) - _WINDOW_CHARACTERS, _WINDOW_CHARACTERS):
        n_windows = n_windows + 1 if _is_run(text[window : window + _WINDOW_CHARACTERS]) else 0
        if n_windows == _RUN_WINDOWS:
            yield text[start:window]
            start, n_windows = window, 0
    yield text[start:]


def _is_run(window: str) -> bool:
    """True if the split pattern could take the whole window as one piece; ordinary text is left after one word."""
    return window.isalpha() or window.isspace() or not _LETTER_DIGIT_SPACE.search(window)


def _group(texts: Sequence[str]) -> Iterator[list[str]]:
    """Texts in groups that are worth a thread's while."""
    group: list[str] = []
    size = 0
    for text in texts:
        group.append(text)
        size += len(text)
        if size >= _BATCH_CHARACTERS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _show_character(character: str) -> str:
    if character in _VISIBLE:
        return _VISIBLE[character]
    return character if character.isprintable() else character.encode("unicode_escape").decode()
