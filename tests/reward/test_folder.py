"""A saved reward model: transformers gives the same scores, and what is damaged or of another kind is refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from prosa.errors import CheckpointError, DataError, ModelFileRefused, TokenizerError
from prosa.model import save_model
from prosa.reward import (
    RewardFacts,
    RewardFunction,
    RewardModel,
    check_reward_tokenizer,
    encode_answers,
    load_reward_model,
    read_facts,
    save_reward_model,
)
from prosa.reward.model import pad_rows
from prosa.tokenizer import Tokenizer
from tests.model.test_transformer import VARIANTS, name_of
from tests.reward.test_model import sequences
from tests.reward.tiny import TOKENIZER, reward_model

ANSWERS = ("a", "uma resposta bem mais longa", "", "não")


def our_scores(model: RewardModel) -> torch.Tensor:
    with torch.no_grad():
        return model(*pad_rows(sequences(*ANSWERS), TOKENIZER.pad_id))


def their_scores(folder: Path, *, pads_left: bool = False, **changes: Any) -> torch.Tensor:
    from transformers import AutoModelForSequenceClassification

    theirs = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, **changes).eval()
    ids, last = pad_rows(sequences(*ANSWERS), TOKENIZER.pad_id)
    mask = torch.arange(ids.shape[1]) <= last[:, None]
    if pads_left:
        shifts = (ids.shape[1] - 1 - last).tolist()
        ids = torch.stack([row.roll(shift) for row, shift in zip(ids, shifts, strict=True)])
        mask = torch.stack([row.roll(shift) for row, shift in zip(mask, shifts, strict=True)])
    with torch.no_grad():
        scores: torch.Tensor = theirs(input_ids=ids, attention_mask=mask.long()).logits[:, 0]
    return scores


@pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
def test_transformers_gives_the_same_scores(variant: dict[str, Any], tmp_path: Path) -> None:
    model = reward_model(**{**variant, "context_length": max(96, variant.get("context_length", 0))})
    save_reward_model(tmp_path / "model", model, TOKENIZER)
    ours = our_scores(model)
    assert torch.equal(our_scores(load_reward_model(tmp_path / "model")), ours)
    assert (their_scores(tmp_path / "model") - ours).abs().max() < 1e-5


def test_transformers_gives_the_same_scores_padded_on_the_left(tmp_path: Path) -> None:
    model = reward_model()
    save_reward_model(tmp_path / "model", model, TOKENIZER)
    assert (their_scores(tmp_path / "model", pads_left=True) - our_scores(model)).abs().max() < 1e-5


def test_padding_with_the_end_token_would_move_the_place_where_the_score_is_read(tmp_path: Path) -> None:
    """PAD = EOS, the classic: the test above has the power to see it."""
    model = reward_model()
    save_reward_model(tmp_path / "model", model, TOKENIZER)
    broken = their_scores(tmp_path / "model", pad_token_id=TOKENIZER.im_end_id)
    assert ((broken - our_scores(model)).abs() > 1e-3).any()


def test_the_chat_template_of_the_folder_ends_where_the_score_is_read(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    save_reward_model(tmp_path / "model", reward_model(), TOKENIZER)
    theirs = AutoTokenizer.from_pretrained(tmp_path / "model")
    messages = [{"role": "user", "content": "Oi"}, {"role": "assistant", "content": "não"}]
    assert theirs.apply_chat_template(messages, return_dict=False) == sequences("não")[0]
    assert Tokenizer.load(tmp_path / "model").hash == TOKENIZER.hash


def test_their_folder_opens_in_ours(tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    model = reward_model()
    save_reward_model(tmp_path / "model", model, TOKENIZER)
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "model").save_pretrained(tmp_path / "theirs")
    assert torch.allclose(our_scores(load_reward_model(tmp_path / "theirs")), our_scores(model), atol=1e-6)
    assert read_facts(tmp_path / "theirs") == RewardFacts()


def test_several_heads_and_facts_come_back(tmp_path: Path) -> None:
    model = reward_model(n_members=3)
    facts = RewardFacts(0.7, {"n": 4, "mean": 0.5}, -0.25)
    save_reward_model(tmp_path / "model", model, TOKENIZER, facts)
    loaded = load_reward_model(tmp_path / "model")
    assert torch.equal(loaded.score.weight, model.score.weight) and float(loaded.tie) == -0.25
    assert read_facts(tmp_path / "model") == facts
    assert (their_scores(tmp_path / "model") - our_scores(model)).abs().max() < 1e-5


def test_a_folder_of_another_kind_is_refused(tmp_path: Path) -> None:
    save_model(tmp_path / "language", reward_model().trunk, TOKENIZER)
    with pytest.raises(ModelFileRefused, match="no head with one score"):
        load_reward_model(tmp_path / "language")
    with pytest.raises(ModelFileRefused, match="no config"):
        load_reward_model(tmp_path)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "reward.json", "tokenizer.json"])
def test_a_damaged_folder_is_refused(name: str, tmp_path: Path) -> None:
    save_reward_model(tmp_path / "model", reward_model(), TOKENIZER)
    path = tmp_path / "model" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ModelFileRefused, match=name):
        load_reward_model(tmp_path / "model")


def test_foreign_tensors_are_checked_before_use(tmp_path: Path) -> None:
    model = reward_model()
    save_reward_model(tmp_path / "model", model, TOKENIZER)
    (tmp_path / "model" / "manifest.json").unlink()
    path = tmp_path / "model" / "model.safetensors"
    tensors = load_file(path)
    name = "model.norm.weight"
    for change in ({name: torch.zeros(3)}, {"more": torch.zeros(3)}, {name: torch.full((64,), torch.nan)}):
        save_file(tensors | change, path)
        with pytest.raises(ModelFileRefused):
            load_reward_model(tmp_path / "model")
    path.write_bytes(b"\xff" * 200)
    with pytest.raises(ModelFileRefused, match="cannot be read"):
        load_reward_model(tmp_path / "model")


def test_what_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    model = reward_model()
    with torch.no_grad():
        model.score.weight[0, 3] = torch.nan
    with pytest.raises(CheckpointError, match="NaN"):
        save_reward_model(tmp_path / "model", model, TOKENIZER)
    assert list(tmp_path.iterdir()) == []


def test_a_tokenizer_of_another_run_is_refused(tmp_path: Path) -> None:
    save_reward_model(tmp_path / "model", reward_model(), TOKENIZER)
    check_reward_tokenizer(tmp_path / "model", TOKENIZER)
    other = Tokenizer([(116, 104)])
    with pytest.raises(TokenizerError, match="another tokenizer"):
        RewardFunction.load(tmp_path / "model", tokenizer=other)
    with pytest.raises(ModelFileRefused, match="different runs"):
        RewardFunction(reward_model(), other)


def test_the_reward_is_a_function_of_conversations_and_answers(tmp_path: Path) -> None:
    model = reward_model(n_members=3)
    save_reward_model(tmp_path / "model", model, TOKENIZER, RewardFacts(temperature=2.0))
    reward = RewardFunction.load(tmp_path / "model")
    prompts = [[{"role": "user", "content": "Oi"}]] * len(ANSWERS)
    scores = reward(prompts, ANSWERS)
    assert scores == pytest.approx(our_scores(model).tolist(), abs=1e-5)
    assert scores == pytest.approx(reward.score_ids(sequences(*ANSWERS)), abs=1e-6)
    heads = torch.tensor(reward.head_scores(prompts, ANSWERS))
    assert heads.mean(1).tolist() == pytest.approx(scores, abs=1e-5)
    assert reward.disagreement(prompts, ANSWERS) == pytest.approx(heads.std(1, correction=0).tolist(), abs=1e-5)
    worst = RewardFunction.load(tmp_path / "model", combine="worst")(prompts, ANSWERS)
    assert worst == pytest.approx(heads.amin(1).tolist(), abs=1e-5)
    careful = RewardFunction(model, TOKENIZER, combine="cautious", caution=0.5)(prompts, ANSWERS)
    assert careful == pytest.approx((heads.mean(1) - 0.5 * heads.var(1, correction=0)).tolist(), abs=1e-5)
    assert reward.probability(1.0, 1.0) == 0.5 and reward.probability(2.0, 0.0) == pytest.approx(0.7310586)
    assert reward.probability(1e9, 0.0) == pytest.approx(1.0)
    assert reward([], []) == []


def test_long_conversations_are_cut_and_counted_or_refused_by_number() -> None:
    reward = RewardFunction(reward_model(), TOKENIZER)
    turns = [{"role": ("user", "assistant")[n % 2], "content": f"turn {n} " * 2} for n in range(7)]
    encoded = encode_answers(TOKENIZER, turns, ["a"], 96)
    assert encoded is not None and encoded[1] > 0
    assert reward([turns], ["a"]) == pytest.approx(reward.score_ids(encoded[0]), abs=1e-5)
    assert reward.n_cut == 1
    with pytest.raises(DataError, match=r"1 of 2 answers.*number 1"):
        reward([turns, [{"role": "user", "content": "x" * 200}]], ["a", "b"])
    with pytest.raises(DataError, match="2 conversations but 1 answers"):
        reward([turns, turns], ["a"])
    with pytest.raises(DataError, match="1 to 96 ids"):
        reward.score_ids([[1] * 97])
