"""Freed memory is kept while steps are alike and given back when the process has grown; a new compiler is trusted."""

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch._inductor.config as inductor

from prosa import device
from prosa.device import FreedMemory, trust_compiler


def test_memory_is_given_back_when_the_process_has_grown(monkeypatch: pytest.MonkeyPatch) -> None:
    trimmed: list[int] = []
    monkeypatch.setattr(device, "keep_freed_memory", lambda: True)
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: SimpleNamespace(malloc_trim=trimmed.append))
    held = iter([100, 110, 124, 126, 105, 130, 132])
    freed = FreedMemory()
    freed._process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=next(held)))  # type: ignore[assignment]
    # The first step after giving back says anew what is usual.
    assert [freed.give_back() for _ in range(7)] == [False, False, False, True, False, False, True]
    assert trimmed == [0, 0]


def test_other_c_libraries_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "keep_freed_memory", lambda: False)
    monkeypatch.setattr(device.ctypes, "CDLL", lambda name: pytest.fail("there is nothing to call"))
    held = iter([100, 1000])
    freed = FreedMemory()
    freed._process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=next(held)))  # type: ignore[assignment]
    assert not freed.give_back() and not freed.give_back()


@pytest.mark.skipif(sys.platform == "win32", reason="the compiler here is a shell script")
@pytest.mark.parametrize(
    ("name", "version", "expected"), [("g++", "12", True), ("g++", "9.4.0", None), ("c++", "12", None)]
)
def test_a_new_compiler_is_trusted(
    name: str, version: str, expected: bool | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiler = tmp_path / name
    compiler.write_text(f"#!/bin/sh\necho {version}\n")
    compiler.chmod(0o755)
    monkeypatch.setattr(device, "find_compiler", lambda: str(compiler))
    monkeypatch.setattr("torch._inductor.cpp_builder.get_cpp_compiler", lambda: str(compiler))
    with inductor.patch({"cpp.vec_isa_ok": None}):
        trust_compiler()
        assert inductor.cpp.vec_isa_ok is expected


# What a compiler says where Python's headers are missing.
_SAID = "main.cpp:3:10: fatal error: Python.h: No such file or directory"


@pytest.mark.skipif(sys.platform != "linux", reason="the compiler here is a shell script called g++")
@pytest.mark.parametrize(
    ("has_compiler", "found", "said"),
    [(True, _SAID, _SAID), (False, "no C++ compiler found", "No working C++ compiler found")],
)
def test_a_compiler_that_fails_is_found_out_before_or_ends_without_a_traceback(
    has_compiler: bool, found: str, said: str, tmp_path: Path
) -> None:
    if has_compiler:
        compiler = tmp_path / "g++"
        compiler.write_text(f"#!/bin/sh\ncase $1 in *version) echo 13; exit;; esac\necho '{_SAID}' >&2\nexit 1\n")
        compiler.chmod(0o755)
    program = """if True:
        import torch
        from prosa.device import compile_function, find_compiler_problem
        from prosa.errors import ConfigError
        print(find_compiler_problem("cpu"))
        try:
            compile_function(torch.cos)(torch.zeros(64))
        except ConfigError as error:
            print(error)
    """
    environment = os.environ | {"PATH": str(tmp_path), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "kept")}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    problem, error, _, hint = done.stdout.splitlines()
    assert problem == found and said in error and hint.startswith("hint: ")


def test_whatever_else_stops_the_compiler_is_found_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise PermissionError("g++ may not be started")

    monkeypatch.setattr(device, "find_compiler", lambda: "g++")
    monkeypatch.setattr(device, "trust_compiler", fail)
    assert device.find_compiler_problem.__wrapped__("cpu") == "g++ may not be started"


@pytest.mark.parametrize(("first_seconds", "later_seconds"), [(1.0, 1e-3), (1e-3, 1e-3), (0.2, 0.1)])
def test_a_slow_first_product_says_nothing_of_the_machine(
    first_seconds: float, later_seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, waits = [0.0], iter([first_seconds])

    def multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        now[0] += next(waits, later_seconds)
        return left

    monkeypatch.setattr(device, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    monkeypatch.setattr(torch.Tensor, "__matmul__", multiply)
    rate = device._measure_product("cpu", torch.float32, 64, seconds=0.03)
    assert rate == pytest.approx(2 * 64**3 / later_seconds)
    assert now[0] == pytest.approx(first_seconds + max(5 * later_seconds, 0.03), abs=later_seconds)


def test_a_real_process_may_be_asked() -> None:
    assert FreedMemory().give_back() is False
