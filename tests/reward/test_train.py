"""The whole stage: it learns, it is refused what it should be, and it says what it left out."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from prosa.errors import DataError, DriftRefused, ModelFileRefused, TokenizerError
from prosa.metrics import read_metrics
from prosa.preferences import RankedAnswers, Ranking
from prosa.reward import (
    LossSettings,
    RewardFunction,
    encode_rankings,
    evaluate_rankings,
    load_reward,
    load_reward_model,
    main,
    read_facts,
    read_job,
)
from prosa.reward.train import load_tokenizer, make_batches, make_model, score_answers
from prosa.rundir import hash_file
from prosa.tokenizer import Tokenizer
from tests.reward.tiny import TOKENIZER, rank_by_letter, settings, write_trunk


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_trunk(tmp_path_factory.mktemp("trunk") / "model")


@pytest.fixture(scope="module")
def stage(trunk: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished stage with three heads; tests that change it make a copy."""
    folder = tmp_path_factory.mktemp("stage") / "reward"
    assert main(folder, settings(n_members=3, epochs=1), trunk, rank_by_letter(200), is_shown=False).is_finished
    return folder


def accuracy_elsewhere(folder: Path, seed: int) -> float:
    """Pair accuracy on new prompts with new answers."""
    rankings, _ = encode_rankings(rank_by_letter(100, seed=1000 + seed, name="q"), TOKENIZER, 96, uses_ties=True)
    model = load_reward_model(folder / "model")
    return evaluate_rankings(model, rankings, LossSettings(), TOKENIZER)["validation_pair_accuracy"]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_learns_what_annotators_like(seed: int, tmp_path: Path) -> None:
    trunk = write_trunk(tmp_path / "trunk", seed)
    ranked = rank_by_letter(300, seed=seed)
    result = main(tmp_path / "reward", settings(seed=seed), trunk, ranked, is_shown=False)
    assert result.is_finished and accuracy_elsewhere(tmp_path / "reward", seed) > 0.9
    record = json.loads((tmp_path / "reward" / "card.json").read_text())
    assert record["card"]["accuracy"]["share"] > 0.9 and record["counts"]["n_given"] == record["counts"]["n_kept"]


@pytest.mark.parametrize(
    "loss",
    [
        LossSettings(kind="plackett_luce"),
        LossSettings(ties="rao_kupper"),
        LossSettings(ties="drop", label_smoothing=0.05, margin=0.1),
    ],
    ids=["plackett-luce", "rao-kupper", "smoothed with margin"],
)
def test_every_loss_learns(loss: LossSettings, trunk: Path, tmp_path: Path) -> None:
    main(tmp_path / "reward", settings(loss=loss, epochs=3), trunk, rank_by_letter(300), is_shown=False)
    assert accuracy_elsewhere(tmp_path / "reward", 0) > 0.85


