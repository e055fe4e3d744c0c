"""Random numbers with a purpose: every use of chance has its own stream, derived from (seed, purpose, counters).

Nothing to save and nothing to replay: the stream of step 1,000 is known without drawing those before it, and
a new use of chance elsewhere cannot shift an old one.
"""

import hashlib
import random

import numpy as np


def derive_seed(seed: int, purpose: str, *counters: int) -> int:
    """63 bits that depend on all arguments, equal on every platform and Python version."""
    key = "\x1f".join([str(seed), purpose, *map(str, counters)])
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "little") >> 1


def python_stream(seed: int, purpose: str, *counters: int) -> random.Random:
    """A stream of Python's own generator, for choices in text."""
    return random.Random(derive_seed(seed, purpose, *counters))


def numpy_stream(seed: int, purpose: str, *counters: int) -> np.random.Generator:
    """A stream of numpy's Philox generator, for permutations of data."""
    return np.random.Generator(np.random.Philox(derive_seed(seed, purpose, *counters)))
