"""Merges go in, the tokens they make come out, after a proof that every encoder gives the same ids with them.

Stands between the file and the two encoders: tiktoken knows only the bytes of tokens, `tokenizers` only the merges.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from prosa.errors import TokenizerError
from prosa.tokenizer.files import MAX_TOKEN_BYTES

# The proof costs the square of each token's length; this bounds a hostile file to about a second.
_MAX_SQUARED_BYTES = 1 << 24


def build_tokens(merges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The 256 single bytes, then the token of each merge.

    Merging by the rank of the merged bytes (tiktoken) equals merging by the order of merges (`tokenizers`) if and only
    if each token's own merge is the last one made when its bytes are encoded with lower ranks alone: within a token's
    bytes nothing outside has a say until a merge crosses their edge. That is checked for every token.

    Raises TokenizerError for a merge that uses a later token, repeats a token, is too long or breaks the rule above.
    """
    tokens = [bytes([byte]) for byte in range(256)]
    ranks = {token: rank for rank, token in enumerate(tokens)}
    work = 0
    for rank, (left, right) in enumerate(merges, start=256):
        if not (0 <= left < rank and 0 <= right < rank):
            raise TokenizerError(f"merge {rank - 256} uses a token that is not made before it")
        token = tokens[left] + tokens[right]
        work += len(token) ** 2
        if len(token) > MAX_TOKEN_BYTES or work > _MAX_SQUARED_BYTES:
            raise TokenizerError(f"merge {rank - 256} makes a token of {len(token)} bytes: too long, or one too many")
        if token in ranks:
            raise TokenizerError(f"merge {rank - 256} makes a token that exists already")
        if merge_pieces(token, ranks, until=2) != [tokens[left], tokens[right]]:
            raise TokenizerError(f"merge {rank - 256} can never be reached: an earlier merge takes its bytes")
        ranks[token] = rank
        tokens.append(token)
    return tokens


def merge_pieces(piece: bytes, ranks: Mapping[bytes, int], *, until: int = 1) -> list[bytes]:
    """Byte-pair encoding as it is defined: join the neighbours of lowest rank, leftmost first, down to `until` parts.

    Quadratic, for short pieces only (Sennrich et al. 2016, algorithm 1, with bytes for characters).
    """
    parts = [piece[position : position + 1] for position in range(len(piece))]
    while len(parts) > until:
        candidates = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        lowest = min(candidates)
        if lowest == len(ranks):
            break
        at = candidates.index(lowest)
        parts[at : at + 2] = [parts[at] + parts[at + 1]]
    return parts
