"""Learning from rankings directly: the losses written out, the answer's own tokens, preferences that are learned."""

import math
from pathlib import Path

import pytest
import torch

from prosa.generate import load
from prosa.metrics import read_metrics
from prosa.reward import RankedBatches, encode_answers, encode_rankings
from prosa.rl import (
    DirectSettings,
    PolicyAndReference,
    answer_targets,
    direct_loss,
    log_ratios,
    squared_errors,
    train_directly,
)
from tests.reward.tiny import TOKENIZER, rank_by_letter, write_trunk


def tiny(tmp_path: Path, *, seed: int = 0) -> PolicyAndReference:
    model = PolicyAndReference(load(write_trunk(tmp_path / "start", seed)).model)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.policy.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model.eval()


def test_only_the_answer_is_counted() -> None:
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yo"},
        {"role": "user", "content": "?"},
    ]
    encoded = encode_answers(TOKENIZER, messages, ["fine"], 96)
    assert encoded is not None
    [sequence], _ = encoded
    ids = torch.tensor([[*sequence, TOKENIZER.pad_id, TOKENIZER.pad_id]])
    targets = answer_targets(ids, torch.tensor([len(sequence) - 1]), TOKENIZER)
    assert targets[targets != -100].tolist() == [*TOKENIZER.encode("fine"), TOKENIZER.im_end_id]
    first = int((targets[0] != -100).nonzero()[0])
    assert TOKENIZER.decode(ids[0, : first + 1].tolist()).endswith("assistant\n")


def test_dpo_is_its_formula(tmp_path: Path) -> None:
    model = tiny(tmp_path)
    rankings, _ = encode_rankings(rank_by_letter(3, K=3), TOKENIZER, 96, uses_ties=False)
    batch = RankedBatches(rankings, batch_size=8, pad_id=TOKENIZER.pad_id, seed=0).batch(0)
    ratios = log_ratios(model, batch, TOKENIZER).detach()
    beta, expected = 0.3, 0.0
    for p, groups in enumerate(batch.groups.tolist()):
        pairs = [(i, j) for i in range(len(groups)) for j in range(len(groups)) if 0 <= groups[i] < groups[j]]
        margins = [beta * float(ratios[p, i] - ratios[p, j]) for i, j in pairs]
        expected += float(batch.weights[p]) * sum(math.log1p(math.exp(-m)) for m in margins) / len(margins)
        # The ratio of an answer is the sum over its tokens of one whole softmax after another.
        row = batch.ids[p, 0, : int(batch.last[p, 0]) + 1]
        n = len(TOKENIZER.encode("assistant\n"))
        begin = int((row == TOKENIZER.im_start_id).nonzero()[-1]) + 1 + n
        total = 0.0
        for one, sign in ((model.policy, 1), (model.reference, -1)):
            logprobs = one(row[None])[0].log_softmax(-1).detach()
            total += sign * sum(float(logprobs[t - 1, row[t]]) for t in range(begin, len(row)))
        assert float(ratios[p, 0]) == pytest.approx(total, abs=1e-4)
    found, _ = direct_loss(model, batch, settings=DirectSettings(beta=beta), tokenizer=TOKENIZER)
    assert float(found.detach()) == pytest.approx(expected, rel=1e-4)


def test_ipo_is_its_formula() -> None:
    ratios = torch.tensor([[1.0, -0.5, 0.25]])
    groups = torch.tensor([[0, 1, 1]])
    expected = ((1.5 - 5) ** 2 + (0.75 - 5) ** 2) / 2
    assert float(squared_errors(ratios, groups, beta=0.1)) == pytest.approx(expected)


@pytest.mark.parametrize("method", ["dpo", "ipo"])
@pytest.mark.parametrize("seed", [0, 1])
def test_preferences_are_learned(tmp_path: Path, method: str, seed: int) -> None:
    start = write_trunk(tmp_path / "start", seed)
    asked = DirectSettings(
        method=method, epochs=3, learning_rate=2e-3, threads=1, device="cpu", dtype="float32", seed=seed
    )  # type: ignore[arg-type]
    result = train_directly(tmp_path / "policy", asked, start, rank_by_letter(240, seed=seed), is_shown=False)
    assert result.is_finished
    records = read_metrics(tmp_path / "policy" / "metrics.jsonl")
    assert records[0]["pair_accuracy"] == pytest.approx(0.5, abs=0.2)
    assert [record["validation_accuracy"] for record in records if "validation_accuracy" in record][-1] > 0.75
    load(tmp_path / "policy")
