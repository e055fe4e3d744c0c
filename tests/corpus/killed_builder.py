"""Builds a corpus again and again in forked children, kills each at a chosen share of the usual time, and rebuilds.

Called by test_kill.py as `python killed_builder.py SOURCE FOLDER SHARE...`; prints one JSON line per kill.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import pyarrow.parquet  # noqa: F401 (imported before the forks, so that they are quick)

from prosa.corpus import CorpusSettings, SourceSettings, build_corpus, open_corpus
from prosa.rundir import is_complete, remove_stale


def start(settings: CorpusSettings, folder: Path) -> int:
    child = os.fork()
    if child == 0:
        build_corpus(settings, folder, workers=1)
        os._exit(0)
    return child


def main() -> None:
    source, folder = sys.argv[1], Path(sys.argv[2])
    settings = CorpusSettings(sources=(SourceSettings(path=source, language="pt"),), document_bytes=2000)

    def build() -> float:
        began = time.monotonic()
        os.waitpid(start(settings, folder), 0)
        return time.monotonic() - began

    seconds = build()
    expected = open_corpus(folder, verify=True).hash
    for share in map(float, sys.argv[3:]):
        before = is_complete(folder)
        child = start(settings, folder)
        time.sleep(share * seconds)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        was_killed = os.WIFSIGNALED(status)
        left = sorted(path.name for path in folder.parent.iterdir() if path.name != Path(source).name)
        is_whole = not folder.exists() or open_corpus(folder, verify=True).hash == expected
        n_stale = len(remove_stale(folder.parent))
        seconds = min(seconds, build())
        after = open_corpus(folder, verify=True).hash == expected
        clean = sorted(path.name for path in folder.parent.iterdir()) == sorted([Path(source).name, folder.name])
        found = {"before": before, "killed": was_killed, "left": left, "whole": is_whole, "stale": n_stale}
        sys.stdout.write(json.dumps({**found, "equal": after, "clean": clean}) + "\n")


main()
