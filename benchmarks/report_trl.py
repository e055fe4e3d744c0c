"""The sections beside TRL: a result in, Markdown out."""

from typing import Any

from benchmarks.tables import show_spread, table, verdict

_NAMES = {
    "prosa": "Prosa",
    "prosa, as it comes": "Prosa, settings as they come",
    "trl": "TRL",
}
# How many times as fast as those of TRL our steps of reinforcement learning were to be.
_WANTED_OF_RL = 5
_START = """Both programs start from the same weights on {threads} threads and take turns, each as a process of its own
from start to saved model (trl {trl}, transformers {transformers}).
"""
_SHARED = f"""{_START}TRL runs without evaluation, checkpoints of weights, logging and gradient checkpointing, with
batches of like length, fused AdamW and a cosine schedule. "Steps" is the time of the training alone; memory is the
most that the process held.
"""


def write_sft(record: dict[str, Any]) -> str:
    result = record["result"]
    counts, epochs, settings = result["counts"], result["epochs"], result["settings"]
    ours = settings["prosa"]
    method = (
        f"{counts['conversations']:,} conversations ({counts['learned_tokens']:,} learned tokens), the same ids and "
        f"labels for both. TRL's SFTTrainer reads them {epochs['trl']} times at its best settings of a sweep, learning "
        f"rate {settings['trl']['learning_rate']:g} and {settings['trl']['batch_size']} conversations a step. Prosa "
        f"reads them {epochs['prosa']} times at rates of a sweep ({ours['matrix_learning_rate']:g} Muon, "
        f"{ours['learning_rate']:g} AdamW, {ours['batch_size']} packed rows a step), and "
        f"{epochs['prosa, as it comes']} times with nothing "
        f"chosen. One judge for all: nats a learned token on {counts['held_out']:,} held-out conversations "
        f"({result['base_loss']:.2f} before)."
    )
    target = "at least twice as fast as TRL to its held-out loss or a lower one, start included, memory not higher"
    return _write(result, method, "held-out loss", 3, target)


def write_reward(record: dict[str, Any]) -> str:
    result = record["result"]
    counts = result["counts"]
    method = (
        f"{counts['rankings']:,} noisy rankings of four answers, read once. TRL's RewardTrainer takes them as "
        f"{counts['pairs']:,} pairs, at its best learning rate of a sweep, {result['learning_rate']:g}; Prosa as they "
        "are, at the rate that its planner chooses, with as many rankings a step. One judge for both: the share of "
        f"pairs in {counts['held_out']:,} new rankings that the scores put in the true order."
    )
    target = "at least twice as fast as TRL at equal accuracy on new rankings, start included, memory not higher"
    return _write(result, method, "pair accuracy", 3, target)


def write_rl(record: dict[str, Any]) -> str:
    result = record["result"]
    lines = [
        f"The quickstart's own job: {result['steps']} steps of 256 answers of at most 48 tokens, four updates each",
        "(PPO goes over them twice), the same start, reward model, prompts and price of KL, a learning rate of "
        f"{result['learning_rate']:g}. Worth is the true one, of answers to held-out tasks.",
        _START.format(threads=result["threads"], **result["peer_versions"]),
        "Scores are the reward model's, the reference's and the critic's passes.\n",
    ]
    for algorithm, found in result["algorithms"].items():
        rows = []
        for precision, programs in found["parts"].items():
            for name, parts in programs.items():
                run = found["precisions"][precision]["programs"][name]
                split = (parts[part] for part in ("answers", "scores", "updates"))
                times = [show_spread(value, 1) for value in (run["train_seconds"], *split, run["seconds"])]
                ends = [
                    show_spread(run["peak_megabytes"], 0),
                    show_spread(run["quality"], 2),
                    show_spread(parts["kl"], 1),
                ]
                rows.append([f"{_NAMES[name]}, {precision}", *times, *ends])
        head = (algorithm.upper(), "steps, s", "answers", "scores", "updates", "whole, s", "memory, MB", "worth", "KL")
        lines.append(table(head, rows))
        for precision, judged in found["precisions"].items():
            ratios = judged["ratios"]
            is_met = judged["is_as_good"] and ratios["training"]["median"] >= _WANTED_OF_RL
            target = f"{algorithm.upper()} in {precision}: steps at least {_WANTED_OF_RL} times as fast, worth as much"
            lines.append(
                f"TRL's steps take {show_spread(ratios['training'], 2)} times as long, the whole "
                f"{show_spread(ratios['whole'], 2)} times, memory {show_spread(ratios['memory'], 2)} times. "
                + verdict(is_met and ratios["memory"]["median"] >= 1, f"{target}, memory not higher")
                + "\n"
            )
    return "\n".join(lines)


def _write(result: dict[str, Any], method: str, quality: str, digits: int, target: str) -> str:
    lines = [method, "", _SHARED.format(threads=result["threads"], **result["peer_versions"])]
    has_rate = any("learned_tokens_per_second" in run for run in _programs(result))
    head = ["", "seconds", "of these, steps", *(["learned tokens/s"] if has_rate else []), "memory, MB", quality]
    rows = []
    for precision, found in result["precisions"].items():
        for name, run in found["programs"].items():
            rate = [show_spread(run["learned_tokens_per_second"], 0)] if has_rate else []
            times = [show_spread(run[key], 1) for key in ("seconds", "train_seconds")]
            last = [show_spread(run["peak_megabytes"], 0), show_spread(run["quality"], digits)]
            rows.append([f"{_NAMES[name]}, {precision}", *times, *rate, *last])
    lines.append(table(head, rows))
    for precision, found in result["precisions"].items():
        ratios = {name: show_spread(ratio, 2) for name, ratio in found["ratios"].items()}
        lines.append(
            f"In {precision} TRL takes {ratios['whole']} times as long ({ratios['training']} in the steps alone) and "
            f"{ratios['memory']} times the memory. {verdict(found['is_met'], f'{precision}: {target}')}\n"
        )
    return "\n".join(lines)


def _programs(result: dict[str, Any]) -> list[dict[str, Any]]:
    return [run for found in result["precisions"].values() for run in found["programs"].values()]
