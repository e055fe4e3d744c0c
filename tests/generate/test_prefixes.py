"""What texts have in common is read once, and nothing that is written changes by it."""

from collections.abc import Sequence

import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from prosa.generate import Sampling, prefill
from prosa.generate import engine as engine_module
from prosa.generate.engine import RowBatch, make_rows, read_on
from prosa.generate.prefixes import Prefixes, find_shared
from prosa.model import KVCache, Transformer
from tests.generate.tiny import TOKENIZER, byte_language_model, byte_model, write_slowly

SYSTEM = [(7 * n) % 250 for n in range(60)]


def cache_of(model: Transformer, ids: Sequence[int]) -> KVCache:
    return prefill(model, [ids], len(ids))[1]


def count_read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tokens of every text read, apart from those read one at a time."""
    counts: list[int] = []
    plain = engine_module.read_on

    def read(model: Transformer, texts: Sequence[Sequence[int]], kv_cache: KVCache) -> Float[Tensor, "B V"]:
        counts.extend(len(text) for text in texts)
        return plain(model, texts, kv_cache)

    monkeypatch.setattr(engine_module, "read_on", read)
    return counts


def test_the_longest_known_beginning_is_found() -> None:
    model, prefixes = byte_model(), Prefixes(1000)
    for n in (20, 40):
        prefixes.keep([*SYSTEM[:n], *range(200, 220)], cache_of(model, [*SYSTEM[:n], *range(200, 220)]))
    n_known, kv_cache = prefixes.find([*SYSTEM[:50], 1, 2])
    assert n_known == 40 and kv_cache is not None and kv_cache.lengths == [40]
    for known, wanted in zip(kv_cache.keys, cache_of(model, SYSTEM[:40]).keys, strict=True):
        assert torch.allclose(known[:, :, :40], wanted[:, :, :40], atol=1e-5)
    # Fifteen are too few to be worth it.
    assert prefixes.find([*SYSTEM[:15], 9, 9]) == (0, None)
    assert Prefixes(1000).find(SYSTEM) == (0, None)


def test_what_was_used_longest_ago_is_forgotten_first_and_what_is_part_of_another_at_once() -> None:
    model, prefixes = byte_model(), Prefixes(100)
    texts = [[number, *SYSTEM[:29]] for number in range(3)]
    for text in texts:
        prefixes.keep(text, cache_of(model, text))
    assert prefixes.find([*texts[0], 5])[0] == 30
    longer = [*texts[2], *range(10)]
    prefixes.keep(longer, cache_of(model, longer))
    assert prefixes.n_tokens == 100
    prefixes.keep(texts[2], cache_of(model, texts[2]))
    assert prefixes.n_tokens == 100
    fourth = [100, *SYSTEM[:19]]
    prefixes.keep(fourth, cache_of(model, fourth))
    assert [prefixes.find([*text, 5])[0] for text in (*texts, fourth)] == [30, 0, 30, 20]


def test_beginnings_that_are_worth_reading_first() -> None:
    others = [[number, 1, 2, 3] for number in range(100, 110)]
    together = [[*SYSTEM, number] for number in range(6)]
    assert list(find_shared([*others, *together])) == [SYSTEM]
    # Sixty tokens saved four times are too few, and a prompt is never read to its end.
    assert list(find_shared(together[:5])) == []
    assert list(find_shared([SYSTEM, *together])) == [SYSTEM[:59]]
    assert list(find_shared([])) == []


@pytest.mark.parametrize("context_length", [64, 96])
@pytest.mark.parametrize("changes", [{}, {"sliding_window": 9, "n_full_layer": 1}], ids=str)
def test_a_system_message_is_read_once(
    context_length: int, changes: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    llm, counts = byte_language_model(context_length=context_length, **changes), count_read(monkeypatch)
    prompts = [[*SYSTEM, 100 + number, *range(number)] for number in range(12)] + [list(range(150, 200)), [3]]
    sampling = Sampling(seed=1, max_new_tokens=9)
    written = llm.complete(prompts, sampling)
    # Where the context is short some prompts have lost their beginning.
    if context_length == 96:
        assert counts[0] == len(SYSTEM) and max(counts[1 : 1 + len(prompts)]) == 50
    for prompt, [completion] in zip(prompts, written, strict=True):
        ids, logprobs = write_slowly(llm.model, prompt, sampling)
        assert completion.ids == ids and completion.logprobs == pytest.approx(logprobs, abs=1e-4)


def test_an_earlier_text_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = byte_language_model(context_length=128)
    batch = RowBatch(llm.model, TOKENIZER, None, Prefixes(1000), keeps_texts=True)
    sampling, prompt, seen = Sampling(seed=2, max_new_tokens=7, temperature=0.7), SYSTEM[:30], list[int]()
    for _ in range(3):
        counts = count_read(monkeypatch)
        [row] = make_rows(TOKENIZER, [prompt], [sampling], 128)
        batch.join([row])
        while batch.rows:
            batch.draw()
            batch.drop_finished()
            batch.decode()
        assert row.ids[len(prompt) :] == write_slowly(llm.model, prompt, sampling)[0]
        assert counts == [len(prompt) - max(0, len(seen) - 1)]
        seen, prompt = row.ids, [*row.ids, 65, 66, 67]
        monkeypatch.undo()


def test_rows_of_any_length_are_read_on_together() -> None:
    model = byte_model()
    texts, starts = [[1, 2, 3, 4], [9], list(range(12))], [5, 30, 0]
    kv_cache = KVCache(model.settings, 3, 40)
    for row, n in enumerate(starts):
        if n:
            kv_cache.replace_rows([row], cache_of(model, SYSTEM[:n]))
    logits = read_on(model, texts, kv_cache)
    assert kv_cache.lengths == [9, 31, 12]
    for row, (n, text) in enumerate(zip(starts, texts, strict=True)):
        alone = model(torch.tensor([[*SYSTEM[:n], *text]]))[0, -1]
        assert torch.allclose(logits[row], alone, atol=1e-4)
