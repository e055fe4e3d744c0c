"""The sections on reinforcement learning: one result in, Markdown out."""

from collections.abc import Sequence
from statistics import mean
from typing import Any

from benchmarks.measure import spread
from benchmarks.report_small import ANSWER_MEASURES
from benchmarks.tables import show_spread, table, verdict

_STAGES = ("sft", "ppo", "grpo", "rloo", "round 2")


def write_learning(record: dict[str, Any]) -> str:
    """E8 to E11 and E13 against their pass marks."""
    result = record["result"]
    runs = result["runs"]
    marks = [
        (words, show_spread(mark["values"], 2), "met" if mark["is_met"] else "**missed**")
        for words, mark in result["marks"].items()
    ]
    return "\n".join(
        (
            "Answers of letters with a known worth; every seed has its own worths, fine-tuned model, rankings by",
            "simulated annotators and reward model. Medians over the seeds against marks set beforehand:\n",
            table(("mark", "found", ""), marks),
            "Over-optimisation (E9): what the reward model says and what answers are worth: at the truth's peak, where",
            "the detector would have stopped, and at the end. beta: the price of KL.\n",
            table(
                ("", "KL at the end", "reward, end", "truth, start", "truth, peak", "truth, kept", "truth, end"),
                [_over_row(runs, name) for name in runs[0]["E9"]],
            ),
            "Ways of learning from the same rankings (E10), seconds of one thread; new prompts:\n",
            table(
                ("", "truth", "KL", "ends", "distinct-2", "seconds"),
                [_way_row(runs, name) for name in runs[0]["E10"]],
            ),
            "One detail left out at a time (E11), half of the steps:\n",
            table(
                ("", "truth", "ends", "variance explained by the critic"),
                [_broken_row(runs, name) for name in runs[0]["E11"]],
            ),
        )
    )


def write_town(record: dict[str, Any]) -> str:
    """The truth table of the town: every seed before and after, and the marks for PPO."""
    result = record["result"]
    runs = result["runs"]
    parts = ["Held-out tasks of the town, asked of the fine-tuned model and of what each algorithm made of it;"]
    parts += ["median over the seeds, lowest to highest. Greedy:\n", _truth_table(runs, "greedy")]
    parts += ["Sampled at temperature 1:\n", _truth_table(runs, "sampled")]
    rows = [
        (
            name,
            _over_seeds([run[name]["course"]["last"]["kl"] for run in runs], 2),
            _over_seeds([run[name]["course"]["first"]["reward"] for run in runs], 2),
            _over_seeds([run[name]["course"]["last"]["reward"] for run in runs], 2),
        )
        for name in _stages(runs)[1:]
    ]
    parts += [table(("", "KL at the end, nats", "reward, first steps", "reward, last steps"), rows)]
    parts += [
        "All take as many steps of as many answers; what a step takes stands under *Reinforcement learning beside TRL*"
    ]
    parts += ["(RLOO's are GRPO's). KL is the trained policy's; the model asked is partly its start.\n"]
    marks = _town_marks(runs)
    if target := result.get("kl_target"):
        ratios = [run["ppo"]["course"]["last"]["kl"] / target for run in runs]
        said = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        is_near = all(0.8 <= ratio <= 1.2 for ratio in ratios)
        marks.append((f"KL within 20 % of its target at every seed ({said} of it)", is_near))
    return "\n".join((*parts, *(verdict(is_met, words) for words, is_met in marks), ""))


