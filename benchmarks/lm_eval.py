"""Test sets scored by Prosa and by lm-evaluation-harness's `hf` backend on the same model: are the numbers the same?

A small random Qwen3 is made and saved by Prosa, or `--model` names a folder; the same items of the published sets go
to both. lm-evaluation-harness needs a Python of its own, with `lm_eval[hf]` installed: `--python`. Nothing is fetched.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measure import BenchmarkFailed, make_parser, read_words, say, write_result
from prosa.evaluate import (
    ChoiceItem,
    LastWord,
    measure_choices,
    measure_lambada,
    measure_minimal_pairs,
    read_choices,
    read_lambada,
    read_minimal_pairs,
)
from prosa.generate import LanguageModel, load
from prosa.streams import numpy_stream

SETS = {
    "blimp": "blimp/blimp_even.jsonl.gz",
    "arc_easy": "lm_tasks/arc_easy_even.jsonl.gz",
    "piqa": "lm_tasks/piqa_even.jsonl.gz",
    "copa": "lm_tasks/copa.jsonl.gz",
    "commonsense_qa": "lm_tasks/commonsense_qa_even.jsonl.gz",
    "winograd": "lm_tasks/winograd_wsc.jsonl.gz",
    "lambada": "lm_tasks/lambada_openai_even.jsonl.gz",
}
TOLERANCE = 1e-3


@dataclass(frozen=True, slots=True)
class Measured:
    """A set as one side measured it: its metrics, and the log-probability of every request in order."""

    metrics: dict[str, float]
    logprobs: list[float]


def main(argv: list[str] | None = None) -> int:
    parser = make_parser("lm_eval", __doc__, needs_data=True)
    parser.add_argument("--python", default=sys.executable, help="the Python in which lm_eval is installed")
    parser.add_argument("--model", type=Path, help="a model folder (default: a small random one is made)")
    parser.add_argument("--items", type=int, default=300, help="items of each set (default: 300)")
    chosen = read_words(parser, argv)
    n_items = 10 if chosen.smoke else chosen.items
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = chosen.model or make_random_model(folder / "made")
        llm = load(model)
        ours = {task: measure(llm, task, chosen.data / "evals" / path, n_items, folder) for task, path in SETS.items()}
        theirs, version = run_harness(chosen.python, model, sorted(ours), folder)
    result = {
        "lm_eval": version,
        "tolerance": TOLERANCE,
        "sets": {task: compare(ours[task], theirs[task]) for task in ours},
    }
    write_result("lm_eval", result, chosen)
    for task, row in result["sets"].items():
        say(f"{task}: {row}")
    return int(any(row["largest_difference"] > TOLERANCE for row in result["sets"].values()))


def make_random_model(folder: Path) -> Path:
    """A Qwen3 with large random weights, whose choices depend on every token, and a tokenizer trained on the spot."""
    import torch

    from prosa.corpus import CorpusSettings, SourceSettings, build_corpus
    from prosa.device import torch_stream
    from prosa.model import ModelSettings, Transformer, save_model
    from prosa.tokenizer import TokenizerSettings, train_tokenizer

    sources = (SourceSettings(path="world:size=300000"), SourceSettings(path="python:", max_bytes=1_000_000))
    corpus = build_corpus(CorpusSettings(sources=sources), folder / "corpus", workers=1)
    tokenizer = train_tokenizer(corpus, TokenizerSettings(vocab_size=4096), folder / "tokenizer")
    # A context of 256 is shorter than some items, so that cutting is compared too.
    settings = ModelSettings(
        vocab_size=tokenizer.vocab_size, n_layer=3, d_model=128, n_head=4, n_kv_head=2, d_head=32, d_ff=256,
        context_length=256,
    )  # fmt: skip
    model = Transformer(settings)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=torch_stream(0, name))
            weight.copy_(1 + 0.2 * noise if weight.ndim == 1 else noise * 0.12)
    save_model(folder / "model", model, tokenizer)
    return folder / "model"


def measure(llm: LanguageModel, task: str, path: Path, n_items: int, folder: Path) -> Measured:
    """Our numbers for a sample of a set, and the same items written down for the harness."""
    both, longest = (llm.model, llm.tokenizer), llm.model.settings.context_length
    if task == "lambada":
        words = sample(read_lambada(path), n_items)
        write_words(folder, task, words)
        report = measure_lambada(*both, words)
        metrics = {"acc": report.accuracy.share, "perplexity": report.perplexity}
        return Measured(metrics, report.logprobs.tolist())
    if task == "blimp":
        pairs = sample(read_minimal_pairs(path), n_items)
        items = [ChoiceItem(("", ""), (pair.good, pair.bad), 0) for pair in pairs]
    else:
        # The harness stops at a choice longer than the context; no text has more tokens than bytes.
        short = [item for item in read_choices(path) if max(len(choice.encode()) for choice in item.choices) < longest]
        items = sample(short, n_items)
    write_choices(folder, task, items)
    choices = measure_choices(*both, items)
    metrics = {"acc": choices.acc.accuracy, "acc_norm": choices.acc_norm.accuracy}
    if any(len(set(item.contexts)) > 1 for item in items):
        # There the harness divides by lengths of contexts, although it scores the same text after each of them.
        del metrics["acc_norm"]
    if task == "blimp":
        metrics["acc"] = measure_minimal_pairs(*both, pairs).total.accuracy
    return Measured(metrics, [float(value) for row in choices.logprobs for value in row])


def sample(items: Sequence[Any], n: int) -> list[Any]:
    """`n` items drawn without replacement, in their order."""
    drawn = numpy_stream(0, "items", len(items)).permutation(len(items))[:n]
    return [items[number] for number in sorted(drawn)]


def write_choices(folder: Path, task: str, items: Sequence[ChoiceItem]) -> None:
    """Items with one context ask for the choice, items with one choice for the context it fits."""
    has_one_context = all(len(set(item.contexts)) == 1 for item in items)
    records = [
        {"context": item.contexts[0], "choices": list(item.choices), "answer": item.answer}
        if has_one_context
        else {"choices": list(item.contexts), "continuation": item.choices[0], "answer": item.answer}
        for item in items
    ]
    text, target = ("context", "answer") if has_one_context else ("answer", "continuation")
    fields = {
        "output_type": "multiple_choice",
        "doc_to_text": text,
        "doc_to_target": target,
        "doc_to_choice": "choices",
    }
    metrics = {"acc": "mean", "acc_norm": "mean"} if has_one_context else {"acc": "mean"}
    write_task(folder, task, records, fields, metrics)


def write_words(folder: Path, task: str, words: Sequence[LastWord]) -> None:
    records = [{"context": word.context, "target": f" {word.word}"} for word in words]
    fields = {"output_type": "loglikelihood", "doc_to_text": "context", "doc_to_target": "target"}
    write_task(folder, task, records, fields, {"acc": "mean", "perplexity": "perplexity"})


def write_task(
    folder: Path, task: str, records: Sequence[dict[str, Any]], fields: dict[str, str], metrics: dict[str, str]
) -> None:
    """A task of the harness with its items in a file beside it; JSON is YAML."""
    tasks = folder / "tasks"
    tasks.mkdir(exist_ok=True)
    items = tasks / f"{task}.jsonl"
    items.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    value = {
        "task": f"same_{task}",
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(items)}},
        "test_split": "test",
        "num_fewshot": 0,
        **fields,
        "metric_list": [
            {"metric": name, "aggregation": how, "higher_is_better": name != "perplexity"}
            for name, how in metrics.items()
        ],
        "metadata": {"version": 1.0},
    }
    (tasks / f"{task}.yaml").write_text(json.dumps(value, indent=1), encoding="utf-8")


def run_harness(python: str, model: Path, tasks: Sequence[str], folder: Path) -> tuple[dict[str, Measured], str]:
    """Runs lm_eval's command line offline; BenchmarkFailed with its last words if it fails."""
    words = [python, "-m", "lm_eval", "--model", "hf", "--device", "cpu", "--batch_size", "16", "--log_samples"]
    words += ["--model_args", f"pretrained={model.absolute()},dtype=float32"]
    words += ["--include_path", str(folder / "tasks"), "--tasks", ",".join(f"same_{task}" for task in tasks)]
    words += ["--output_path", str(folder / "output")]
    offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
    environment = {**os.environ, **offline, "HF_HOME": str(folder / "cache"), "TOKENIZERS_PARALLELISM": "false"}
    # Not from the repository, where `lm_eval` could be this file.
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkFailed(f"lm_eval ended with {done.returncode}:\n{done.stdout[-1000:]}{done.stderr[-3000:]}")
    [path] = (folder / "output").rglob("results_*.json")
    results = json.loads(path.read_text(encoding="utf-8"))
    measured = {}
    for task in tasks:
        [samples] = path.parent.glob(f"samples_same_{task}_*.jsonl")
        metrics = {name.partition(",")[0]: value for name, value in results["results"][f"same_{task}"].items()}
        measured[task] = Measured(metrics, read_logprobs(samples))
    return measured, str(results.get("lm_eval_version", "unknown"))


