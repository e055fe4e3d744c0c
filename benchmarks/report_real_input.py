"""The sections on real input: one job's result in, Markdown out."""

from typing import Any

from benchmarks.tables import show_interval, table, verdict


def write_job(record: dict[str, Any]) -> str:
    """What was read, what was trained, bits per byte by source beside xz, curve and samples."""
    result = record["result"]
    name = record["benchmark"]
    return "\n".join(
        (
            write_facts(result),
            write_bits(result["evaluation"]),
            f"![bits per byte over tokens](benchmarks/{name}.svg)\n",
            write_samples(result["samples"]),
        )
    )


def write_facts(result: dict[str, Any]) -> str:
    """One paragraph on corpus, model and training."""
    model, training, corpus = result["model"], result["training"], result["corpus"]
    n_bytes, n_documents = sum(corpus["bytes"].values()), sum(corpus["documents"].values())
    text = (
        f"{n_documents:,} documents, {n_bytes / 1e6:.1f} MB. A model of {model['parameters'] / 1e6:.1f}M parameters "
        f"({model['shape']}, context {model['context_length']}, vocabulary {model['vocab_size']:,}) read "
        f"{training['tokens'] / 1e6:.1f}M tokens in {training['steps']:,} steps: "
        f"{training['tokens_per_second']:,.0f} tokens/s, {training['matmul_share']:.0%} of the measured matmul rate, "
        f"{training['dtype']}, {'compiled' if training['is_compiled'] else 'eager'}. "
        f"The whole life took {result['wall_seconds'] / 60:.1f} minutes.\n"
    )
    lines = [
        f"- {source['name']}, {what}: " + ", ".join(f"{reason} {count:,}" for reason, count in source[what].items())
        for source in result["sources"]
        for what in ("rejected", "skipped", "repaired")
        if source[what]
    ]
    return "\n".join([text, *lines, ""] if lines else [text])


def write_bits(evaluation: dict[str, Any]) -> str:
    """Bits per byte on the validation split, by source, beside xz on the same bytes."""
    bits, xz = evaluation["bits_per_byte"], evaluation["xz"]
    groups = {"all": bits["total"], **(bits["by_source"] if len(bits["by_source"]) > 1 else {})}
    rows = [
        (
            name,
            f"{score['n_bytes']:,}",
            show_interval(score["bits_per_byte"], score["interval"]),
            f"{xz['total'] if name == 'all' else xz['by_source'][name]:.3f}",
        )
        for name, score in groups.items()
    ]
    if len(bits["by_language"]) > 1:
        rows += [
            (f"language: {name}", f"{score['n_bytes']:,}", show_interval(score["bits_per_byte"], score["interval"]), "")
            for name, score in bits["by_language"].items()
        ]
    total = bits["total"]["bits_per_byte"]
    return (
        table(("validation", "bytes", "bits per byte [95 %]", "xz -9e"), rows)
        + "\n"
        + verdict(total < xz["total"], f"fewer bits per byte than xz ({total:.3f} beside {xz['total']:.3f})")
        + "\n"
    )


def write_samples(samples: list[dict[str, str]]) -> str:
    """Each sample as it was written, the prompt in bold; temperature 0.7, top-p 0.95, seeds 1, 2, ... none left out."""
    lines = ["Samples (temperature 0.7, top-p 0.95, seeds 1, 2, ...; none left out); the model begins at the arrow:\n"]
    for sample in samples:
        text = f"{sample['prompt']}⟶{sample['text']}".replace("```", "'''")
        lines.append(f"```text\n{text}\n```\n")
    return "\n".join(lines)
