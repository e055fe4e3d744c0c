"""Stores with a little in them."""

import random
from pathlib import Path
from uuid import UUID

from prosa.preferences import Answer, Item, Judgment, PreferenceStore, Ranking


def make_items(n: int, *, n_answers: int = 3, words: int = 4) -> list[Item]:
    chance = random.Random(n)
    text = [" ".join(chance.choices(["rio", "mar", "céu", "luz", "foz"], k=words)) for _ in range(n * n_answers)]
    return [
        Item.make(
            [{"role": "user", "content": f"Pergunta {i}?"}],
            [Answer(f"{text[i * n_answers + j]} {j}") for j in range(n_answers)],
        )
        for i in range(n)
    ]


def make_judgment(item: Item, number: int, *, annotator: str = "ana", best: int = 0) -> Judgment:
    """A judgment whose UUID is that number."""
    order = (best, *(index for index in range(len(item.answers)) if index != best))
    return Judgment(
        uuid=str(UUID(int=number)),
        item_id=item.id,
        annotator=annotator,
        ranking=Ranking(tuple((index,) for index in order)),
        order_shown=order,
        order_seed=7,
        seconds=1.5,
    )


def fill(path: Path, n: int, *, words: int = 4, base: int = 0) -> list[Item]:
    """A store with `n` more items, each judged once, the first judgment undone; UUIDs from `base` on."""
    items = make_items(n, words=words)
    with PreferenceStore(path) as store:
        store.add_items(items)
        store.add_judgments([make_judgment(item, base + number, best=number % 3) for number, item in enumerate(items)])
        store.retract(str(UUID(int=base)), annotator="ana", retraction=str(UUID(int=10**6 + base)))
    return items


def contents(path: Path) -> list[tuple[str, str, str]]:
    """Everything in a store."""
    with PreferenceStore(path) as store:
        return [(record.kind, record.key, record.body) for record in store.records()]