def read_logprobs(samples: Path) -> list[float]:
    """The log-probability of every request of a task, from the samples that the harness logs."""
    records = [json.loads(line) for line in samples.read_text(encoding="utf-8").splitlines()]
    # Each request has an answer of its own, (log-probability, is greedy), within a list of repeats.
    return [
        float(request[0][0] if isinstance(request[0], list) else request[0])
        for record in sorted(records, key=lambda record: record["doc_id"])
        for request in record["resps"]
    ]


def compare(ours: Measured, theirs: Measured) -> dict[str, Any]:
    """Metrics of both sides and the largest differences: of a metric (relative for perplexity), of a request."""
    if len(ours.logprobs) != len(theirs.logprobs):
        raise BenchmarkFailed(f"{len(ours.logprobs)} requests here, {len(theirs.logprobs)} there")
    difference = max(
        abs(ours.metrics[name] - theirs.metrics[name]) / (theirs.metrics[name] if name == "perplexity" else 1)
        for name in ours.metrics
    )
    return {
        "n_requests": len(ours.logprobs),
        "ours": ours.metrics,
        "theirs": {name: theirs.metrics[name] for name in ours.metrics},
        "largest_difference": difference,
        "largest_difference_of_a_request": float(np.abs(np.subtract(ours.logprobs, theirs.logprobs)).max()),
    }


if __name__ == "__main__":
    sys.exit(main())
