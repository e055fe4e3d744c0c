"""Small rankings and items for the tests of the statistics."""

from collections.abc import Sequence

from prosa.preferences.judgments import Answer, Item, Judgment, RankedAnswers, Ranking

ANSWERS = ("a", "bb", "ccc", "dddd", "eeeee", "ffffff")


def make_ranked(
    ranks: Sequence[float | None], *, item: str = "1", annotator: str = "ana", prompt: str = "", weight: float = 1.0
) -> RankedAnswers:
    """A ranking of as many answers as there are ranks; the prompt is the item's own unless one is given."""
    messages = ({"role": "user", "content": prompt or f"prompt {item}"},)
    return RankedAnswers(item, messages, ANSWERS[: len(ranks)], Ranking.from_ranks(ranks), annotator, weight)


def make_item(prompt: str, *, models: Sequence[str] = ("m", "m", "m", "m"), gold: Ranking | None = None) -> Item:
    """An item with one answer from each of `models`."""
    answers = [Answer(f"{prompt} {text}", model=model) for text, model in zip(ANSWERS, models, strict=False)]
    return Item.make([{"role": "user", "content": prompt}], answers, gold=gold)


def make_judgment(
    item: Item,
    ranks: Sequence[float | None] | None,
    *,
    number: int,
    annotator: str = "ana",
    order: Sequence[int] = (),
    seconds: float = 0.0,
    is_simulated: bool = False,
) -> Judgment:
    """`number` makes the UUID; no ranks is a skip."""
    return Judgment(
        uuid=f"00000000-0000-4000-8000-{number:012d}",
        item_id=item.id,
        annotator=annotator,
        ranking=None if ranks is None else Ranking.from_ranks(ranks),
        order_shown=tuple(order),
        seconds=seconds,
        is_simulated=is_simulated,
    )
