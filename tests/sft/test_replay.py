"""Text of the base model read along: in its share, all of it learned, other text each epoch, never held out."""

import json
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from prosa.errors import ConfigError, DataError
from prosa.sft import SftSettings, main, make_batches, prepare_data, read_job
from prosa.sft.data import add_replay, choose_questions
from prosa.tokenizer import TokenShards
from prosa.training import World
from tests.sft.tiny_sft import FAST, TOKENIZER, some_chats, write_base, write_chats
from tests.training.fake_shards import FakeShards


def text(tokenizer_hash: str = TOKENIZER.hash) -> TokenShards:
    shards = FakeShards({"books": [400, 3000, 77]}, vocab_size=256)
    shards.tokenizer_hash = tokenizer_hash
    shards.folder = Path("tokens")  # type: ignore[attr-defined]
    return cast(TokenShards, shards)


def settings(path: Path, **changes: object) -> SftSettings:
    return SftSettings.model_validate({"sources": [{"path": str(path)}], "steps": 6, **FAST, **changes})


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    return write_chats(tmp_path / "chats.jsonl", some_chats(60))


def test_rows_of_text_are_as_many_as_asked_for_and_others_each_epoch(tmp_path: Path, chats: Path) -> None:
    wanted, base = settings(chats, replay=0.5), write_base(tmp_path / "base")
    main(tmp_path / "sft", wanted, base, world=World(), shards=text(), is_shown=False)
    job = read_job(tmp_path / "sft")
    assert job is not None
    data = add_replay(prepare_data(wanted, TOKENIZER, 96), wanted, text(), TOKENIZER, 96)
    n_tokens = sum(item.length for item in data.train)
    batches, first = make_batches(data, job, TOKENIZER), len(data.train)
    chosen = [{number for row in batches.rows(epoch) for number in row if number >= first} for epoch in range(40)]
    shares = [96 * len(numbers) / n_tokens for numbers in chosen]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.05)
    assert len(set.union(*chosen)) == len(data.replay) and chosen[0] != chosen[1]
    stream = np.concatenate(cast(FakeShards, text()).ids["books"]).tolist()
    for item in data.replay[:5]:
        assert item.length == 96 and item.n_targets == 96
        # Documents come in another order, so a row is a piece of one or of two of them.
        assert any(stream[place : place + 20] == item.ids[:20].tolist() for place in range(len(stream) - 19))
    described = json.loads((tmp_path / "sft" / "data.json").read_text())
    assert described["replay"]["learned_tokens"] == described["replay"]["tokens"] == 96 * len(data.replay)


def test_what_is_held_out_and_shown_are_conversations(chats: Path) -> None:
    wanted = settings(chats, replay=1, validation_fraction=0)
    plain = prepare_data(wanted, TOKENIZER, 96)
    data = add_replay(plain, wanted, text(), TOKENIZER, 96)
    assert (data.train, data.validation, data.longest) == (plain.train, [], plain.longest)
    assert [one.wanted for one in choose_questions(data, TOKENIZER, 4)] == [
        one.wanted for one in choose_questions(plain, TOKENIZER, 4)
    ]
    assert data.hash != plain.hash
    assert add_replay(plain, settings(chats), None, TOKENIZER, 96) is plain


def test_text_that_is_not_there_or_not_the_models(chats: Path) -> None:
    wanted = settings(chats, replay=0.25)
    data = prepare_data(wanted, TOKENIZER, 96)
    with pytest.raises(ConfigError, match=r"the run has none\n\nhint: set sft.replay=0"):
        add_replay(data, wanted, None, TOKENIZER, 96)
    with pytest.raises(DataError, match="was made with tokenizer"):
        add_replay(data, wanted, text("another"), TOKENIZER, 96)
