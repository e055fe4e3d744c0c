"""The Shakespeare benchmark: the peer is the recipe, and the judge scores every character once."""

import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.data_paths import DataMissing, locate, settings_with_data
from benchmarks.measure import REPO
from benchmarks.shakespeare import VARIANTS, Timed, main, summarize
from benchmarks.shakespeare_judge import cut_windows, nats_per_character, split_start
from benchmarks.shakespeare_peer import build_peer, count_trained, learning_rate
from prosa.config import read_settings
from prosa.life_settings import LifeSettings


def test_the_peer_has_the_parameters_that_the_recipe_states() -> None:
    model = build_peer(65)
    # 12 d^2 a layer, the tied embedding of 65 letters, and 9 norms without bias: the recipe prints 0.80M.
    assert count_trained(model) == 4 * 12 * 128**2 + 65 * 128 + 9 * 128 == 795_904


def test_the_peers_biases_are_zero_and_stay_so() -> None:
    biases = {name: p for name, p in build_peer(65).named_parameters() if name.endswith(".bias")}
    assert biases
    assert all(not p.requires_grad and not p.any() for p in biases.values())


def test_the_peers_learning_rate_rises_then_follows_half_a_cosine() -> None:
    rates = [learning_rate(step, 2000) for step in range(2000)]
    assert rates.index(max(rates)) == 100
    assert rates[100] == pytest.approx(1e-3)
    assert rates[1050] == pytest.approx((1e-3 + 1e-4) / 2)
    assert rates[-1] == pytest.approx(1e-4, rel=1e-3)


@pytest.mark.parametrize(("n_targets", "context"), [(1, 8), (8, 8), (9, 8), (100, 7), (1000, 64)])
def test_windows_score_every_target_once_with_half_a_context_before_it(n_targets: int, context: int) -> None:
    for stride in (context - context // 2, context):
        windows = cut_windows(n_targets, context, stride)
        scored = [target for _, end, first in windows for target in range(first, end)]
        assert scored == list(range(n_targets))
        assert all(end - start <= context for start, end, _ in windows)
        assert all(first - start >= context - stride for start, _, first in windows[1:])


def test_the_judge_agrees_with_one_window_at_a_time() -> None:
    torch.manual_seed(0)
    table, ids, context = torch.randn(11, 11), torch.randint(11, (300,)).tolist(), 16

    def logits_of(inputs: Tensor) -> Tensor:
        # Looks at the whole window so far, so that a shifted or shortened window would be noticed.
        return table[inputs].cumsum(dim=1)

    total = 0.0
    for start, end, first in cut_windows(len(ids) - 1, context, context // 2):
        logits = logits_of(torch.tensor([ids[start:end]]))[0]
        for target in range(first, end):
            total += float(F.cross_entropy(logits[target - start], torch.tensor(ids[target + 1])))
    assert nats_per_character(logits_of, ids, context) == pytest.approx(total / (len(ids) - 1), rel=1e-6)


def test_a_uniform_model_needs_the_logarithm_of_its_alphabet() -> None:
    nats = nats_per_character(lambda inputs: torch.zeros(*inputs.shape, 65), list(range(65)) * 3, 64)
    assert nats == pytest.approx(math.log(65))


def test_validation_is_the_last_tenth() -> None:
    assert split_start("x" * 1_115_394) == 1_003_854


def test_the_summary_compares_medians_and_takes_the_worst_loss() -> None:
    runs = {name: [Timed(60.0, 1.86)] * 3 for name in VARIANTS}
    runs["fused AdamW"] = [Timed(45.0, 1.86)] * 3
    runs["fused AdamW, bfloat16"] = [Timed(10.0, 2.5)] * 3
    runs["prosa, warm"] = [Timed(11.0, 1.8)] * 3
    runs["prosa, cold"] = [Timed(12.0, 1.8), Timed(15.0, 1.85), Timed(90.0, 1.8)]
    summary = summarize(runs)
    assert summary["ratio_cold"] == pytest.approx(15 / 60)
    assert summary["is_loss_reached"]
    # Fast but worse is not the same recipe.
    assert summary["fastest_peer"] == "fused AdamW"
    assert summary["ratio_cold_to_fastest"] == pytest.approx(15 / 45)
    runs["prosa, cold"][1] = Timed(15.0, 1.87)
    assert not summarize(runs)["is_loss_reached"]


def test_without_the_text_nothing_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--results", str(tmp_path)]) == 0
    assert "tinyshakespeare" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["livros", "python", "shakespeare", "shakespeare_best"])
def test_settings_are_valid_and_find_their_data(name: str, tmp_path: Path) -> None:
    config, data = REPO / "configs" / f"{name}.toml", tmp_path / "data" / "pretrain"
    sources = read_settings(LifeSettings, config).corpus.sources
    files = [source.path.removeprefix("data/") for source in sources if source.path.startswith("data/")]
    if files:
        with pytest.raises(DataMissing, match=files[0]):
            settings_with_data(config, tmp_path, tmp_path / "settings.toml")
    for file in files:
        (data / file).parent.mkdir(parents=True, exist_ok=True)
        (data / file).touch()
    path = settings_with_data(config, tmp_path / "data", tmp_path / "settings.toml", {"pretrain.seed": 7})
    found = read_settings(LifeSettings, path)
    assert found.pretrain.seed == 7
    assert all(Path(source.path).is_file() for source in found.corpus.sources if source.path != "python:")


def test_a_plain_or_a_packed_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").touch()
    assert locate(tmp_path, "a.txt") == locate(tmp_path, "a.txt.gz") == tmp_path / "a.txt.gz"
    (tmp_path / "a.txt").touch()
    assert locate(tmp_path, "a.txt.gz") == tmp_path / "a.txt"
