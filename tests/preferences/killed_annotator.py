"""A1: ranks in forked children that are killed at random instants, and compares the store with what was acknowledged.

Called by test_kills.py as `python killed_annotator.py FOLDER KILLS SEED`; prints one JSON object.
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

from prosa.preferences import Answer, Item, PreferenceStore, check_store, rank_in_terminal

ITEMS = 1500


class Keys:
    """An annotator who never tires: ranks, ties, skips, comments, undoes."""

    def __init__(self, seed: int) -> None:
        self._keys = self._press(random.Random(seed))

    def isatty(self) -> bool:
        return False

    def read(self, n: int) -> str:
        return next(self._keys)

    @staticmethod
    def _press(chance: random.Random) -> Iterator[str]:
        yield from "321\nu"
        while True:
            keys = chance.choices(
                ["321\n", "12=3=\n", "13-", "x", "s", "cnão sei\n213\n", "u", "21\b32\n"], [9, 3, 3, 2, 2, 2, 4, 2]
            )
            yield from keys[0]


def rank(path: Path, ledger: Path, seed: int) -> None:
    # What was written to the ledger is the system's: a kill does not lose it.
    with ledger.open("a", encoding="utf-8", buffering=1) as out, PreferenceStore(path) as store:
        rank_in_terminal(store, "ana", stdin=cast("IO[str]", Keys(seed)), stdout=out)


def n_acknowledged(ledger: Path) -> int:
    lines = ledger.read_text(encoding="utf-8").splitlines() if ledger.exists() else []
    return sum(line.startswith(("saved ", "undone ")) for line in lines)


def main() -> None:
    folder, n_kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    path, ledger = folder / "preferences.sqlite", folder / "ledger"
    with PreferenceStore(path) as store:
        prompts = ([{"role": "user", "content": f"Pergunta {number}?"}] for number in range(ITEMS))
        store.add_items([Item.make(prompt, [Answer("a"), Answer("b"), Answer("c")]) for prompt in prompts])
    chance, n_hits = random.Random(seed), 0
    for number in range(n_kills):
        child = os.fork()
        if child == 0:
            rank(path, ledger, seed + number)
            os._exit(3)
        # Some die while they open the store, most while they rank.
        if chance.random() < 0.75:
            wanted = n_acknowledged(ledger) + 3
            while n_acknowledged(ledger) < wanted:
                time.sleep(0.01)
        time.sleep(0.3 * chance.random())
        os.kill(child, signal.SIGKILL)
        n_hits += os.WIFSIGNALED(os.waitpid(child, 0)[1])
    lines = [line.split() for line in ledger.read_text(encoding="utf-8").splitlines()]
    saved = [words[1] for words in lines if words[:1] == ["saved"] and len(words[-1]) == 36]
    undone = [words[1] for words in lines if words[:1] == ["undone"] and len(words[-1]) == 36]
    with PreferenceStore(path) as store:
        rows = store.all_rows()
        effective = Counter(row.item_id for row in store.judgments())
    of_uuid = Counter(row.uuid for row in rows)
    retractions = Counter(row.retracts for row in rows if row.retracts)
    judged = [row for row in rows if not row.retracts]
    found = {
        "hits": n_hits,
        "saved": len(saved),
        "undone": len(undone),
        "lost": [uuid for uuid in saved if of_uuid[uuid] != 1],
        "lost_undone": [uuid for uuid in undone if retractions[uuid] != 1],
        "double": [item for item, n in effective.items() if n != 1],
        "unacknowledged": len(rows) - len(saved) - len(undone),
        "rows": len(judged),
        "problems": check_store(path),
    }
    sys.stdout.write(json.dumps(found))


main()
