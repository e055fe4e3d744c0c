"""Published test sets, where they are at hand: in `data/`, or in the folder that PROSA_DATA names."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent


def find_real(name: str) -> Path:
    """The file `evals/name` of the data folder; without it the test is skipped."""
    path = Path(os.environ.get("PROSA_DATA", ROOT / "data")) / "evals" / name
    if not path.is_file():
        pytest.skip(f"evals/{name} is not here")
    return path
