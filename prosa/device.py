"""What this machine offers a model: device, number format, threads, and how fast it multiplies matrices."""

import ctypes
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ParamSpec, TypeVar

import psutil
import torch

from prosa.errors import ConfigError
from prosa.streams import derive_seed

# One square size big enough to be compute bound and small enough to finish in milliseconds.
_PROBE_SIZE = 1024
_PROBE_SECONDS = 0.15
# Products timed at least, however long they take.
_PROBE_REPEATS = 5
# Memory held over what a step needs, when freed memory is given back.
_GROWTH = 1.25
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Device:
    """Where a job computes and in which number format; chosen by `choose_device`, printed by every job."""

    type: str
    name: str
    threads: int
    compute_dtype: torch.dtype
    matmul_flops_per_second: float
    reason: str

    @property
    def torch_device(self) -> torch.device:
        return torch.device(self.type)

    @property
    def dtype(self) -> str:
        """The number format's name, as settings and jobs have it."""
        return str(self.compute_dtype).removeprefix("torch.")


def choose_device(requested: str = "auto", dtype: str = "auto", threads: int = 0) -> Device:
    """The device to compute on; `dtype` auto is bfloat16 where it multiplies 1.3 times faster than float32.

    requested: auto, cpu, cuda or mps; threads: 0 leaves torch's own choice.
    """
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    kind = choose_device_type(requested)
    rates = {torch.float32: measure_matmul(kind, torch.float32), torch.bfloat16: measure_matmul(kind, torch.bfloat16)}
    ratio = rates[torch.bfloat16] / rates[torch.float32]
    if dtype == "auto":
        chosen = torch.bfloat16 if ratio >= 1.3 else torch.float32
    else:
        chosen = {"float32": torch.float32, "bfloat16": torch.bfloat16}[dtype]
    name = torch.cuda.get_device_name() if kind == "cuda" else _cpu_name()
    reason = f"bfloat16 multiplies {ratio:.2g}x as fast as float32 here"
    if dtype != "auto":
        reason += ", set by hand"
    return Device(kind, name, torch.get_num_threads(), chosen, rates[chosen], reason)


@lru_cache(maxsize=1)
def keep_freed_memory() -> bool:
    """Tells glibc to keep freed memory for the next allocation; whether it is glibc and agreed.

    It returns large blocks to the system at once, and a training step that allocates the same again then waits for
    every page to be mapped and zeroed: a quarter of the time of a small model's step (docs/log.md).
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1) and mallopt(top_pad, 64 * 2**20))


class FreedMemory:
    """Memory kept for the next allocation, given back once it is much more than a step needs.

    Steps of ever other sizes leave holes in the heap that nothing fits into: a reward model of three million
    parameters came to hold 10 GB (docs/log.md).
    """

    def __init__(self) -> None:
        self._process = psutil.Process()
        # Held after the first step, and after the first one since memory was given back; 0: not known yet.
        self._usual_bytes = 0

    def give_back(self) -> bool:
        """To be called after every step; whether it gave memory back."""
        held = self._process.memory_info().rss
        self._usual_bytes = self._usual_bytes or held
        if held < _GROWTH * self._usual_bytes or not keep_freed_memory():
            return False
        ctypes.CDLL(None).malloc_trim(0)
        self._usual_bytes = 0
        return True


def choose_device_type(requested: str) -> str:
    """`requested`, or for auto cuda where there is one and cpu elsewhere."""
    if requested != "auto":
        return requested
    return "cuda" if torch.cuda.is_available() else "cpu"


@lru_cache(maxsize=8)
def measure_matmul(kind: str, dtype: torch.dtype) -> float:
    """Floating-point operations per second of one large matrix product, the fastest of several.

    Of a small one where a large one would take too long, as in number formats that the processor only emulates.
    """
    rate = _measure_product(kind, dtype, _PROBE_SIZE // 4, _PROBE_SECONDS / 5)
    if 2 * _PROBE_SIZE**3 / rate > _PROBE_SECONDS:
        return rate
    return _measure_product(kind, dtype, _PROBE_SIZE, _PROBE_SECONDS)


def _measure_product(kind: str, dtype: torch.dtype, size: int, seconds: float) -> float:
    left, right = (torch.randn(size, size, device=kind).to(dtype) for _ in range(2))
    # The first product waits for its kernel to be loaded or generated, on a busy machine for a good while.
    left @ right
    best, n_timed = float("inf"), 0
    end = time.perf_counter() + seconds
    while n_timed < _PROBE_REPEATS or time.perf_counter() < end:
        start = time.perf_counter()
        left @ right
        if kind == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
        n_timed += 1
    return 2 * size**3 / best


def torch_stream(seed: int, purpose: str, *counters: int, device: str = "cpu") -> torch.Generator:
    """A torch generator for one purpose and position (see prosa.streams)."""
    return torch.Generator(device=device).manual_seed(derive_seed(seed, purpose, *counters))


def seed_everything(seed: int, purpose: str, *counters: int) -> None:
    """Sets torch's global stream, which dropout reads; called at each step so that resuming needs no saved state."""
    torch.manual_seed(derive_seed(seed, purpose, *counters))


def find_compiler() -> str:
    """The C++ compiler that torch.compile works with on CPUs, or nothing."""
    return next(filter(None, map(shutil.which, ("g++", "clang++", "c++"))), "")


def program_folder() -> Path:
    """Where compiled programs are kept: torch's own folder if one was chosen, else the user's."""
    return Path(os.environ.get("TORCHINDUCTOR_CACHE_DIR") or Path.home() / ".cache" / "prosa")


def trust_compiler() -> None:
    """Spares torch's compiler its question whether the C++ compiler knows this processor's instructions.

    It builds and runs up to nine programs to find out, for ten seconds. GCC knows them all from version 11 on.
    """
    from torch._inductor import config, cpp_builder, exc

    try:
        # The one that torch will use, which the environment may name.
        compiler = cpp_builder.get_cpp_compiler()
    except exc.InvalidCxxCompiler:
        return
    if Path(compiler).name != "g++":
        return
    said = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True, check=False).stdout
    if said.split(".")[0].strip() in map(str, range(11, 100)):
        config.cpp.vec_isa_ok = True


@lru_cache(maxsize=4)
def find_compiler_problem(kind: str) -> str:
    """Why torch.compile does not work on a cpu or cuda here, or nothing; found out by compiling one small loop.

    A compiler alone is not enough: Python's headers must lie beside it, and on macOS OpenMP's.
    """
    if kind == "cpu" and not find_compiler():
        return "no C++ compiler found"
    try:
        trust_compiler()
        torch.compile(lambda x: x.sin() + 1, dynamic=False)(torch.zeros(64, device=kind))
    except Exception as error:
        return _read_compiler_error(error)
    return ""


def compile_function(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """`function` as torch.compile makes it, anew for every shape; its first call is a ConfigError where that fails."""
    trust_compiler()
    compiled = torch.compile(function, dynamic=False)

    def call(*given: _Given.args, **named: _Given.kwargs) -> _Result:
        try:
            return compiled(*given, **named)
        except torch._dynamo.exc.TorchDynamoException as error:
            raise ConfigError(
                f"torch.compile does not work here: {_read_compiler_error(error)}",
                hint="`compile` set to no needs no compiler; training is slower then, and the same otherwise",
            ) from error

    return call


def _read_compiler_error(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return next((line for line in lines if "error: " in line), lines[0]).strip()


def available_memory_bytes() -> int:
    """Memory that can be taken without swapping."""
    return int(psutil.virtual_memory().available)


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
