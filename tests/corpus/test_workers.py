import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from prosa.corpus.workers import count_cores, map_in_order, worker_pool
from prosa.errors import DataError

PARENT = """
import os, time
from prosa.corpus.workers import worker_pool
if __name__ == "__main__":
    with worker_pool(2) as pool:
        print(*[pool.submit(os.getpid).result() for _ in range(1)], flush=True)
        pool.submit(time.sleep, 600).result()
"""


def test_results_come_in_the_order_of_the_tasks_and_tasks_are_not_drawn_ahead_of_need() -> None:
    drawn: list[int] = []

    def tasks() -> object:
        for number in range(100):
            drawn.append(number)
            yield -number

    with worker_pool(1) as pool:
        results = map_in_order(pool, abs, tasks(), 1)  # type: ignore[arg-type]
        assert [next(results) for _ in range(3)] == [0, 1, 2] and len(drawn) == 3
    drawn.clear()
    with worker_pool(2) as pool:
        results = map_in_order(pool, abs, tasks(), 2)  # type: ignore[arg-type]
        assert [next(results) for _ in range(3)] == [0, 1, 2] and len(drawn) <= 6
        assert list(results) == list(range(3, 100))
    assert count_cores() >= 1


def test_a_worker_that_dies_is_an_error_with_a_hint() -> None:
    with pytest.raises(DataError, match="worker process died") as error, worker_pool(2) as pool:
        list(map_in_order(pool, os._exit, [1, 1], 2))
    assert "workers=1" in str(error.value)


@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert psutil.pid_exists(worker)
        os.kill(parent.pid, signal.SIGKILL)
        parent.wait()
        end = time.monotonic() + 30
        while psutil.pid_exists(worker) and psutil.Process(worker).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < end, "the worker outlived its parent"
            time.sleep(0.05)
