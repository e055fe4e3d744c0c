"""The Shakespeare sections: one result in, Markdown out."""

from typing import Any

from benchmarks.tables import show_spread, table, verdict

_METHOD = """The peer is nanoGPT's CPU recipe (4 layers of 128, 4 heads, context 64, batch 12, 2000 steps, AdamW 1e-3 to
1e-4, float32, eager, 0.80M parameters) as a `transformers` GPT-2, without any evaluation or logging while it trains.
Prosa is `prosa pretrain configs/shakespeare.toml`. Seconds are whole processes from start to final weights, in turns
on the same machine; cold means an empty compiler cache, which matters little, as nothing is compiled. Nats per
character are of one judge for both: every character of the last tenth of the text, each model in windows of its own
context that overlap by half.
"""


def write_shakespeare(record: dict[str, Any]) -> str:
    result = record["result"]
    names = {"prosa, cold": "Prosa, cold", "prosa, warm": "Prosa, warm", "recipe": "recipe as published"}
    rows = [
        (
            names.get(name, f"recipe, {name}"),
            show_spread(run["seconds"], 1),
            show_spread(run["nats"], 4),
            f"{run['seconds']['median'] / result['runs']['recipe']['seconds']['median']:.2f}",
        )
        for name, run in result["runs"].items()
    ]
    fastest = result["fastest_peer"]
    marks = [
        verdict(
            result["is_loss_reached"] and result[f"ratio_{cache}"] <= wanted,
            f"Prosa's worst final loss is no higher than the recipe's best, with a {cache} cache in "
            f"{result[f'ratio_{cache}']:.3f} of its wall time (wanted: {words}), start included",
        )
        for cache, wanted, words in (("cold", 1 / 6, "a sixth"), ("warm", 1 / 10, "a tenth"))
    ]
    lines = [
        _METHOD,
        table(("whole process", "seconds", "nats per character", "share of the recipe's time"), rows),
        "\n".join(marks),
    ]
    if fastest != "recipe":
        lines.append(
            f"The fastest setting of the recipe found here is {fastest}; "
            f"beside it, Prosa takes {result['ratio_cold_to_fastest']:.2f} of the time."
        )
    return "\n".join(lines) + "\n"


_BEST = """Whole processes of `prosa pretrain configs/shakespeare_best.toml` from start to final weights, compiler cache
empty. Nats per character of the last tenth of the text: in windows of the model's own context (512 in thirty minutes,
256 otherwise), side by side as nanoGPT's own evaluation has them, and overlapping by half. nanoGPT's larger recipe
(10.7M parameters) reaches 1.4697 in about three minutes on an A100, the best of its evaluations along the way (its
README; not run here); ours is what the final weights give.
"""


def write_best(record: dict[str, Any]) -> str:
    head = (
        "minutes allowed",
        "seconds",
        "nats, side by side",
        "nats, overlapping",
        "million parameters",
        "million tokens",
    )
    result = record["result"]
    runs, minutes, wanted = result["runs"], result["minutes"], result["wanted"]
    row = (
        f"{minutes:g}",
        show_spread(runs["seconds"], 0),
        show_spread(runs["nats"], 4),
        show_spread(runs["nats_overlapping"], 4),
        f"{runs['parameters']['median'] / 1e6:.1f}",
        f"{runs['tokens']['median'] / 1e6:.1f}",
    )
    mark = verdict(
        runs["nats"]["high"] <= wanted and runs["seconds"]["high"] <= 60 * minutes,
        f"{wanted:g} nats in {minutes:g} minutes with every seed "
        f"({runs['nats']['high']:.4f} in {runs['seconds']['high'] / 60:.1f} minutes at most)",
    )
    return "\n".join([_BEST, table(head, [row]), mark]) + "\n"
