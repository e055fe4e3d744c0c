"""A reward model beside TRL's: the same trunk, rankings of four answers and threads, in float32 and in bfloat16.

Ours reads each ranking as one element, four passes; TRL reads its six pairs, twelve passes. The programs take turns,
each as a whole process from start to saved model; one judge counts held-out pairs that the scores put in true order.
"""

import os
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import tomli_w

from benchmarks.measure import prosa_words, read_words, run_process, say, write_result
from benchmarks.trl_peers import (
    PRECISIONS,
    Timed,
    make_peer_parser,
    peer_versions,
    run_peer,
    run_prosa,
    summarize,
    write_lines,
)

K = 4
_N_PAIRS = K * (K - 1) // 2
RANKINGS, TEST_RANKINGS = 480, 500
RANKINGS_A_STEP = 16
# The quickstart's shape over bytes, random, so that everything learned is learned from the rankings.
_TRUNK = {"n_layer": 3, "d_model": 192, "n_head": 6, "n_kv_head": 6, "d_head": 32, "d_ff": 512}
# Best of --sweep; ours has no rate of its own choice, but its planner's.
LEARNING_RATE = 5e-4
SWEEP = (2.5e-4, 5e-4, 1e-3, 2e-3)
# Closer than this, accuracies are called equal: half a point.
_EQUAL_ACCURACY = 0.005


def write_data(folder: Path, seed: int, n_train: int, n_test: int) -> dict[str, int]:
    """A random trunk, noisy rankings for both programs, and true ones for the judge.

    `trunk/` is a model folder; `rankings.jsonl` has whole rankings, `pairs.jsonl` every pair of them as the very ids
    that ours makes of them.
    """
    from benchmarks.reward_letters import make_items, rank_items
    from prosa.model import ModelSettings, Transformer, init_weights, save_model
    from prosa.preferences import SimulatedAnnotator, write_rankings
    from prosa.reward import encode_rankings, expand_pairs
    from prosa.tokenizer import Tokenizer

    tokenizer, context_length = Tokenizer([]), 96
    model = Transformer(ModelSettings(vocab_size=260, context_length=context_length, **_TRUNK))
    init_weights(model, seed)
    save_model(folder / "trunk", model, tokenizer)
    annotator = SimulatedAnnotator("noisy", temperature=0.5, seed=seed)
    ranked = rank_items(make_items(n_train, seed=seed, K=K), annotator)
    write_rankings(ranked, folder / "rankings.jsonl", "nemo")
    encoded, counts = encode_rankings(ranked, tokenizer, context_length, uses_ties=False)
    pairs = [(better, worse) for better, worse in (one.sequences for one in expand_pairs(encoded))]
    write_lines(
        folder / "pairs.jsonl",
        [{"chosen_ids": a, "rejected_ids": b, "length": max(len(a), len(b))} for a, b in pairs],
    )
    write_rankings(rank_items(make_items(n_test, seed=seed, K=K, split="test")), folder / "test.jsonl", "nemo")
    return {"rankings": counts.n_kept, "pairs": len(pairs), "held_out": n_test}


def judge(models: Sequence[Path], folder: Path) -> list[float]:
    """Share of the held-out pairs that each model's scores put in the true order."""
    from prosa.corpus import ReadReport
    from prosa.model import load_settings
    from prosa.preferences import read_rankings
    from prosa.reward import LossSettings, encode_rankings, evaluate_rankings, load_reward_model
    from prosa.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder / "trunk")
    context_length = load_settings(folder / "trunk").context_length
    ranked = list(read_rankings(folder / "test.jsonl", ReadReport()))
    encoded, _ = encode_rankings(ranked, tokenizer, context_length, uses_ties=False)
    return [
        evaluate_rankings(load_reward_model(model), encoded, LossSettings(), tokenizer)["validation_pair_accuracy"]
        for model in models
    ]


def prepare_run(data: Path, run: Path, precision: str, seed: int, threads: int) -> Path:
    """A run folder whose store holds the rankings; its settings choose nothing but numbers, threads and batch."""
    reward = {
        "validation_fraction": 0.0,
        "loss": {"ties": "drop"},
        "batch_size": RANKINGS_A_STEP,
        "seed": seed,
        "dtype": precision,
        "threads": threads,
    }
    values = {"name": "reward", "corpus": {"sources": [{"path": "world:small"}]}, "reward": reward}
    run.mkdir(parents=True)
    (run / "prosa.toml").write_text(tomli_w.dumps(values), encoding="utf-8")
    run_process(prosa_words("preferences", "import", run, data / "rankings.jsonl"))
    return run


