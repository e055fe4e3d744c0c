"""The sections on speed: what the machine can do at most, training steps and writing beside other programs."""

from typing import Any

from benchmarks.tables import show_spread, table, verdict


def write_limits(record: dict[str, Any]) -> str:
    result = record["result"]
    bandwidth = ", ".join(f"{name} {rate:.1f}" for name, rate in result["bandwidth"].items())
    rows, parts = [], []
    for size, found in result["sizes"].items():
        for way, step in found["steps"].items():
            dtype = way.partition(",")[0]
            fastest = max(found["products"][dtype].values())
            milliseconds = (
                step["milliseconds"],
                *(step["phases"][name] for name in ("forward", "backward", "optimizer")),
            )
            speed = (f"{step['tokens_per_second']:,.0f}", f"{step['gflops']:,.0f}", f"{fastest:,.0f}")
            rows.append((f"{size}, {way}", *(f"{value:,.0f}" for value in milliseconds), *speed))
            kinds = ", ".join(f"{kind} {value:,.0f}" for kind, value in step["kinds"].items())
            parts.append(f"- {size}, {way}: {kinds}")
    head = ("", "step, ms", "forward", "backward", "optimizer", "tokens/s", "GFLOP/s", "fastest product, GFLOP/s")
    return "\n".join(
        (
            f"Memory, GB/s: {bandwidth} (one row: weights read once by a product, as in decoding). Training",
            "steps of 4,096 tokens in rows of 256, the phases of one step under torch's profiler:\n",
            table(head, rows),
            "Milliseconds of that step by kind of operation:\n",
            *parts,
            "",
        )
    )


def write_throughput(record: dict[str, Any]) -> str:
    result = record["result"]
    rows, notes, verdicts = [], [], []
    for case, found in result["cases"].items():
        rates = {way: one["tokens_per_second"]["median"] for way, one in found["ways"].items()}
        fastest = max((way for way in rates if way.startswith("prosa")), key=rates.__getitem__)
        ours = rates[fastest]
        peers = {way: rate for way, rate in rates.items() if way.startswith("transformers")}
        for way, one in found["ways"].items():
            share = rates[way] * found["flops_per_token"] / 1e9 / found["product_gflops"]
            times = "" if way.startswith("prosa") else f"{ours / rates[way]:.2f}"
            parts = (f"{1000 * one['learn_seconds']:,.0f}", f"{1000 * one['update_seconds']:,.0f}")
            numbers = (f"{one['peak_megabytes']:,.0f}", f"{one['first_step_seconds'][0]:.1f}", f"{share:.0%}", times)
            rows.append((f"{case}, {way}", show_spread(one["tokens_per_second"], 0), *parts, *numbers))
        notes += [f"- {case}, {way}: not measured, {problem[:200]}" for way, problem in found["problems"].items()]
        plain, best = ours / peers["transformers float32"], ours / max(peers.values())
        words = f"3 times transformers in float32 and 1.8 times its fastest at {case}: {plain:.2f} and {best:.2f}"
        verdicts.append(verdict(plain >= 3 and best >= 1.8, words))
        share = ours * found["flops_per_token"] / 1e9 / found["product_gflops"]
        wanted = {"14M, 256": 0.55, "124M, 256": 0.65}.get(case)
        if wanted:
            verdicts.append(verdict(share >= wanted, f"{wanted:.0%} of the matrix rate at {case}: {share:.1%}"))
        memory = {way: one["peak_megabytes"] for way, one in found["ways"].items()}
        mine, least = memory[fastest], min(memory[way] for way in peers)
        words = f"no more memory than any of the peer's at {case}: {mine / least:.2f}"
        # Until 1 December 2026 a peak could be that of the process that starts the others (docs/log.md).
        is_own = len(set(memory.values())) == len(memory)
        verdicts.append(verdict(mine <= least, words) if is_own else f"Memory at {case}: not measured.")
    peer = f" litgpt is {result['litgpt']}, in an environment of its own." if "litgpt" in result else ""
    head = (
        "model, context, program", "tokens/s", "learn, ms", "update, ms", "peak, MB", "first step, s",
        "of the matrix rate", "prosa's fastest is",
    )  # fmt: skip
    return "\n".join(
        (
            "Training steps of 16,384 tokens: forward and backward of 4,096 (learn) four times, then clipping and the",
            f"optimizer (update), Muon with AdamW here and AdamW there; {result['threads']} threads. Spreads are of",
            "single steps; the programs took turns. The matrix rate is that of the product d_model to d_ff in",
            f"{result.get('dtype', 'bfloat16')} with 4,096 rows.{peer}\n",
            table(head, rows),
            *notes,
            "",
            *(line + "\n" for line in verdicts),
            "Products alone allow no more than one over the peer's share of the matrix rate.\n",
        )
    )


