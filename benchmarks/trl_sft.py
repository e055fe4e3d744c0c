"""Fine-tuning beside TRL: the same weights, conversations, learned tokens and threads, in float32 and in bfloat16.

Both programs learn in turns, each as a whole process from start to saved model; one judge reads held-out conversations
with both models. TRL's settings are the best that were found for it here: see `SETTINGS` and `--sweep`.
"""

import json
import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.measure import REPO, prosa_words, read_words, run_process, say, write_result
from benchmarks.trl_peers import (
    PRECISIONS,
    Timed,
    make_peer_parser,
    peer_versions,
    read_lines,
    run_peer,
    run_prosa,
    summarize,
    write_lines,
)

CONFIG = REPO / "configs" / "quickstart.toml"
# The quickstart's shape, trained just long enough to write words.
_BASE = ("pretrain.depth=3", "pretrain.d_model=192", "pretrain.context_length=256", "pretrain.compile=no")
_BASE_STEPS = 200
CONVERSATIONS = 4000
_HELD_OUT = 0.1
# How often each program reads all conversations: the goal is the loss that TRL ends with, by the shortest way.
EPOCHS = {"prosa": 1.2, "prosa, as it comes": 2, "trl": 2}
# Found for each by a small sweep (TRL's is --sweep).
OURS: dict[str, dict[str, Any]] = {
    "prosa": {"batch_size": 12, "matrix_learning_rate": 0.02, "learning_rate": 8e-3},
    "prosa, as it comes": {},
}
SETTINGS: dict[str, Any] = {"batch_size": 12, "learning_rate": 1e-3, "loss": "chunked_nll"}
SWEEP: tuple[dict[str, Any], ...] = (
    *({**SETTINGS, "learning_rate": rate} for rate in (5e-4, 1e-3, 2e-3, 4e-3)),
    *({**SETTINGS, "batch_size": rows, "learning_rate": 2e-3} for rows in (24, 48)),
    {**SETTINGS, "loss": "nll"},
    {**SETTINGS, "is_compiled": True},
)
# Closer than this, losses in nats are called equal.
_EQUAL_LOSS = 0.01


def make_base(folder: Path, steps: int, threads: int) -> Path:
    """A small model of our own pre-training on the built-in town, as a model folder that both programs open."""
    length = ("pretrain.minutes=0", f"pretrain.steps={steps}", f"pretrain.threads={threads}")
    run_process(prosa_words("pretrain", CONFIG, *_BASE, *length, "--run", folder))
    return folder / "base" / "model"


def write_data(base: Path, source: str, n: int, folder: Path) -> dict[str, int]:
    """The same conversations for both programs, as `train.jsonl` (messages) and `rows.jsonl` (ids and labels).

    `held_out.jsonl` has the rows of the judge: other questions than those that are learned.
    """
    from prosa.corpus import ReadReport
    from prosa.model import load_settings
    from prosa.sft import ConversationSource, SftBatches, SftSettings, prepare_data, read_conversations
    from prosa.tokenizer import Tokenizer

    tokenizer, context_length = Tokenizer.load(base), load_settings(base).context_length
    sources = (ConversationSource(path=source, max_conversations=n),)
    data = prepare_data(SftSettings(sources=sources, validation_fraction=_HELD_OUT), tokenizer, context_length)
    said = {one.id: list(map(dict, one.messages)) for one in read_conversations(sources[0], ReadReport())}
    write_lines(folder / "train.jsonl", [{"messages": said[item.id]} for item in data.train])
    for name, items in (("rows", data.train), ("held_out", data.validation)):
        rows = [(item.ids.tolist(), item.is_target.tolist()) for item in items]
        labels = ([id if is_target else -100 for id, is_target in zip(*row, strict=True)] for row in rows)
        lines = [
            {"input_ids": ids, "labels": found, "length": len(ids)}
            for (ids, _), found in zip(rows, labels, strict=True)
        ]
        write_lines(folder / f"{name}.jsonl", lines)
    batches = SftBatches(data.train, context_length=context_length, batch_size=1, pad_id=0, seed=0)
    return {
        "conversations": len(data.train),
        "held_out": len(data.validation),
        "learned_tokens": sum(item.n_targets for item in data.train),
        "tokens": sum(item.length for item in data.train),
        "packed_rows": len(batches.rows(0)),
    }


def judge(models: Sequence[Path], held_out: Path) -> list[float]:
    """Nats a learned token of each model on the held-out conversations, in float32 by our own evaluation."""
    import numpy as np

    from prosa.device import choose_device
    from prosa.model import load_model
    from prosa.sft import EncodedConversation, mean_loss

    device = choose_device("cpu", "float32")
    conversations = []
    for row in read_lines(held_out):
        is_target = np.array(row["labels"]) != -100
        conversations.append(EncodedConversation(np.array(row["input_ids"]), is_target, "", "", "", ""))
    losses = []
    for folder in models:
        model = load_model(folder)
        length = model.settings.context_length
        losses.append(mean_loss(model, conversations, context_length=length, pad_id=0, device=device))
    return losses


def fine_tune_prosa(base: Path, data: Path, run: Path, way: str, precision: str, seed: int, threads: int) -> Timed:
    """`prosa sft` with nothing chosen but length, numbers, threads and what that way of ours says."""
    sft = {
        "sources": [{"path": str(data / "train.jsonl"), "name": "train"}],
        "validation_fraction": 0.0,
        "epochs": EPOCHS[way],
        "seed": seed,
        "dtype": precision,
        "threads": threads,
        **OURS[way],
    }
    settings = run.parent / f"{run.name}.toml"
    settings.write_text(
        tomli_w.dumps({"name": "sft", "corpus": {"sources": [{"path": "world:small"}]}, "sft": sft}), encoding="utf-8"
    )
    timed = run_prosa(["sft", settings, "--run", run, "--base", base], stage=run / "sft", threads=threads)
    learned = json.loads((run / "sft" / "data.json").read_text(encoding="utf-8"))["train"]["learned_tokens"]
    labels = [row["labels"] for row in read_lines(data / "rows.jsonl")]
    assert learned == sum(label != -100 for row in labels for label in row), "the programs learn different tokens"
    return timed


