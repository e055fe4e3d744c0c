from collections import Counter

import numpy as np
import pytest

from prosa.errors import DataError
from prosa.training import Batches
from tests.training.fake_shards import FakeShards


def make(lengths, **options):
    shards = FakeShards(lengths, vocab_size=5000, weights=options.pop("weights", None))
    settings = {"context_length": 16, "batch_size": 4, "seed": 1} | options
    return shards, Batches(shards, **settings)


def test_batch_depends_on_step_alone():
    _, one = make({"a": [100, 50, 300], "b": [80] * 5})
    _, two = make({"a": [100, 50, 300], "b": [80] * 5})
    forwards = [one.batch(step).ids for step in range(30)]
    backwards = [two.batch(step).ids for step in reversed(range(30))]
    assert all((x == y).all() for x, y in zip(forwards, reversed(backwards), strict=True))


def test_targets_are_the_ids_one_later():
    _, batches = make({"a": [100, 50, 300]})
    batch = batches.batch(3)
    assert (batch.ids[:, 1:] == batch.targets[:, :-1]).all()


def test_an_epoch_visits_every_token():
    """Each token is a target at least once in an epoch, and only the wrapped window repeats any."""
    lengths = [37, 5, 120, 61, 90]
    shards, batches = make({"a": lengths}, batch_size=1)
    total = sum(lengths)
    windows = -(-total // 16)
    seen = Counter(int(x) for step in range(windows) for x in batches.batch(step).targets.flatten())
    expected = Counter(int(x) for ids in shards.ids["a"] for x in ids)
    assert not expected - seen
    assert sum((seen - expected).values()) == windows * 16 - total


def test_sequences_are_stretches_of_the_stream_of_documents():
    """Within a document the ids run on; after its end another document begins at its beginning."""
    shards, batches = make({"a": [40, 30, 20, 60]}, batch_size=2)
    documents = [ids.tolist() for ids in shards.ids["a"]]
    text = {tuple(ids[i : i + 2]) for ids in documents for i in range(len(ids) - 1)}
    joints = {(a[-1], b[0]) for a in documents for b in documents}
    for step in range(20):
        batch = batches.batch(step)
        for row, following in zip(batch.ids.tolist(), batch.targets.tolist(), strict=True):
            assert set(zip(row, following, strict=True)) <= text | joints


def test_epochs_differ_in_order():
    _, batches = make({"a": [37, 5, 120, 61, 90]}, batch_size=1)
    windows = -(-313 // 16)
    first = [batches.batch(step).ids.tolist() for step in range(windows)]
    second = [batches.batch(step).ids.tolist() for step in range(windows, 2 * windows)]
    assert first != second


def test_shares_of_ranks_make_up_the_batch():
    _, batches = make({"a": [100, 50, 300]})
    whole = batches.batch(2).ids
    parts = [batches.batch(2, rank=rank, world_size=2).ids for rank in range(2)]
    assert (np.concatenate(parts) == whole.numpy()).all()


@pytest.mark.parametrize("weights", [{"a": 0.75, "b": 0.25}, {"a": 0.1, "b": 0.9}])
def test_weights_hold_per_token(weights):
    _, batches = make({"a": [500] * 4, "b": [100] * 4}, weights=weights, batch_size=8)
    epochs = batches.epochs(400)
    tokens = {"a": epochs["a"] * 2000, "b": epochs["b"] * 400}
    assert tokens["a"] / sum(tokens.values()) == pytest.approx(weights["a"], abs=0.01)
    assert sum(tokens.values()) == pytest.approx(400 * 8 * 16)


def test_unweighted_sources_are_read_equally_often():
    _, batches = make({"a": [500] * 4, "b": [100] * 4}, batch_size=8)
    epochs = batches.epochs(640)
    assert epochs["a"] == pytest.approx(epochs["b"], rel=0.03)


def test_documents_of_a_step_hold_its_tokens():
    shards, batches = make({"a": [100, 50, 300], "b": [80] * 5})
    names = {document["id"] for document in batches.documents(5)}
    held = {int(x) for name in names for x in shards.ids[name[0]][int(name[2:])]}
    assert set(batches.batch(5).ids.flatten().tolist()) <= held


def test_corpus_too_small_for_one_batch():
    with pytest.raises(DataError, match="fewer than one batch"):
        make({"a": [30]})