def train_trl(
    python: str,
    data: Path,
    folder: Path,
    *,
    precision: str,
    seed: int,
    threads: int,
    learning_rate: float = LEARNING_RATE,
    is_compiled: bool = False,
) -> Timed:
    """RewardTrainer in a process of its own, with as many rankings a step."""
    words: list[str | Path] = [
        data / "trunk",
        data / "pairs.jsonl",
        folder,
        "--seed",
        str(seed),
        "--learning-rate",
        str(learning_rate),
    ]
    words += ["--batch-size", str(RANKINGS_A_STEP * _N_PAIRS), *PRECISIONS[precision]]
    words += ["--compile"] if is_compiled else []
    return run_peer(python, "benchmarks.trl_reward_peer", words, folder=folder, threads=threads)


def compare(
    python: str, folder: Path, *, seeds: int, threads: int, precisions: Sequence[str], n_train: int, n_test: int
) -> tuple[dict[str, dict[str, list[Timed]]], dict[str, int]]:
    """Both programs in turns, each seed with data and a trunk of its own."""
    runs: dict[str, dict[str, list[Timed]]] = defaultdict(lambda: defaultdict(list))
    counts: dict[str, int] = {}
    for seed in range(seeds):
        data = folder / f"data-{seed}"
        counts = write_data(data, seed, n_train, n_test)
        for precision in precisions:
            run = prepare_run(data, folder / f"prosa-{precision}-{seed}", precision, seed, threads)
            ours = run_prosa(["reward", run, "--trunk", data / "trunk"], stage=run / "reward", threads=threads)
            peer_folder = folder / f"trl-{precision}-{seed}"
            peer = train_trl(python, data, peer_folder, precision=precision, seed=seed, threads=threads)
            accuracies = judge([ours.folder, peer.folder], data)
            for name, timed, accuracy in zip(("prosa", "trl"), (ours, peer), accuracies, strict=True):
                runs[precision][name].append(replace(timed, quality=accuracy))
                say(f"seed {seed}, {precision:9} {name:6} {timed.seconds:6.1f} s, accuracy {accuracy:.3f}")
    return runs, counts


def sweep(python: str, folder: Path, threads: int) -> None:
    """Says what TRL reaches with other learning rates, and compiled, in bfloat16 with one seed."""
    data = folder / "data"
    write_data(data, 0, RANKINGS, TEST_RANKINGS)
    tried: list[dict[str, Any]] = [{"learning_rate": rate} for rate in SWEEP]
    tried.append({"is_compiled": True})
    for n, settings in enumerate(tried):
        timed = train_trl(python, data, folder / f"trl-{n}", precision="bfloat16", seed=0, threads=threads, **settings)
        [accuracy] = judge([timed.folder], data)
        say(f"{settings}: {timed.train_seconds:.1f} s training, accuracy {accuracy:.3f}")


def main(argv: list[str] | None = None) -> int:
    parser = make_peer_parser("trl_reward", __doc__)
    parser.add_argument("--sweep", action="store_true", help="look for TRL's best settings instead; writes nothing")
    chosen = read_words(parser, argv)
    versions = peer_versions(chosen.peer_python)
    if versions is None:
        return 0
    threads = chosen.threads or os.cpu_count() or 1
    with tempfile.TemporaryDirectory() as name:
        if chosen.sweep:
            sweep(chosen.peer_python, Path(name), threads)
            return 0
        n_train, n_test, seeds = (32, 8, 1) if chosen.smoke else (RANKINGS, TEST_RANKINGS, chosen.seeds)
        sizes: dict[str, Any] = {"seeds": seeds, "n_train": n_train, "n_test": n_test, "threads": threads}
        precisions = ["float32"] if chosen.smoke else list(PRECISIONS)
        runs, counts = compare(chosen.peer_python, Path(name), precisions=precisions, **sizes)
    found = summarize(runs, is_higher_better=True, tolerance=_EQUAL_ACCURACY)
    shared = {"threads": threads, "learning_rate": LEARNING_RATE, "peer_versions": versions, "counts": counts}
    write_result("trl_reward", {**shared, "precisions": found}, chosen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
