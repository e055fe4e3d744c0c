"""What a finished run says about itself: a run folder comes in, plain numbers for results and pages go out."""

import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_CURVE_POINTS = 120


def read_run(run: Path) -> dict[str, Any]:
    """Corpus, model, training, evaluation and curve of a run that `prosa run` has finished."""
    from prosa.corpus import describe_corpus, open_corpus
    from prosa.metrics import read_metrics
    from prosa.model import count_parameters
    from prosa.pretrain import read_job
    from prosa.tokenizer import open_shards

    job = read_job(run / "base")
    assert job is not None, "prosa run ended well without a job"
    shards = open_shards(run / "tokens", verify=False)
    n_bytes = sum(shards.n_bytes("train", source) for source in shards.sources)
    n_tokens = sum(shards.n_tokens("train", source) for source in shards.sources)
    records = read_metrics(run / "base" / "metrics.jsonl")
    corpus = describe_corpus(open_corpus(run / "corpus"))
    model = job.model
    return {
        "corpus": {name: corpus[name] for name in ("documents", "bytes", "languages", "duplicates")},
        "sources": [_describe_source(source) for source in corpus["sources"]],
        "model": {
            "parameters": count_parameters(model),
            "shape": f"{model.n_layer} x {model.d_model}",
            "context_length": model.context_length,
            "vocab_size": model.vocab_size,
        },
        "training": {
            "steps": job.fit.steps,
            "tokens": records[-1]["tokens_seen"],
            "bytes_per_token": n_bytes / n_tokens,
            "seconds": sum(record["time"]["seconds"] for record in records),
            "tokens_per_second": statistics.median(record["time"]["tokens_per_second"] for record in records),
            "matmul_share": statistics.median(record["time"]["matmul_share"] for record in records),
            "is_compiled": job.fit.is_compiled,
            "dtype": job.dtype,
        },
        "evaluation": json.loads((run / "evaluation" / "base.json").read_text(encoding="utf-8")),
        "curve": make_curve(records, n_bytes / n_tokens),
    }


def make_curve(records: Sequence[dict[str, Any]], bytes_per_token: float) -> dict[str, list[list[float]]]:
    """Bits per byte over tokens seen: of the training batches in means over equal stretches, and on validation."""
    finite = [record for record in records if isinstance(record["loss"], float)]
    size = max(1, -(-len(finite) // _CURVE_POINTS))
    train = []
    for start in range(0, len(finite), size):
        stretch = finite[start : start + size]
        nats = statistics.fmean(record["loss"] for record in stretch)
        train.append([stretch[-1]["tokens_seen"], round(nats / math.log(2) / bytes_per_token, 4)])
    checks = [[r["tokens_seen"], round(r["bits_per_byte"], 4)] for r in records if "bits_per_byte" in r]
    return {"train": train, "validation": checks}


def write_samples(run: Path, prompts: Sequence[str], *, max_new_tokens: int) -> list[dict[str, str]]:
    """One sample for each prompt, with seeds 1, 2, ... and none thrown away."""
    import prosa

    llm = prosa.load(run)
    samples = []
    for seed, prompt in enumerate(prompts, start=1):
        text = llm.generate(prompt, max_new_tokens=max_new_tokens, temperature=0.7, top_p=0.95, seed=seed)
        samples.append({"prompt": prompt, "text": str(text)})
    return samples


def _describe_source(source: dict[str, Any]) -> dict[str, Any]:
    counted = {
        name: {reason: entry["count"] for reason, entry in source[name].items()}
        for name in ("rejected", "skipped", "repaired")
    }
    return {"name": source["name"], "documents_read": source["documents_read"], "bytes": source["bytes"], **counted}