def test_broken_readings_do_not_learn(trunk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The score of the token before all answers, and answers shuffled over prompts: no better than chance."""
    from prosa.reward import train

    def read_before_the_answer(model, batch):  # type: ignore[no-untyped-def]
        return score_answers(model, batch._replace(last=torch.zeros_like(batch.last)))

    ranked = rank_by_letter(150)
    with monkeypatch.context() as patch:
        patch.setattr(train, "score_answers", read_before_the_answer)
        try:
            main(tmp_path / "read", settings(epochs=2), trunk, ranked, is_shown=False)
            accuracy = accuracy_elsewhere(tmp_path / "read", 0)
        except DataError:
            # Every answer then has the same score, which normalising notices.
            accuracy = 0.5
    assert accuracy < 0.7
    others = [*ranked[1:], ranked[0]]
    shuffled = [
        replace(one, ranking=other.ranking, item_id=f"{n}")
        for n, (one, other) in enumerate(zip(ranked, others, strict=True))
    ]
    main(tmp_path / "shuffled", settings(epochs=2), trunk, shuffled, is_shown=False)
    assert 0.25 < accuracy_elsewhere(tmp_path / "shuffled", 0) < 0.75


def test_the_stage_folder_is_complete_and_the_model_is_normalised(stage: Path, trunk: Path) -> None:
    for name in ("settings.toml", "metrics.jsonl", "samples.jsonl", "checkpoints", "model/config.json", "card.json"):
        assert (stage / name).exists(), name
    records = read_metrics(stage / "metrics.jsonl")
    assert {"loss", "pair_accuracy", "gradient_norm"} <= records[0].keys()
    assert {"validation_pair_accuracy", "validation_loss", "disagreement"} <= records[-1].keys()
    facts = read_facts(stage / "model")
    assert facts.temperature > 0 and facts.normalisation["offset_error"] < 0.2
    reward = RewardFunction.load(stage / "model", tokenizer=load_tokenizer(trunk))
    scores = [score for one in rank_by_letter(200) for score in reward([one.messages] * len(one.answers), one.answers)]
    assert float(torch.tensor(scores).mean()) == pytest.approx(0, abs=0.1)
    assert float(torch.tensor(scores).std()) == pytest.approx(1, abs=0.1)


def test_the_reward_of_a_run_a_stage_and_a_folder_is_found(stage: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    shutil.copytree(stage, tmp_path / "run" / "reward")
    expected = RewardFunction.load(stage / "model")([[{"role": "user", "content": "Oi"}]], ["x"])[0]
    for path in (tmp_path / "run", stage, str(stage / "model")):
        assert load_reward(path).score("Oi", "x") == expected
    with pytest.raises(ModelFileRefused, match="no reward model"):
        load_reward(tmp_path)


def test_scores_are_normalised_on_the_reference_samples_where_there_are_some(trunk: Path, tmp_path: Path) -> None:
    prompt = [{"role": "user", "content": "r"}]
    references = [(prompt, "ab" * (1 + n % 9) + "x" * (n % 7)) for n in range(40)]
    main(tmp_path / "reward", settings(epochs=1), trunk, rank_by_letter(100), references=references, is_shown=False)
    reward = RewardFunction.load(tmp_path / "reward" / "model")
    scores = torch.tensor(reward([prompt] * 40, [answer for _, answer in references]))
    assert float(scores.mean()) == pytest.approx(0, abs=1e-4)
    assert float(scores.std(correction=0)) == pytest.approx(1, abs=1e-4)
    card = json.loads((tmp_path / "reward" / "card.json").read_text())["card"]
    assert [one["n"] for one in card["best_of_n"]] == [1, 2, 4, 8, 16, 32]


def test_the_same_call_again_changes_nothing(stage: Path, trunk: Path) -> None:
    files = sorted(path for path in stage.rglob("*") if path.is_file() and path.name != "lock")
    before = {path: hash_file(path) for path in files}
    result = main(stage, settings(n_members=3, epochs=1), trunk, rank_by_letter(200), is_shown=False)
    assert result.is_finished and before == {path: hash_file(path) for path in files}


def test_other_inputs_are_refused_with_what_differs(stage: Path, trunk: Path, tmp_path: Path) -> None:
    ranked, asked = rank_by_letter(200), settings(n_members=3, epochs=1)
    with pytest.raises(DriftRefused, match="n_members: 3 -> 2"):
        main(stage, settings(n_members=2, epochs=1), trunk, ranked, is_shown=False)
    with pytest.raises(DriftRefused, match="rankings: "):
        main(stage, asked, trunk, ranked[1:], is_shown=False)
    with pytest.raises(DriftRefused, match="trunk: "):
        main(stage, asked, write_trunk(tmp_path / "other", seed=9), ranked, is_shown=False)


def test_a_tokenizer_of_another_run_is_refused(tmp_path: Path) -> None:
    trunk = write_trunk(tmp_path / "trunk")
    (trunk / "tokenizer.json").unlink()
    Tokenizer([(116, 104)]).save(trunk)
    with pytest.raises(TokenizerError, match="another run"):
        main(tmp_path / "reward", settings(), trunk, rank_by_letter(20), is_shown=False)


def test_rankings_that_teach_nothing_are_refused_with_their_numbers(trunk: Path, tmp_path: Path) -> None:
    prompts = [[{"role": "user", "content": f"p{n}"}] for n in range(30)]
    tied = [RankedAnswers.make(prompt, ["a", "b"], Ranking(((0, 1),))) for prompt in prompts]
    long = [RankedAnswers.make(prompt, ["a" * 200, "b"], Ranking(((0,), (1,)))) for prompt in prompts]
    with pytest.raises(DataError, match=r"say of no answer .* are too long"):
        main(tmp_path / "reward", settings(loss=LossSettings(ties="drop")), trunk, tied + long, is_shown=False)


def test_an_annotator_who_always_ties_draws_scores_together_and_needs_no_card(trunk: Path, tmp_path: Path) -> None:
    tied = [replace(one, ranking=Ranking((tuple(range(4)),))) for one in rank_by_letter(60)]
    main(tmp_path / "reward", settings(epochs=2), trunk, tied, is_shown=False)
    record = json.loads((tmp_path / "reward" / "card.json").read_text())
    assert record["card"] is None and record["counts"]["n_kept"] == record["counts"]["n_given"]
    assert record["normalisation"]["std"] < 0.2


def test_contradictory_rankings_are_counted_and_leave_the_scores_where_they_were(trunk: Path, tmp_path: Path) -> None:
    ranked = rank_by_letter(60)
    opposed = [replace(one, ranking=Ranking(one.ranking.groups[::-1])) for one in ranked]
    main(tmp_path / "reward", settings(epochs=1, validation_fraction=0), trunk, ranked + opposed, is_shown=False)
    record = json.loads((tmp_path / "reward" / "card.json").read_text())
    assert record["counts"]["n_contradicted"] == 120 and record["card"] is None


def test_the_tie_parameter_is_learned_only_where_it_is_asked_for(trunk: Path, tmp_path: Path) -> None:
    ranked = rank_by_letter(100)
    main(tmp_path / "learned", settings(epochs=1), trunk, ranked, is_shown=False)
    assert read_facts(tmp_path / "learned" / "model").tie != 0
    main(tmp_path / "given", settings(epochs=1, loss=LossSettings(tie_parameter=0.5)), trunk, ranked, is_shown=False)
    assert read_facts(tmp_path / "given" / "model").tie == pytest.approx(-0.6931472)


def test_a_step_is_the_same_in_one_piece_and_in_micro_batches(trunk: Path, stage: Path) -> None:
    from prosa.reward.train import loss
    from prosa.training.loop import split_batch

    job = read_job(stage)
    assert job is not None
    rankings, _ = encode_rankings(rank_by_letter(40), TOKENIZER, 96, uses_ties=True)
    batch = make_batches(rankings, job, TOKENIZER).batch(0)
    gradients = []
    for n_rows in (len(batch.ids), 3):
        model = make_model(trunk, job)
        for part in split_batch(batch, n_rows):
            (loss(model, part, LossSettings())[0] / batch.n_targets).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]))
    assert torch.allclose(*gradients, atol=1e-6)


def test_pairs_as_rows_of_their_own_learn_the_same(trunk: Path, tmp_path: Path) -> None:
    expanded = settings(expands_pairs=True, batch_size=64)
    main(tmp_path / "reward", expanded, trunk, rank_by_letter(120), is_shown=False)
    assert accuracy_elsewhere(tmp_path / "reward", 0) > 0.85


def test_the_first_head_of_many_is_the_one_alone(trunk: Path, stage: Path) -> None:
    """The heads share what the trunk learned, yet each was drawn and taught by its own sample."""
    model = load_reward_model(stage / "model")
    assert model.n_members == 3
    similar = torch.corrcoef(model.score.weight)[0, 1:]
    assert (similar < 0.999).all()
