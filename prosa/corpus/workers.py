"""Work spread over processes, results in the order of the tasks.

Tasks come from an iterator, a bounded number at a time, so memory does not grow with the corpus; one process does the
same without any other. Workers ignore Ctrl-C, which is their parent's to handle, and end when their parent does.
"""

import contextlib
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, TypeVar

from prosa.errors import DataError

if TYPE_CHECKING:
    from concurrent.futures import Future, ProcessPoolExecutor

Task = TypeVar("Task")
Result = TypeVar("Result")
_TASKS_PER_WORKER = 2


def count_cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def worker_pool(workers: int) -> Iterator["ProcessPoolExecutor | None"]:
    """A pool of `workers` fresh processes; None for one worker, which is this process."""
    if workers <= 1:
        yield None
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_begin_worker)
    try:
        yield pool
    except BrokenProcessPool:
        raise DataError(
            "a worker process died",
            hint="the system may have run out of memory, or the calling script lacks `if __name__ == '__main__':`; "
            "`workers=1` works in one process",
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def map_in_order(
    pool: "ProcessPoolExecutor | None", function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Iterator[Result]:
    """`function` of every task, in the order of the tasks, with at most two tasks a worker under way."""
    if pool is None:
        yield from map(function, tasks)
        return
    waiting: deque[Future[Result]] = deque()
    for task in tasks:
        waiting.append(pool.submit(function, task))
        if len(waiting) >= _TASKS_PER_WORKER * workers:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A parent that is killed cannot tell its workers to stop, and they would wait for ever."""
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
