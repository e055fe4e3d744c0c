"""Nothing is synced in these tests: a kill loses nothing that the system was given, and a busy disk makes them slow."""

import os

import pytest

from prosa.preferences import store_schema

PRAGMAS = store_schema._PRAGMAS


@pytest.fixture(autouse=True)
def no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    monkeypatch.setattr(store_schema, "_PRAGMAS", (*PRAGMAS, "synchronous = OFF"))
