from collections import Counter

import pytest
import torch

from prosa.sft import SftBatch, SftBatches, loss, make_batch, pack
from prosa.sft.train import choose_loss
from tests.model.tiny import tiny_model
from tests.sft.tiny_sft import TOKENIZER, chat, encode, some_chats

torch.set_num_threads(1)
PAD = TOKENIZER.pad_id


def model_of(**changes):
    return tiny_model(3, **({"vocab_size": 260, "context_length": 256} | changes)).train()


def batches_of(conversations, **changes):
    values = {"context_length": 96, "batch_size": 4, "pad_id": PAD, "seed": 0}
    return SftBatches(conversations, **(values | changes))


def gradients(model, batches):
    """Gradient of the summed loss over all batches, and that loss."""
    model.zero_grad()
    total = sum(loss(model, batch)[0] for batch in batches)
    total.backward()
    return float(total.detach()), torch.cat([p.grad.flatten() for p in model.parameters()])


@pytest.mark.parametrize("changes", [{}, {"family": "llama"}, {"sliding_window": 17}, {"ties_embeddings": False}])
def test_packed_rows_have_the_loss_and_gradient_of_conversations_alone(changes):
    model = model_of(**changes)
    conversations = encode(*some_chats(12))
    lengths = [item.length for item in conversations]
    rows = pack(lengths, range(12), 160)
    assert max(map(len, rows)) > 2
    packed = make_batch(conversations, rows, width=160, pad_id=PAD)
    alone = [make_batch([item], [[0]], width=item.length, pad_id=PAD) for item in conversations]
    assert packed.n_targets == sum(batch.n_targets for batch in alone)
    packed_loss, packed_gradient = gradients(model, [packed])
    alone_loss, alone_gradient = gradients(model, alone)
    assert packed_loss == pytest.approx(alone_loss, rel=1e-5)
    assert float((packed_gradient - alone_gradient).norm() / alone_gradient.norm()) < 1e-5
    # The test can fail: without the segments conversations see each other.
    seen = SftBatch(packed.ids, packed.targets, torch.zeros_like(packed.segments))
    assert abs(float(loss(model, seen)[0].detach()) / alone_loss - 1) > 1e-3


def test_the_loss_is_that_of_all_logits_at_the_learned_places():
    """Against the plain definition: every position meets the vocabulary and unlearned ones are left out."""
    model = model_of()
    conversations = encode(*some_chats(6))
    batch = make_batch(conversations, pack([c.length for c in conversations], range(6), 128), width=128, pad_id=PAD)
    with torch.no_grad():
        logprobs = model(batch.ids, segments=batch.segments).log_softmax(-1)
        total = -sum(
            logprobs[row, place, batch.targets[row, place]]
            for row in range(len(batch.ids))
            for place in range(128)
            if batch.targets[row, place] != -100
        )
        assert float(loss(model, batch)[0]) == pytest.approx(float(total), rel=1e-5)


# The compiler asks a tensor that is no leaf for its gradient.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor:UserWarning")
def test_it_is_compiled_once_however_many_tokens_are_learned():
    from torch._dynamo.testing import CompileCounter

    model, compiler = model_of(context_length=96), CompileCounter()
    batches = batches_of(encode(*some_chats(20)))
    compiled = torch.compile(choose_loss(is_compiled=True), dynamic=False, backend=compiler)
    numbers = set()
    for step in range(3):
        batch = batches.batch(step)
        numbers.add(batch.n_targets)
        assert torch.equal(compiled(model, batch)[0], loss(model, batch)[0])
    assert len(numbers) > 1 and compiler.frame_count == 1


def test_only_answers_and_their_ends_are_targets():
    [item] = encode(chat("Oi?", "Olá!", "E aí?", "Bem."))
    batch = make_batch([item], [[0]], width=96, pad_id=PAD)
    learned = [int(id) for id in batch.targets[0] if id != -100]
    end = TOKENIZER.im_end_id
    assert learned == [*TOKENIZER.encode("Olá!"), end, *TOKENIZER.encode("Bem."), end]
    place = int((batch.targets[0] != -100).nonzero()[0])
    assert TOKENIZER.decode(batch.ids[0, : place + 1].tolist()).endswith("assistant\n")
    filled = batch.segments[0] == 1
    assert (batch.ids[0, filled] == PAD).all() and (batch.targets[0, filled] == -100).all() and filled.any()


def test_a_batch_is_a_pure_function_of_seed_and_step():
    conversations = encode(*some_chats(40))
    one, two = batches_of(conversations), batches_of(conversations)
    forwards = [one.batch(step) for step in range(30)]
    for step in (29, 3, 17, 3, 0, 28):
        assert all(torch.equal(a, b) for a, b in zip(two.batch(step), forwards[step], strict=True))
    other = batches_of(conversations, seed=1)
    assert not torch.equal(other.batch(0).ids, forwards[0].ids)


@pytest.mark.parametrize("world_size", [2, 4])
def test_ranks_share_the_rows_of_the_whole_batch(world_size):
    batches = batches_of(encode(*some_chats(40)))
    for step in (0, 7):
        parts = [batches.batch(step, rank=rank, world_size=world_size) for rank in range(world_size)]
        together = [torch.cat(tensors) for tensors in zip(*parts, strict=True)]
        assert all(torch.equal(a, b) for a, b in zip(together, batches.batch(step), strict=True))


def test_every_epoch_reads_every_conversation_once_in_another_order():
    batches = batches_of(encode(*some_chats(40)))
    orders = [[number for row in batches.rows(epoch) for number in row] for epoch in range(3)]
    assert all(sorted(order) == list(range(40)) for order in orders)
    assert orders[0] != orders[1] != orders[2]
    n_rows = len(batches.rows(0))
    assert batches.epoch(0) == 0 and batches.epoch(1) == pytest.approx(4 / n_rows)
    read = Counter(document["id"] for step in range(-(-n_rows // 4)) for document in batches.documents(step))
    assert len(read) == 40


def test_fewer_rows_than_a_batch_are_read_on_into_further_epochs():
    batches = batches_of(encode(chat("a", "b"), chat("c", "d")), batch_size=30)
    batch = batches.batch(0)
    assert batch.ids.shape == (30, 96) and all((row != -100).sum() == 4 for row in batch.targets)
    assert batches.epoch(1) == 30


@pytest.mark.parametrize("weight", [0.25, 1.5, 3.0])
def test_weights_are_how_often_an_epoch_reads_a_conversation(weight):
    batches = batches_of(encode(*some_chats(60)), weights={"s": weight})
    read = [sum(map(len, batches.rows(epoch))) for epoch in range(40)]
    assert sum(read) / 40 / 60 == pytest.approx(weight, rel=0.1)
    assert len({tuple(sorted(n for row in batches.rows(epoch) for n in row)) for epoch in range(3)}) == (
        1 if weight == 3 else 3
    )


def test_unpacked_rows_hold_one_conversation_each_and_are_as_wide_as_the_longest():
    conversations = encode(*some_chats(12))
    batches = batches_of(conversations, packs=False)
    batch = batches.batch(1)
    assert {int(row.max()) for row in batch.segments} <= {0, 1}
    assert batch.ids.shape[1] == max(int((row == 0).sum()) for row in batch.segments)
    assert sorted(n for row in batches.rows(0) for n in row) == list(range(12))