def fine_tune_trl(
    python: str,
    base: Path,
    data: Path,
    folder: Path,
    *,
    precision: str,
    seed: int,
    threads: int,
    batch_size: int,
    learning_rate: float,
    loss: str,
    is_compiled: bool = False,
) -> Timed:
    """SFTTrainer in a process of its own."""
    words: list[str | Path] = [
        base,
        data / "rows.jsonl",
        folder,
        "--seed",
        str(seed),
        "--epochs",
        str(EPOCHS["trl"]),
        "--loss",
        loss,
    ]
    words += ["--batch-size", str(batch_size), "--learning-rate", str(learning_rate), *PRECISIONS[precision]]
    words += ["--compile"] if is_compiled else []
    return run_peer(python, "benchmarks.trl_sft_peer", words, folder=folder, threads=threads)


def compare(
    python: str, base: Path, data: Path, folder: Path, *, seeds: int, threads: int, precisions: Sequence[str]
) -> dict[str, dict[str, list[Timed]]]:
    """All programs in turns, seed by seed."""
    runs: dict[str, dict[str, list[Timed]]] = defaultdict(lambda: defaultdict(list))

    def note(precision: str, name: str, timed: Timed) -> Timed:
        runs[precision][name].append(timed)
        say(f"{precision:9} {name:19} {timed.seconds:6.1f} s, {timed.train_seconds:6.1f} s training")
        return timed

    for seed in range(seeds):
        for precision in precisions:
            fixed: dict[str, Any] = {"precision": precision, "seed": seed, "threads": threads}
            # As it comes, it computes in bfloat16 wherever that is faster.
            for way in OURS if precision == "bfloat16" else ("prosa",):
                run = folder / f"{way}-{precision}-{seed}"
                note(precision, way, fine_tune_prosa(base, data, run, way, **fixed))
            peer_folder = folder / f"trl-{precision}-{seed}"
            note(precision, "trl", fine_tune_trl(python, base, data, peer_folder, **fixed, **SETTINGS))
    return runs


def sweep(python: str, base: Path, data: Path, folder: Path, threads: int) -> list[dict[str, Any]]:
    """Every setting of TRL that was tried, in bfloat16 with one seed."""
    fixed: dict[str, Any] = {"precision": "bfloat16", "seed": 0, "threads": threads}
    tried = [
        fine_tune_trl(python, base, data, folder / f"trl-{n}", **{**fixed, **settings})
        for n, settings in enumerate(SWEEP)
    ]
    losses = judge([timed.folder for timed in tried], data / "held_out.jsonl")
    return [
        {**settings, "train_seconds": timed.train_seconds, "loss": loss}
        for settings, timed, loss in zip(SWEEP, tried, losses, strict=True)
    ]


def measure(chosen: Any, versions: dict[str, str], folder: Path) -> dict[str, Any]:
    """Everything, from the base model to the summary."""
    n, seeds = (120, 1) if chosen.smoke else (CONVERSATIONS, chosen.seeds)
    threads = chosen.threads or os.cpu_count() or 1
    base = chosen.base or make_base(folder / "base", 2 if chosen.smoke else _BASE_STEPS, threads)
    data = folder / "data"
    counts = write_data(base, chosen.conversations, n, data)
    say(f"{counts}")
    if chosen.sweep:
        for tried in sweep(chosen.peer_python, base, data, folder, threads):
            say(f"{tried}")
        return {}
    precisions = ["bfloat16"] if chosen.smoke else list(PRECISIONS)
    runs = compare(chosen.peer_python, base, data, folder, seeds=seeds, threads=threads, precisions=precisions)
    everything = [timed for programs in runs.values() for done in programs.values() for timed in done]
    losses = iter(judge([base, *(timed.folder for timed in everything)], data / "held_out.jsonl"))
    base_loss = next(losses)
    judged = {
        precision: {name: [replace(timed, quality=next(losses)) for timed in done] for name, done in programs.items()}
        for precision, programs in runs.items()
    }
    n_learned = {name: counts["learned_tokens"] * epochs for name, epochs in EPOCHS.items()}
    found = summarize(judged, is_higher_better=False, tolerance=_EQUAL_LOSS, n_learned=n_learned)
    settings = {**OURS, "trl": SETTINGS}
    shared = {"epochs": EPOCHS, "threads": threads, "settings": settings, "peer_versions": versions}
    return {**shared, "counts": counts, "base_loss": base_loss, "precisions": found}


def main(argv: list[str] | None = None) -> int:
    parser = make_peer_parser("trl_sft", __doc__)
    parser.add_argument("--base", type=Path, help="model folder to start from (default: one is trained first)")
    parser.add_argument("--conversations", default="world:small", help="what is learned, as in docs/sft.md")
    parser.add_argument("--sweep", action="store_true", help="look for TRL's best settings instead; writes nothing")
    chosen = read_words(parser, argv)
    versions = peer_versions(chosen.peer_python)
    if versions is None:
        return 0
    with tempfile.TemporaryDirectory() as name:
        result = measure(chosen, versions, Path(name))
    if result:
        write_result("trl_sft", result, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
