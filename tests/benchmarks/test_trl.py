"""The comparisons with TRL: what is claimed from which numbers, equal data for both, and both programs in small."""

import json
import sys
from argparse import Namespace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import trl_reward, trl_rl, trl_sft
from benchmarks.measure import BenchmarkFailed, write_result
from benchmarks.report_trl import write_reward, write_rl, write_sft
from benchmarks.trl_peers import Timed, peer_versions, read_lines, run_measured, summarize
from benchmarks.trl_sft_peer import fast_arguments, make_parser
from prosa.model import ModelSettings, Transformer, init_weights, save_model
from prosa.tokenizer import Tokenizer

needs_trl = pytest.mark.skipif(find_spec("trl") is None, reason="TRL is not installed (extra `peers`)")


_BOTH = ("prosa", "trl")


def timed(seconds: float, quality: float, peak_bytes: int = 1000) -> Timed:
    return Timed(seconds, seconds / 2, peak_bytes, 10, Path("model"), quality)


def write_base(folder: Path) -> Path:
    shape = {"n_layer": 1, "d_model": 64, "n_head": 2, "n_kv_head": 2, "d_head": 32, "d_ff": 64}
    model = Transformer(ModelSettings(vocab_size=260, context_length=256, **shape))
    init_weights(model, 0)
    save_model(folder, model, Tokenizer([]))
    return folder


@pytest.mark.parametrize(
    ("ours", "is_met"),
    [
        (timed(5, 0.50), True),
        (timed(5, 0.505), True),  # closer than the tolerance
        (timed(5, 0.60), False),  # faster, but worse
        (timed(6, 0.40), False),  # better, but not twice as fast
        (timed(5, 0.40, 2000), False),  # needs more memory
    ],
)
def test_the_claim_needs_speed_quality_and_memory(ours: Timed, is_met: bool) -> None:
    runs = {"float32": {"prosa": [ours] * 3, "trl": [timed(11, 0.50)] * 3}}
    found = summarize(runs, is_higher_better=False, tolerance=0.01)["float32"]
    assert found["is_met"] is is_met
    assert found["ratios"]["whole"].median == pytest.approx(11 / ours.seconds)


def test_more_is_better_where_it_is_an_accuracy() -> None:
    runs = {"float32": {"prosa": [timed(5, 0.9)], "trl": [timed(11, 0.8)]}}
    assert summarize(runs, is_higher_better=True, tolerance=0.005)["float32"]["is_as_good"]
    assert not summarize(runs, is_higher_better=False, tolerance=0.005)["float32"]["is_as_good"]


def test_steps_of_reinforcement_learning_are_to_be_five_times_as_fast(tmp_path: Path) -> None:
    parts = {name: trl_rl.spread_each([{"answers": 1.0, "scores": 1.0, "updates": 3.0, "kl": 2.0}]) for name in _BOTH}
    for peer_seconds, words in ((60, "**Met**: PPO in float32"), (49, "**Missed**: PPO in float32")):
        runs = {"float32": {"prosa": [timed(10, 0.5)], "trl": [timed(peer_seconds, 0.5)]}}
        judged = summarize(runs, is_higher_better=True, tolerance=0.1)
        found = {"ppo": {"precisions": judged, "parts": {"float32": parts}}}
        shared = {"threads": 2, "peer_versions": {"trl": "1.9.2", "transformers": "5"}}
        result = {"steps": 24, "learning_rate": 3e-4, "algorithms": found, **shared}
        path = write_result("trl_rl", result, Namespace(command="", results=tmp_path, smoke=False))
        assert words in write_rl(json.loads(path.read_text(encoding="utf-8")))


def test_a_childs_memory_is_its_own() -> None:
    small = [run_measured([sys.executable, "-c", f"print(len(bytearray({n})))"], threads=1) for n in (1, 50_000_000)]
    # Less than this process, which has torch, holds.
    assert small[0][1] < 40_000_000
    assert small[1][1] - small[0][1] == pytest.approx(50_000_000, rel=0.1)
    assert small[1][2] == "50000000\n"
    with pytest.raises(BenchmarkFailed, match="no such thing"):
        run_measured([sys.executable, "-c", "raise SystemExit('no such thing')"], threads=1)


