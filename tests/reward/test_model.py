"""Where a score is read and what it depends on; broken readings are shown to be broken."""

import math

import torch

from prosa.model import Transformer
from prosa.reward import encode_answers, read_features, start_reward_model
from prosa.reward.model import pad_rows
from tests.model.tiny import tiny_settings
from tests.reward.tiny import TOKENIZER, reward_model


def sequences(*answers: str) -> list[list[int]]:
    encoded = encode_answers(TOKENIZER, [{"role": "user", "content": "Oi"}], answers, 96)
    assert encoded is not None
    return encoded[0]


def test_a_score_depends_on_neither_padding_nor_company() -> None:
    model = reward_model()
    rows = sequences("a", "uma resposta mais longa", "", "bc")
    ids, last = pad_rows(rows, TOKENIZER.pad_id)
    with torch.no_grad():
        together = model(ids, last)
        alone = torch.cat([model(torch.tensor([row]), torch.tensor([len(row) - 1])) for row in rows])
        other_padding = model(torch.where(ids == TOKENIZER.pad_id, 7, ids), last)
    assert torch.allclose(together, alone, atol=1e-5) and torch.equal(together, other_padding)
    assert len(set(together.tolist())) == 4


def test_a_score_read_at_the_end_of_the_row_would_depend_on_the_padding() -> None:
    """The mistake this room must not make, made here: the test above has the power to see it."""
    model = reward_model()
    ids, last = pad_rows(sequences("a", "uma resposta mais longa"), TOKENIZER.pad_id)
    wrong = torch.full_like(last, ids.shape[1] - 1)
    with torch.no_grad():
        broken = model(ids, wrong) - model(torch.where(ids == TOKENIZER.pad_id, 7, ids), wrong)
        shifted = model(ids, last) - model(ids, last - 1)
    assert abs(float(broken[0])) > 1e-3 and abs(float(broken[1])) < 1e-6
    assert (shifted.abs() > 1e-3).all()


def test_features_in_batches_are_those_of_each_alone() -> None:
    model = reward_model(n_members=3)
    rows = sequences(*("y" * n for n in (5, 1, 9, 30, 2, 2)))
    features = read_features(model, rows, batch_tokens=60)
    for row, found in zip(rows, features, strict=True):
        alone = model.features(torch.tensor([row]), torch.tensor([len(row) - 1]))[0]
        assert torch.allclose(found, alone, atol=1e-5)
    scores = model.judge(features)
    assert scores.shape == (6, 3)
    ids, last = pad_rows(rows, TOKENIZER.pad_id)
    assert torch.allclose(model(ids, last), scores.mean(1), atol=1e-5)


def test_training_has_no_dropout_and_no_matrix_over_the_vocabulary() -> None:
    trunk = Transformer(tiny_settings(vocab_size=260, ties_embeddings=False, dropout=0.5))
    model = start_reward_model(trunk).train()
    ids, last = pad_rows(sequences("a", "b"), TOKENIZER.pad_id)
    assert torch.equal(model(ids, last), model(ids, last))
    assert not any("lm_head" in name for name, _ in model.named_parameters())


def test_heads_start_from_their_own_streams_with_the_published_spread() -> None:
    trunk = Transformer(tiny_settings(vocab_size=260, d_model=256))
    model = start_reward_model(trunk, n_members=8, seed=1)
    spread = float(model.score.weight.detach().std()) * math.sqrt(257)
    assert abs(spread - 1) < 0.05
    assert torch.equal(model.score.weight[0], start_reward_model(trunk, seed=1).score.weight[0])
    assert not torch.equal(model.score.weight[0], start_reward_model(trunk, seed=2).score.weight[0])


def test_the_trunk_is_copied() -> None:
    trunk = Transformer(tiny_settings(vocab_size=260))
    model = start_reward_model(trunk)
    with torch.no_grad():
        model.trunk.model.norm.weight.zero_()
    assert trunk.model.norm.weight.any()
