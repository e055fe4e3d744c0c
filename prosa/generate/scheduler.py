"""Texts that many ask for at once, written together by one thread: each joins and leaves between two tokens.

What a text says does not depend on the others. Prompts that wait are read together, and what a new prompt has in
common with an earlier text (the conversation so far, a system message) is not read again.
"""

import queue
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from prosa.errors import ConfigError, TooBusy
from prosa.generate.engine import Drawn, FinishReason, Row, RowBatch, make_rows
from prosa.generate.language_model import LanguageModel
from prosa.generate.prefixes import Prefixes
from prosa.generate.sampling import Sampling

# Tokens of prompts read between two tokens of the texts at work, which wait meanwhile.
_PREFILL_TOKENS = 1024


class Written(NamedTuple):
    """A token of one sample, and the text that became certain with it; the reason with the sample's last one."""

    sample_index: int
    id: int
    text: str
    logprob: float
    finish_reason: FinishReason | None


class Request:
    """What one caller asked for: iterate to get its tokens as they are written, until all its samples are done."""

    def __init__(self, rows: Sequence[Row]) -> None:
        self.rows = rows
        self._events: queue.SimpleQueue[Written | Exception | None] = queue.SimpleQueue()
        self._is_cancelled = threading.Event()

    def __iter__(self) -> Iterator[Written]:
        """Raises what went wrong, if the model failed or the scheduler was closed; after `cancel` it just ends."""
        while (event := self._events.get()) is not None:
            if isinstance(event, Exception):
                raise event
            yield event

    def cancel(self) -> None:
        """Ends the request before its next token; one that is done stays as it is."""
        self._is_cancelled.set()


class Scheduler:
    """Writes for many callers, from any thread, until it is closed; use it with `with`.

    max_rows: texts written together. max_waiting: texts that may wait for a place. max_kept_tokens: of texts whose
    keys and values are kept for prompts that begin with them.
    """

    def __init__(
        self, llm: LanguageModel, *, max_rows: int = 16, max_waiting: int = 64, max_kept_tokens: int = 32_768
    ) -> None:
        if min(max_rows, max_waiting) < 1 or max_kept_tokens < 0:
            raise ConfigError("max_rows and max_waiting are at least 1, max_kept_tokens at least 0")
        self.llm, self.max_rows, self.max_waiting, self.max_kept_tokens = llm, max_rows, max_waiting, max_kept_tokens
        self._changed = threading.Condition()
        self._is_closed = False
        # The thread's own, apart from `_waiting`, which the condition guards.
        self._batch = self._new_batch()
        self._request_of: dict[int, Request] = {}
        self._waiting: deque[tuple[Row, Request]] = deque()
        llm.model.eval()
        self._thread = threading.Thread(target=self._work, name="scheduler", daemon=True)
        self._thread.start()

    def __enter__(self) -> "Scheduler":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def n_active(self) -> int:
        """Texts being written."""
        return len(self._batch.rows)

    @property
    def n_waiting(self) -> int:
        """Texts waiting for a place."""
        return len(self._waiting)

    def submit(self, prompt: Sequence[int], sampling: Sampling) -> Request:
        """Asks for the samples of one prompt, given as ids.

        Raises TooBusy when too many texts wait or the scheduler is closed, DataError for a prompt that cannot be read.
        """
        rows = make_rows(self.llm.tokenizer, [prompt], [sampling], self.llm.model.settings.context_length)
        request = Request(rows)
        with self._changed:
            if self._is_closed:
                raise TooBusy("the scheduler is closed")
            n_free = self.max_rows - self.n_active
            if self.n_waiting + len(rows) > self.max_waiting + n_free:
                raise TooBusy(f"{self.n_waiting} texts are waiting already", hint="ask again in a moment")
            self._waiting.extend((row, request) for row in rows)
            self._changed.notify()
        return request

    def close(self) -> None:
        """Stops writing at once; requests that are not done get a TooBusy."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        while self._wait_for_work():
            try:
                self._drop_cancelled()
                self._let_in()
                self._write_one_token()
            except Exception as error:
                self._fail(error)
        self._fail(TooBusy("the scheduler was closed"))

    def _wait_for_work(self) -> bool:
        """False when the scheduler is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting or self._batch.rows)
            return not self._is_closed

    def _drop_cancelled(self) -> None:
        with self._changed:
            for row, request in [one for one in self._waiting if one[1]._is_cancelled.is_set()]:
                self._waiting.remove((row, request))
                self._leave(row, request, "cancelled")
        for row in self._batch.rows:
            if (request := self._request_of[id(row)])._is_cancelled.is_set():
                self._leave(row, request, "cancelled")
        self._batch.drop_finished()

    def _let_in(self) -> None:
        """As many of those that wait as there is room for, and as can be read without holding up the others long."""
        rows: list[Row] = []
        n_tokens = 0
        with self._changed:
            while self._waiting and len(self._batch.rows) + len(rows) < self.max_rows:
                row, request = self._waiting[0]
                n_tokens += row.n_prompt
                if rows and n_tokens > _PREFILL_TOKENS:
                    break
                self._waiting.popleft()
                self._request_of[id(row)] = request
                rows.append(row)
        if rows:
            self._batch.join(rows)

    def _write_one_token(self) -> None:
        if not self._batch.rows:
            return
        for drawn in self._batch.draw():
            self._deliver(drawn)
        self._batch.drop_finished()
        self._batch.decode()

    def _deliver(self, drawn: Drawn) -> None:
        row, request = drawn.row, self._request_of[id(drawn.row)]
        request._events.put(Written(row.sample_index, drawn.id, drawn.piece, row.logprobs[-1], row.finish_reason))
        if row.finish_reason is not None:
            self._leave(row, request, row.finish_reason)

    def _leave(self, row: Row, request: Request, reason: FinishReason) -> None:
        row.finish_reason = reason
        self._request_of.pop(id(row), None)
        if all(row.finish_reason is not None for row in request.rows):
            request._events.put(None)

    def _fail(self, error: Exception) -> None:
        """Tells everybody, and begins anew with nothing."""
        with self._changed:
            requests = {id(request): request for request in self._request_of.values()}
            if self._is_closed:
                requests |= {id(request): request for _, request in self._waiting}
                self._waiting.clear()
            self._request_of.clear()
            self._batch = self._new_batch()
        for request in requests.values():
            request._events.put(error)

    def _new_batch(self) -> RowBatch:
        llm = self.llm
        return RowBatch(llm.model, llm.tokenizer, llm.steps, Prefixes(self.max_kept_tokens), keeps_texts=True)