def test_both_learn_the_same_tokens_and_none_is_held_out(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    counts = trl_sft.write_data(base, "world:small", 60, tmp_path / "data")
    said, rows, held_out = (read_lines(tmp_path / "data" / f"{name}.jsonl") for name in ("train", "rows", "held_out"))
    assert len(said) == len(rows) == counts["conversations"]
    tokenizer = Tokenizer.load(base)
    for conversation, row in zip(said, rows, strict=True):
        learned = [label for label in row["labels"] if label != -100]
        assert all(label in (-100, id) for id, label in zip(row["input_ids"], row["labels"], strict=True))
        answers = [message["content"] for message in conversation["messages"] if message["role"] == "assistant"]
        assert tokenizer.decode(learned) == "".join(answers)
        assert learned.count(tokenizer.im_end_id) == len(answers)
    assert sum(label != -100 for row in rows for label in row["labels"]) == counts["learned_tokens"]
    assert not {tuple(row["input_ids"]) for row in rows} & {tuple(row["input_ids"]) for row in held_out}


def test_the_judge_is_independent_of_the_program(tmp_path: Path) -> None:
    import torch
    import torch.nn.functional as F

    from prosa.model import load_model

    base = write_base(tmp_path / "base")
    trl_sft.write_data(base, "world:small", 40, tmp_path / "data")
    model, total, n = load_model(base), 0.0, 0
    for row in read_lines(tmp_path / "data" / "held_out.jsonl"):
        labels = torch.tensor(row["labels"][1:])
        with torch.inference_mode():
            logits = model(torch.tensor([row["input_ids"]]))[0, :-1]
        total += float(F.cross_entropy(logits, labels, reduction="sum"))
        n += int((labels != -100).sum())
    [found] = trl_sft.judge([base], tmp_path / "data" / "held_out.jsonl")
    assert found == pytest.approx(total / n, rel=1e-5)


def test_pairs_are_those_of_the_rankings(tmp_path: Path) -> None:
    counts = trl_reward.write_data(tmp_path, 0, 10, 4)
    assert counts["pairs"] == 6 * counts["rankings"]
    pairs = read_lines(tmp_path / "pairs.jsonl")
    tokenizer = Tokenizer.load(tmp_path / "trunk")
    for row in read_lines(tmp_path / "rankings.jsonl"):
        by_rank = [said["completion"][0]["content"] for said in sorted(row["completions"], key=lambda c: c["rank"])]
        wanted = {(a, b) for number, a in enumerate(by_rank) for b in by_rank[number + 1 :]}
        texts = {
            tuple(tokenizer.decode(pair[side]).partition("assistant\n")[2] for side in ("chosen_ids", "rejected_ids"))
            for pair in pairs
        }
        assert wanted <= texts


def test_without_trl_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "python")
    for benchmark in (trl_sft, trl_reward):
        assert benchmark.main(["--peer-python", missing, "--results", str(tmp_path)]) == 0
    assert "nothing measured" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert peer_versions(missing) is None


def test_the_peer_is_set_to_be_fast() -> None:
    chosen = make_parser(None).parse_args(["m", "r", "f", "--batch-size", "4", "--learning-rate", "0.001"])
    arguments = fast_arguments(chosen)
    assert arguments["use_cpu"]
    assert not arguments["gradient_checkpointing"]
    assert not arguments["bf16"]
    assert arguments["train_sampling_strategy"] == "group_by_length"


@needs_trl
def test_fine_tuning_runs_beside_trl(tmp_path: Path) -> None:
    base = write_base(tmp_path / "base")
    words = ["--smoke", "--threads", "1", "--base", str(base), "--results", str(tmp_path)]
    assert trl_sft.main(words) == 0
    record = json.loads((tmp_path / "trl_sft.json").read_text(encoding="utf-8"))
    assert set(record["result"]["precisions"]["bfloat16"]["programs"]) == {"prosa", "prosa, as it comes", "trl"}
    assert "held-out loss" in write_sft(record)


@needs_trl
def test_reward_training_runs_beside_trl(tmp_path: Path) -> None:
    assert trl_reward.main(["--smoke", "--threads", "1", "--results", str(tmp_path)]) == 0
    record = json.loads((tmp_path / "trl_reward.json").read_text(encoding="utf-8"))
    assert "pair accuracy" in write_reward(record)
