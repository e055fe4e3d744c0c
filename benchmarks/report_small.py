"""The sections on quickstart, starting, town, corpus and tokenizer: one result in, Markdown out."""

from typing import Any

from benchmarks.report_real_input import write_bits, write_facts, write_samples
from benchmarks.tables import show_interval, show_spread, table, verdict

_QUICKSTART_SECONDS, _CLOZE, _RIGHT, _ENDS = 360, 0.8, 0.7, 0.98
_IMPORT_SECONDS, _HELP_SECONDS, _WORLD_RATE = 0.3, 0.5, 2.0
# What is shown of an assistant's answers, by the name of the measure.
ANSWER_MEASURES = {
    "right": "held-out phrasings: right",
    "right_new_asked": "asked in training, phrased anew: right",
    "right_new_read": "only read in articles, phrased anew: right",
    "hallucinates": "unknown things: invents (hallucination)",
    "abstains_unknown": "unknown things: says it does not know",
    "abstains_known": "known things: says it does not know",
    "form": "form asked for: followed",
    "declines": "harmful requests: declined",
    "over_refuses": "harmless look-alikes: declined",
    "talks": "small talk: fitting answers",
    "ends": "answers that end by themselves",
}


def write_quickstart(record: dict[str, Any]) -> str:
    result = record["result"]
    rows = [
        ("wall time, seconds", show_spread(result["wall_seconds"], 0)),
        ("bits per byte, validation", show_spread(result["bits_per_byte"], 3)),
        ("xz -9e on the same bytes", f"{result['xz_bits_per_byte']:.3f}"),
        ("tokens/s", show_spread(result["tokens_per_second"], 0)),
        (
            "share of the matmul rate, %",
            show_spread(_scaled(result["matmul_share"], 100), 0),
        ),
    ]
    for run in result["cloze"]:
        for language, score in run["by_language"].items():
            right = show_interval(score["accuracy"], score["interval"], 2)
            rows.append(
                (
                    f"world facts, {language}, seed {run['seed']}",
                    f"{right}, of {score['n']}; chance {score['chance']:.2f}",
                )
            )
    seconds = result["wall_seconds"]["high"]
    lowest = min(run["total"]["accuracy"] for run in result["cloze"])
    first = result["first"]
    return "\n".join(
        (
            "`prosa run configs/quickstart.toml`, as a new user starts it.\n",
            table(("", "measured"), rows),
            verdict(seconds <= _QUICKSTART_SECONDS, f"at most six minutes ({seconds / 60:.1f} at the longest)"),
            verdict(lowest >= _CLOZE, f"world facts at least 80 % right ({lowest:.0%} at the lowest seed)") + "\n",
            write_facts(first),
            write_bits(first["evaluation"]),
            f"![bits per byte over tokens](benchmarks/{record['benchmark']}.svg)\n",
            write_samples(first["samples"]),
        )
    )


def write_answers(record: dict[str, Any]) -> str:
    """What fine-tuning makes of the quickstart's base models; every line a seed of its own."""
    runs = record["result"]["runs"]
    seeds = [f"seed {run['seed']}" for run in runs]

    def rows(drawing: str) -> list[tuple[str, ...]]:
        found = []
        for key, label in ANSWER_MEASURES.items():
            shares = [run["sft"][drawing]["measures"][key]["all"] for run in runs]
            found.append((label, *(show_interval(one["share"], one["interval"], 2) for one in shares)))
        gold = [run["sft"][drawing]["gold_reward"]["all"] for run in runs]
        return [*found, ("true worth, -1 to 1", *(show_interval(one["mean"], one["interval"], 2) for one in gold))]

    right, ends = (
        min(run["sft"]["greedy"]["measures"][key]["all"]["share"] for run in runs) for key in ("right", "ends")
    )
    return "\n".join(
        (
            "The fine-tuned models of `prosa run configs/quickstart.toml`, asked by `prosa evaluate --answers`: 95 %",
            "intervals over the questions. Greedy:\n",
            table(("", *seeds), rows("greedy")),
            "Sampled at temperature 1:\n",
            table(("", *seeds), rows("sampled")),
            verdict(right >= _RIGHT, f"held-out questions at least 70 % right ({right:.1%} at the lowest seed)"),
            verdict(ends >= _ENDS, f"at least 98 % of the answers end ({ends:.1%} at the lowest seed)") + "\n",
        )
    )


