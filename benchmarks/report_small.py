"""The sections on quickstart, starting, town, corpus and tokenizer: one result in, Markdown out."""

from typing import Any

from benchmarks.report_real_input import write_bits, write_facts, write_samples
from benchmarks.tables import show_interval, show_spread, table, verdict

_QUICKSTART_SECONDS, _CLOZE = 360, 0.8
_IMPORT_SECONDS, _HELP_SECONDS, _WORLD_RATE = 0.3, 0.5, 2.0


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


def write_startup(record: dict[str, Any]) -> str:
    result = record["result"]
    rows = [(name, show_spread(times["warm"], 3), show_spread(times["cold"], 2)) for name, times in result.items()]
    bare = result["python alone"]["warm"]["median"]
    imported, helped = (result[name]["warm"]["median"] for name in ("import prosa", "prosa --help"))
    return "\n".join(
        (
            "Whole processes, in seconds. Warm: files in memory. Cold: put out of it before the start.\n",
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
    rows = [(f"encoding: {name}", show_spread(rate, 1)) for name, rate in result["encoding_mb_per_second"].items()]
    rows.append(("decoding: prosa", show_spread(result["decoding_mb_per_second"], 1)))
    ratios = ", ".join(f"{name} {ratio:.2f}" for name, ratio in result["bytes_per_token"]["language"].items())
    return "\n".join(
        (
            f"{result['n_bytes'] / 1e6:.0f} MB of the town and of Python's library; a vocabulary of "
            f"{result['vocab_size']:,} is learned in {show_spread(result['training_seconds'], 1, ' s')}. All encoders "
            "give the same ids; one core where it does not say otherwise.\n",
            table(("", "MB/s"), rows),
            f"Bytes per token by language: {ratios}.\n",
        )
    )


def _scaled(values: dict[str, Any], factor: float) -> dict[str, Any]:
    scaled = {name: factor * values[name] for name in ("low", "median", "high")}
    return {**scaled, "values": values["values"]}
