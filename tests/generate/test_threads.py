from collections.abc import Iterator

import pytest
import torch

from prosa.generate import choose_threads
from prosa.generate import threads as threads_module
from tests.generate.tiny import byte_model


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(("most", "fastest"), [(1, 1), (2, 1), (2, 2), (6, 4), (6, 6), (8, 2)])
def test_the_fastest_number_is_set(monkeypatch: pytest.MonkeyPatch, most: int, fastest: int) -> None:
    clock, tried, decode = [0.0], list[int](), threads_module.decode_one_token

    def step(*arguments: object) -> object:
        tried.append(torch.get_num_threads())
        # Now and then the machine is busy with something else.
        clock[0] += 1 + abs(tried[-1] - fastest) + 10 * (len(tried) % 7 == 0)
        return decode(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(threads_module, "decode_one_token", step)
    monkeypatch.setattr(threads_module.time, "perf_counter", lambda: clock[0])
    torch.set_num_threads(most)
    assert choose_threads(byte_model(), n_rows=2) == torch.get_num_threads() == fastest
    assert set(tried) == {count for count in (1, 2, 4, 8) if count < most} | ({most} if most > 1 else set())
