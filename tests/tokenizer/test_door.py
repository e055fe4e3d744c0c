"""Opening the room is cheap, and its public names are in order."""

import subprocess
import sys

import prosa.tokenizer

_HEAVY = "torch tokenizers tiktoken pyarrow transformers regex trafilatura datasets"


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = f"import sys, prosa.tokenizer; print([name for name in {_HEAVY.split()!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_sorted_and_exist() -> None:
    assert prosa.tokenizer.__all__ == sorted(prosa.tokenizer.__all__)
    assert all(hasattr(prosa.tokenizer, name) for name in prosa.tokenizer.__all__)