def write_startup(record: dict[str, Any]) -> str:
    result = record["result"]
    rows = [(name, show_spread(times["warm"], 3), show_spread(times["cold"], 2)) for name, times in result.items()]
    bare = result["python alone"]["warm"]["median"]
    imported, helped = (result[name]["warm"]["median"] for name in ("import prosa", "prosa --help"))
    return "\n".join(
        (
            "In seconds; whole processes, or from the start of one to the record of a new job's first step, for which",
            "text and tokens are there. Warm: files in memory. Cold: put out of it before the start, and nothing kept",
            "by torch.compile.\n",
            table(("", "warm", "cold"), rows),
            verdict(
                imported <= _IMPORT_SECONDS,
                f"`import prosa` under 0.3 s ({imported:.3f} with Python's own start, of which that is {bare:.3f})",
            ),
            verdict(helped <= _HELP_SECONDS, f"`prosa --help` under 0.5 s ({helped:.3f})") + "\n",
        )
    )


def write_world(record: dict[str, Any]) -> str:
    result = record["result"]
    writing = result["writing"]
    rows = [("the town writes, 1 process", show_spread(writing["mb_per_second"], 2))]
    rows += [(f"corpus {name}", show_spread(rate, 2)) for name, rate in result["corpus"].items()]
    rate = writing["mb_per_second"]["median"]
    return "\n".join(
        (
            f"{result['n_bytes'] / 1e6:.0f} MB of text, {writing['documents']:,} documents, {writing['word_forms']:,} "
            f"distinct word forms; all {result['cores']} cores where it says so.\n",
            table(("", "MB/s"), rows),
            verdict(rate >= _WORLD_RATE, f"the town writes at least 2 MB/s a core ({rate:.2f})") + "\n",
        )
    )


def write_tokenizer(record: dict[str, Any]) -> str:
    result = record["result"]
    training, rates = result["training_seconds"], result["encoding_mb_per_second"]
    encoding = {**rates, "decoding, prosa": result["decoding_mb_per_second"]}
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in result["bytes_per_token"]["language"].items())
    longer = [_compare(training, f"prosa, {cores}", f"tokenizers, {cores}") for cores in ("one core", "all cores")]
    faster = [_compare(rates, f"prosa{cores}", f"tiktoken{cores}") for cores in ("", ", all cores")]
    trained = "{:.2f} times the seconds of `tokenizers` alone with one core, {:.2f} with all".format(*longer)
    encoded = "{:.2f} times as fast as tiktoken with one core, {:.2f} with all".format(*faster)
    return "\n".join(
        (
            f"{result['n_bytes'] / 1e6:.0f} MB of the town and of Python's library; a vocabulary of"
            f" {result['vocab_size']:,}. Training goes",
            "from the corpus on disk to a tokenizer on disk. All encoders give the same ids, with one core where it",
            "does not say otherwise; ours is tiktoken's, with control tokens.\n",
            table(("training", "seconds"), [(name, show_spread(one, 2)) for name, one in training.items()]),
            table(("encoding", "MB/s"), [(name, show_spread(rate, 1)) for name, rate in encoding.items()]),
            verdict(max(longer) <= 1, f"training no slower than `tokenizers` alone: {trained}") + "\n",
            verdict(min(faster) >= 0.97, f"encoding as fast as tiktoken, to 3 %: {encoded}") + "\n",
            f"Bytes per token by language: {ratios}.\n",
        )
    )


def _compare(values: dict[str, Any], ours: str, theirs: str) -> float:
    return float(values[ours]["median"] / values[theirs]["median"])


def write_lm_eval(record: dict[str, Any]) -> str:
    """Each test set beside lm-evaluation-harness."""
    result = record["result"]
    rows = [
        f"| {name} | {one['n_requests']:,} | {', '.join(f'{key} {value:.4g}' for key, value in one['ours'].items())} "
        f"| {one['largest_difference']:.1g} | {one['largest_difference_of_a_request']:.1g} |"
        for name, one in sorted(result["sets"].items())
    ]
    return "\n".join(
        [
            f"The same items, scored here and by lm-evaluation-harness {result['lm_eval']} (its `hf` backend), by a",
            "small random model: the largest difference of a metric (relative for perplexity), of a request in nats.",
            "",
            "| set | requests | here | metric differs by | a request by |",
            "| --- | ---: | --- | ---: | ---: |",
            *rows,
        ]
    )


def _scaled(values: dict[str, Any], factor: float) -> dict[str, Any]:
    scaled = {name: factor * values[name] for name in ("low", "median", "high")}
    return {**scaled, "values": values["values"]}


def write_attention(record: dict[str, Any]) -> str:
    """Milliseconds by row width, and what ours gains."""
    rows = [
        (
            f"{row['dtype']}, rows of {row['width']}",
            f"{row['torch']:.1f}",
            f"{row['prosa']:.1f}",
            f"{row['torch'] / row['prosa']:.1f}",
        )
        for row in record["result"]["rows"]
    ]
    return "\n".join(
        (
            "Forward and backward of 6 heads of 32 over 4,096 tokens in milliseconds, median of 20, freed memory kept.",
            "Where torch's own is as fast, it is what we use.\n",
            table(("", "torch's own", "prosa", "ratio"), rows),
        )
    )
