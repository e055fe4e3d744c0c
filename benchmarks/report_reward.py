"""The sections on rankings and reward models: one result in, Markdown out."""

from typing import Any

from benchmarks.tables import show_interval, show_spread, table, verdict


def write_learning(record: dict[str, Any]) -> str:
    """E3, E5, E6, E7 and E15 against their pass marks."""
    result = record["result"]
    marks = [
        (words, show_spread(mark["values"], 3), "met" if mark["is_met"] else "**missed**")
        for words, mark in result["marks"].items()
    ]
    runs = result["runs"]
    sizes = [row["n"] for row in runs[0]["E3"]["rows"]]
    by_size = [
        (
            f"{n:,}",
            *(
                ", ".join(f"{run['E3']['rows'][at][name]:.3f}" for run in runs)
                for name in ("clean", "flipped", "flipped_labels")
            ),
        )
        for at, n in enumerate(sizes)
    ]
    best = []
    for size, found in runs[0]["E7"].items():
        for point in found["curve"]:
            proxy, gold = f"{point['proxy']:.2f}", f"{point['gold']:.2f}"
            best.append((f"{int(size):,} rankings, n = {point['n']}", f"{point['kl']:.2f}", proxy, gold))
    return "\n".join(
        (
            "A preference with known truth: every letter has a worth, an answer is as good as its letters on average;",
            "simulated annotators with stated noise. Medians over the seeds against marks set beforehand:\n",
            table(("mark", "found", ""), marks),
            "Pair accuracy on new prompts by number of rankings (E3), a value for each seed: trained on faultless",
            "rankings; on rankings with a quarter of the pairs reversed; the latter against labels as noisy.\n",
            table(("rankings", "faultless", "reversed", "against noisy labels"), by_size),
            "Best of n (E7, first seed): KL = ln n - (n - 1) / n in nats, what the reward model says of its",
            "choice, and what the choice is worth, in standard deviations.\n",
            table(("reward model", "KL", "reward", "truth"), best),
        )
    )


def write_kwise(record: dict[str, Any]) -> str:
    """Time and accuracy of rankings taken whole and of their pairs."""
    result = record["result"]
    rows = [
        (
            f"{way}, {epochs} epochs",
            show_spread(found["step_seconds"], 1),
            show_spread(found["accuracy"], 3),
            show_spread(found["train_accuracy"], 3),
            show_spread(found["log_loss"], 3),
        )
        for epochs, ways in result["epochs"].items()
        for way, found in ways.items()
    ]
    goal = result["goal_share"]
    claims = [
        verdict(
            claim["is_met"],
            f"epochs {epochs}: at most {goal:.0%} of the pairs' time ({show_spread(claim['share_of_time'], 2)}), "
            f"accuracy equal (difference {show_spread(claim['accuracy_difference'], 4)})",
        )
        for epochs, claim in result["claims"].items()
    ]
    return "\n".join(
        (
            "Whole rankings of K = 4 beside the same as shuffled pairs: equal trunk, updates and pairs.\n",
            table(("", "seconds of steps", "accuracy, new prompts", "accuracy, trained on", "log loss, new"), rows),
            *claims,
            "",
        )
    )


def write_human(record: dict[str, Any]) -> str:
    """Every set of real rankings beside chance, length and people."""
    rows = []
    for name, found in record["result"].items():
        card = found["runs"][0]["card"]
        people = found["runs"][0]["people"] or {}
        majority = people.get("majority")
        claim = "length" if found["beats_length"] else "chance" if found["beats_chance"] else "nothing"
        rows.append(
            (
                name,
                show_spread(found["accuracy"], 3),
                show_interval(card["accuracy"]["share"], card["accuracy"]["clustered"]),
                f"{found['length_only']['share']:.3f}",
                f"{majority['value']:.3f}" if majority else "-",
                claim,
            )
        )
    head = ("set", "accuracy, all seeds", "first seed, 95 % by prompt", "the longer", "one person", "beats")
    return "\n".join(
        (
            "Real rankings, five folds by prompt, a small trunk that read books for some minutes. Chance is 0.5;",
            "one person: how often an annotator agrees with the majority of the others. We claim the last column;",
            "length is beaten only if always choosing the longer and always the shorter are. In squality_ranks one of",
            "three answers is a person's and nearly always the best: to recognise it is enough.\n",
            table(head, rows),
        )
    )
