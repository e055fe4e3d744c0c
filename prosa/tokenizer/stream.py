"""Token ids go in one at a time, text comes out as soon as its characters are complete.

Used wherever a model writes while a person reads.
"""

import codecs
from collections.abc import Sequence

from prosa.errors import TokenizerError


class StreamingDecoder:
    """Decodes tokens as they arrive; all that `push` and `finish` return, joined, is what `decode` returns.

    At most three bytes are held back. A byte that can no longer become a character is U+FFFD at once, so nothing
    stalls, and each token costs the same however much came before it.
    """

    def __init__(self, token_bytes: Sequence[bytes]) -> None:
        self._token_bytes = token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, id: int) -> str:
        """The characters that this token completes, often none or several; TokenizerError for an unknown id."""
        if not 0 <= id < len(self._token_bytes):
            raise TokenizerError(f"there is no token {id}: the vocabulary has {len(self._token_bytes):,}")
        return self._decoder.decode(self._token_bytes[id])

    def finish(self) -> str:
        """What was still held back: "" or one U+FFFD."""
        return self._decoder.decode(b"", final=True)