def _stages(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Those that all seeds have."""
    return [name for name in _STAGES if all(name in run for run in runs)]


def _truth_table(runs: Sequence[dict[str, Any]], way: str) -> str:
    stages = _stages(runs)
    rows = [
        (
            label,
            *(_over_seeds([run[name][way]["measures"][key]["all"]["share"] for run in runs], 3) for name in stages),
        )
        for key, label in ANSWER_MEASURES.items()
    ]
    for label, key, number, digits in (
        ("true worth, -1 to 1", "gold_reward", "mean", 3),
        ("distinct-2", "fluency", "distinct_2", 3),
        ("bits per byte under the base model", "fluency", "bits_per_byte", 2),
        ("words an answer", "fluency", "words_per_answer", 1),
    ):
        values = ([run[name][way][key]["all"][number] for run in runs] for name in stages)
        rows.append((label, *(_over_seeds(column, digits) for column in values)))
    return table(("", *stages), rows)


def _town_marks(runs: Sequence[dict[str, Any]]) -> list[tuple[str, bool]]:
    """What was to be shown of PPO, greedy, over all seeds; the means decide where a single seed is too small."""

    def share(run: dict[str, Any], name: str, key: str) -> float:
        return float(run[name]["greedy"]["measures"][key]["all"]["share"])

    def change(key: str) -> float:
        return mean(share(run, "ppo", key) - share(run, "sft", key) for run in runs)

    def worth(run: dict[str, Any], name: str) -> float:
        return float(run[name]["greedy"]["gold_reward"]["all"]["mean"])

    gains = [worth(run, "ppo") - worth(run, "sft") for run in runs]
    invented = [(share(run, "ppo", "hallucinates"), share(run, "sft", "hallucinates")) for run in runs]
    varied = [
        run["ppo"]["sampled"]["fluency"]["all"]["distinct_2"] / run["sft"]["sampled"]["fluency"]["all"]["distinct_2"]
        for run in runs
    ]
    ends = min(share(run, "ppo", "ends") for run in runs)
    said = ", ".join(f"{gain:+.3f}" for gain in gains)
    thirds = ", ".join(f"{before:.1%} to {after:.1%}" for after, before in invented)
    refuses = change("over_refuses")
    start = mean(worth(run, "sft") for run in runs)
    return [
        (
            f"true worth higher by a standard deviation of 0.7 at every seed ({said}; from {start:.2f}, where 1 is "
            "the best possible)",
            min(gains) >= 0.7,
        ),
        (f"made-up answers at most a third, at every seed ({thirds})", all(3 * a <= b for a, b in invented)),
        (f"known facts within 2 points, mean of the seeds ({change('right'):+.1%})", change("right") >= -0.02),
        (f"forms not followed less, mean of the seeds ({change('form'):+.1%})", change("form") >= 0),
        (f"look-alikes not declined more, mean of the seeds ({refuses:+.1%})", refuses <= 0),
        (f"at least 95 % of the answers end ({ends:.1%} at the lowest seed)", ends >= 0.95),
        (
            f"distinct-2 of samples falls by less than 10 % ({min(varied) - 1:+.1%} at the lowest seed)",
            min(varied) > 0.9,
        ),
    ]


def _over_seeds(values: Sequence[float], digits: int) -> str:
    found = spread(values)
    return show_spread({"median": found.median, "low": found.low, "high": found.high, "values": values}, digits)


def _over_row(runs: Sequence[dict[str, Any]], name: str) -> tuple[str, ...]:
    found = [run["E9"][name] for run in runs]
    columns = (
        ("last", "kl"),
        ("last", "reward"),
        ("first", "gold"),
        ("peak", "gold"),
        ("kept", "gold"),
        ("last", "gold"),
    )
    return (name, *(_over_seeds([one[part][key] for one in found], 2) for part, key in columns))


def _way_row(runs: Sequence[dict[str, Any]], name: str) -> tuple[str, ...]:
    found = [run["E10"][name] for run in runs]
    columns = (("gold", 2), ("kl", 1), ("ended", 3), ("distinct_2", 3), ("seconds", 0))
    return (name, *(_over_seeds([one[key] for one in found], digits) for key, digits in columns))


def _broken_row(runs: Sequence[dict[str, Any]], name: str) -> tuple[str, ...]:
    found = [run["E11"][name] for run in runs]
    if all("refused" in one for one in found):
        return (name, f"refused: {found[0]['refused'].splitlines()[0]}", "", "")
    columns = (("gold", 2), ("ended", 3), ("explained_variance", 2))
    return (name, *(_over_seeds([one[key] for one in found], digits) for key, digits in columns))