def write_decoding(record: dict[str, Any]) -> str:
    result = record["result"]
    rows, notes = [], []
    for size, streams in result["sizes"].items():
        for n_streams, found in streams.items():
            peers = {way: rate["median"] for way, rate in found["rates"].items() if way.startswith("transformers")}
            fastest = max(peers.values())
            for way, rate in found["rates"].items():
                times = "" if way in peers else f"{rate['median'] / fastest:.2f}"
                rows.append((f"{size}, {n_streams} together, {way}", show_spread(rate, 0), times))
            for way, problem in found["problems"].items():
                notes.append(f"- {size}, {n_streams} together, {way}: not measured, {problem[:200]}")
            if n_streams == "1":
                n_bytes = found["weight_bytes_bfloat16"]
                reached = found["rates"]["prosa bfloat16"]["median"] * n_bytes / 1e9
                notes.append(f"- {size}: {n_bytes / 1e6:.0f} MB of weights in bfloat16, read at {reached:.1f} GB/s")
    verdicts = [
        _judge_decoding(result, *claim)
        for claim in (
            ("14M", "1", "transformers", 6.0),
            ("124M", "1", "transformers", 2.0),
            ("14M", "32", "transformers", 6.0),
            ("14M", "1", "llama.cpp", 1.0),
            ("124M", "1", "llama.cpp", 0.7),
        )
    ]
    read = result["bandwidth"]["one row, bfloat16"]
    return "\n".join(
        (
            f"{result['n_new']} new tokens after prompts of 32, the likeliest each time, {result['threads']} threads,",
            "from prompt to last token; loading and compiling are not counted. transformers is `generate`, llama.cpp",
            "is llama-cpp-python's own functions.\n",
            table(("", "tokens/s", "times the fastest transformers"), rows),
            f"torch's own product reads weights for one row at {read:.1f} GB/s:\n",
            *notes,
            "",
            *(line + "\n" for line in verdicts if line),
        )
    )


def _judge_decoding(result: dict[str, Any], size: str, n_streams: str, peer: str, target: float) -> str:
    """Our fastest beside the peer's fastest; nothing where one of them was not measured."""
    rates = result["sizes"].get(size, {}).get(n_streams, {}).get("rates", {})
    ours = max((rate["median"] for way, rate in rates.items() if way.startswith("prosa")), default=0.0)
    theirs = max((rate["median"] for way, rate in rates.items() if way.startswith(peer)), default=0.0)
    if not ours or not theirs:
        return ""
    words = f"{target:g} times {peer} at {size} with {n_streams} together: {ours / theirs:.2f}"
    return verdict(ours >= target * theirs, words)


def write_planner(record: dict[str, Any]) -> str:
    runs = record["result"]["runs"]
    rows = [
        (f"{run['corpus']}, {run['minutes']:g} minutes, seed {run['seed']}", f"{run['seconds']:,.0f}",
         f"{run['share']:.3f}", f"{run['parameters'] / 1e6:.1f}", f"{run['tokens'] / 1e6:.1f}",
         f"{run['ngrams'][0]:.3f}", f"{run['low']:.3f} to {run['high']:.3f}" if run["low"] else "nothing",
         f"{run['bits_per_byte']:.3f}")
        for run in runs
    ]  # fmt: skip
    worst = max(abs(run["share"] - 1) for run in runs)
    promised = [run for run in runs if run["low"]]
    n_kept = sum(run["low"] <= run["bits_per_byte"] <= run["high"] for run in promised)
    head = ("", "seconds", "of the minutes asked for", "million parameters", "million tokens", "five-grams", "promised",
            "bits per byte")  # fmt: skip
    return "\n".join(
        (
            "`prosa run` with `pretrain.minutes`: the stage from its start to the finished model, with compiling and",
            "what it measures first; beside it the bits per byte that n-grams need, the band that the plan printed,",
            "and what came out. At the commit below the band was fitted to none of these runs.\n",
            table(head, rows),
            verdict(worst <= 0.1, f"within 10 % of the minutes asked for: {worst:.1%} at most") + "\n",
            verdict(
                n_kept >= 0.9 * max(1, len(promised)),
                f"within the band in 9 of 10 runs that have one: {n_kept} of {len(promised)}",
            )
            + "\n",
        )
    )


def write_quality(record: dict[str, Any]) -> str:
    found = record["result"]
    bits, passed_over = found["bits_per_byte"], found.get("passed_over", [])
    rows = [_quality_row("prosa", found["runs"]["prosa"], bits["prosa"])]
    rows.append(_quality_row(_name_peer(found["peer"]), found["runs"]["peer"], bits["peer"]))
    rows += [_quality_row(_name_peer(one["peer"]), one["runs"], one["bits_per_byte"]) for one in passed_over]
    search = "looked for by runs of as many minutes (`--tune`; [log.md](log.md) says what was tried)."
    if passed_over:
        search = "the better of those that were best after ten minutes ([log.md](log.md))."
    head = ("", "million parameters", "million tokens", "seconds", "bits per byte")
    return "\n".join(
        (
            "Portuguese and English books (`configs/livros.toml`), the whole validation split. The peer reads the",
            "same tokens in the same order with AdamW, autocast to bfloat16 where that multiplies faster, and a",
            "cosine. Its size, rate and batch are",
            search,
            "The minutes are whole ones, compiling included; neither finds anything in the compiler's cache.\n",
            table(head, rows),
            verdict(
                found["fewer"] >= 0.1,
                f"10 % fewer bits per byte after {found['minutes']:g} minutes: {found['fewer']:.1%}",
            )
            + "\n",
        )
    )


def _name_peer(peer: dict[str, Any]) -> str:
    shape = f"{peer['n_layer']} x {peer['d_model']}"
    return f"transformers ({shape}, rate {peer['learning_rate']:g}, {peer['batch_size']} rows)"


def _quality_row(name: str, runs: list[dict[str, Any]], bits: dict[str, Any]) -> tuple[str, ...]:
    first = runs[0]
    numbers = (f"{first['parameters'] / 1e6:.1f}", f"{first['tokens'] / 1e6:.1f}", f"{first['seconds']:,.0f}")
    return (name, *numbers, show_spread(bits, 3))
