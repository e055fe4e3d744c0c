"""What is measured on a machine without bfloat16, and what the page makes of it."""

import sys
from typing import Any

import pytest

from benchmarks.measure import run_process
from benchmarks.report_speed import write_throughput
from benchmarks.throughput import WAYS, choose_ways


def test_nothing_is_measured_that_a_machine_only_imitates() -> None:
    assert all("float32" in way for way in choose_ways("float32", has_litgpt=True))
    assert choose_ways("bfloat16", has_litgpt=True) == list(WAYS)
    assert not any("litgpt" in way for way in choose_ways("bfloat16", has_litgpt=False))


def test_steps_are_held_against_transformers_and_shown_beside_litgpt() -> None:
    page = _write_page((500.0, 1000.0, 800.0, 400.0))
    assert "in\nfloat32 with 4,096 rows. litgpt is 1.2.3 with torch 4.5.6" in page
    assert "**Missed**: 3 times transformers in float32 and 1.8 times its fastest at 14M, 256: 4.00 and 1.33." in page
    assert "**Missed**: 55% of the matrix rate at 14M, 256: 50.0%." in page
    assert "**Met**: no more memory than any of the peer's at 14M, 256: 0.62." in page
    assert "not measured" not in page
    litgpt = next(line for line in page.splitlines() if "litgpt float32" in line)
    assert litgpt.endswith("| 1.25 |")


def test_a_peak_that_several_share_is_no_measurement() -> None:
    page = _write_page((787.0, 1000.0, 787.0, 400.0))
    assert "Memory at 14M, 256: not measured." in page
    assert "no more memory" not in page


def _write_page(megabytes: tuple[float, float, float, float]) -> str:
    rates = {
        "prosa float32, compiled": 4000.0,
        "transformers float32": 1000.0,
        "transformers float32, compiled": 3000.0,
        "litgpt float32, compiled": 3200.0,
    }
    case = {
        "ways": {way: _way(rates[way], peak) for way, peak in zip(rates, megabytes, strict=True)},
        "problems": {},
        "flops_per_token": 2e7,
        "product_gflops": 160.0,
    }
    result = {"threads": 2, "dtype": "float32", "litgpt": "1.2.3 with torch 4.5.6", "cases": {"14M, 256": case}}
    return write_throughput({"result": result})


def _way(rate: float, megabytes: float) -> dict[str, Any]:
    return {
        "tokens_per_second": {"median": rate, "low": rate, "high": rate, "values": [rate]},
        "learn_seconds": 1.0,
        "update_seconds": 0.1,
        "first_step_seconds": [2.0],
        "peak_megabytes": megabytes,
        "loss": 7.6,
    }


@pytest.mark.skipif(sys.platform == "win32", reason="`resource` is not there")
def test_memory_is_that_of_the_process_and_not_of_the_one_that_started_it() -> None:
    held = bytearray(300_000_000)
    held[::4096] = b"\1" * len(held[::4096])
    code = "from benchmarks.measure import peak_bytes; print(peak_bytes())"
    peak = int(run_process([sys.executable, "-c", code]).stdout)
    assert 5_000_000 < peak < 100_000_000
