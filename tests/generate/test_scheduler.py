"""Whoever asks gets what would be written for them alone, whoever else asks, leaves or breaks something."""

import random
import threading
import time
from collections.abc import Iterator

import pytest

from prosa.errors import ConfigError, DataError, TooBusy
from prosa.generate import LanguageModel, Sampling, Scheduler, Written
from prosa.generate.engine import RowBatch
from tests.generate.tiny import TOKENIZER, byte_language_model, write_slowly

ENDLESS = {TOKENIZER.end_of_text_id: -100.0, TOKENIZER.im_end_id: -100.0}


@pytest.fixture
def llm() -> LanguageModel:
    return byte_language_model(context_length=48)


def wait_until_idle(scheduler: Scheduler) -> None:
    for _ in range(2000):
        if not scheduler.n_active and not scheduler.n_waiting:
            return
        time.sleep(0.005)
    raise AssertionError("a place was never free again")


def test_callers_from_many_threads_get_what_each_would_get_alone(llm: LanguageModel) -> None:
    rng = random.Random(0)
    jobs = [
        (
            [rng.randrange(250) for _ in range(rng.randrange(1, 60))],
            Sampling(seed=number, max_new_tokens=rng.randrange(1, 30), temperature=rng.choice([0.0, 0.8])),
        )
        for number in range(40)
    ]
    said: dict[int, list[Written]] = {}

    def ask(number: int, scheduler: Scheduler) -> None:
        time.sleep(0.002 * (number % 7))
        said[number] = list(scheduler.submit(*jobs[number]))

    with Scheduler(llm, max_rows=5, max_waiting=40) as scheduler:
        threads = [threading.Thread(target=ask, args=(number, scheduler)) for number in range(len(jobs))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        # A place is free a moment after its text's last token was told.
        wait_until_idle(scheduler)
    for number, (prompt, sampling) in enumerate(jobs):
        ids, logprobs = write_slowly(llm.model, prompt, sampling)
        assert [written.id for written in said[number]] == ids
        assert [written.logprob for written in said[number]] == pytest.approx(logprobs, abs=1e-4)
        assert [written.finish_reason for written in said[number][:-1]] == [None] * (len(ids) - 1)
        assert said[number][-1].finish_reason in ("stop", "length")


def test_samples_of_one_request_come_together(llm: LanguageModel) -> None:
    with Scheduler(llm, max_rows=2) as scheduler:
        written = list(scheduler.submit([65, 66], Sampling(seed=3, n=5, max_new_tokens=6)))
    for sample in range(5):
        ids = [one.id for one in written if one.sample_index == sample]
        assert ids == write_slowly(llm.model, [65, 66], Sampling(seed=3, max_new_tokens=6), sample)[0]


def test_the_next_turn_reads_only_what_is_new(llm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    import prosa.generate.engine as engine

    counts, plain = list[int](), engine.read_on
    monkeypatch.setattr(
        engine, "read_on", lambda model, texts, cache: (counts.extend(map(len, texts)), plain(model, texts, cache))[1]
    )
    sampling = Sampling(seed=1, max_new_tokens=5, logit_bias=ENDLESS)
    with Scheduler(llm) as scheduler:
        prompt = list(range(20))
        prompt += [written.id for written in scheduler.submit(prompt, sampling)] + [7, 8]
        answer = [written.id for written in scheduler.submit(prompt, sampling)]
    # The last token of an answer was never read.
    assert counts == [20, 3] and answer == write_slowly(llm.model, prompt, sampling)[0]


def test_who_leaves_frees_the_place_and_ends(llm: LanguageModel) -> None:
    endless = Sampling(seed=0, max_new_tokens=10**6, logit_bias=ENDLESS)
    with Scheduler(llm, max_rows=2, max_waiting=4) as scheduler:
        requests = [scheduler.submit([number], endless) for number in range(5)]
        streams: list[Iterator[Written]] = [iter(request) for request in requests]
        next(streams[0])
        # Those that wait need not wait for a place to be gone.
        for request in requests[2:]:
            request.cancel()
        for stream in streams[2:]:
            assert list(stream) == []
        for request in requests[:2]:
            request.cancel()
        for stream in streams[:2]:
            assert all(written.finish_reason is None for written in stream)
        wait_until_idle(scheduler)
        assert [written.id for written in scheduler.submit([9], Sampling(seed=4, max_new_tokens=3))]
        done = scheduler.submit([9], Sampling(seed=4, max_new_tokens=1))
        assert len(list(done)) == 1
        done.cancel()


def test_too_many_are_sent_away(llm: LanguageModel) -> None:
    endless = Sampling(seed=0, max_new_tokens=10**6, logit_bias=ENDLESS)
    with Scheduler(llm, max_rows=1, max_waiting=2) as scheduler:
        requests = [scheduler.submit([1], endless) for _ in range(3)]
        with pytest.raises(TooBusy, match="waiting already"):
            for _ in range(2):
                scheduler.submit([1], endless)
        with pytest.raises(DataError, match="outside"):
            scheduler.submit([10_000], endless)
        requests[0].cancel()
    with pytest.raises(TooBusy, match="closed"):
        list(requests[1])
    with pytest.raises(TooBusy, match="closed"):
        scheduler.submit([1], endless)
    with pytest.raises(ConfigError, match="at least 1"):
        Scheduler(llm, max_rows=0)


def test_a_failure_reaches_those_it_hit_and_nobody_else(llm: LanguageModel, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, is_broken = RowBatch.decode, threading.Event()

    def decode(self: RowBatch) -> None:
        if is_broken.is_set():
            is_broken.clear()
            raise RuntimeError("no memory")
        plain(self)

    monkeypatch.setattr(RowBatch, "decode", decode)
    sampling = Sampling(seed=0, max_new_tokens=20, logit_bias=ENDLESS)
    with Scheduler(llm) as scheduler:
        hit = scheduler.submit([1], sampling)
        next(iter(hit))
        is_broken.set()
        with pytest.raises(RuntimeError, match="no memory"):
            list(hit)
        assert [one.id for one in scheduler.submit([2], sampling)] == write_slowly(llm.model, [2], sampling)[0]
