"""The decoding step as a compiled program: made in the background while the model already answers without it.

On a CPU the operations of a small model's step take less time than starting them one by one. torch.compile makes loops
of them, and one program for all lengths of text.

    one   a single text: every product is a loop that reads the weights as fast as memory gives them
    many  two texts or more together: products are the library's, the rest is fused
"""

import threading
from collections.abc import Callable, Sequence
from types import FunctionType, MethodType
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from prosa.errors import ConfigError
from prosa.model import KVCache, Transformer

Program = Callable[[Tensor, Tensor, list[Tensor], list[Tensor]], Tensor]
Rows = Literal["one", "many"]


def halve_matrices(model: Transformer) -> Transformer:
    """The model with its matrices in bfloat16, which takes half of the memory that decoding waits for on a CPU.

    Norms and the residual stream stay as they were; the cache of keys and values is in bfloat16 too.
    """
    for parameter in model.parameters():
        if parameter.ndim == 2:
            parameter.data = parameter.data.bfloat16()
    return model


class CompiledSteps:
    """The programs of one model, each there once it is compiled. The model's weights must stay where they are."""

    def __init__(self, model: Transformer) -> None:
        self.model = model
        self.programs: dict[Rows, Program] = {}
        self.problem = ""
        self._threads: dict[Rows, threading.Thread] = {}

    def start(self, rows: Rows) -> None:
        """Begins to compile, unless it has begun; what goes wrong is kept in `problem`, as nothing depends on it."""
        if rows not in self._threads:
            # A daemon, so that a program may end before its compiler does.
            self._threads[rows] = threading.Thread(target=self._compile, args=(rows,), daemon=True)
            self._threads[rows].start()

    def wait(self, rows: Rows) -> None:
        """Until the program is there; ConfigError if it cannot be made."""
        self.start(rows)
        self._threads[rows].join()
        if rows not in self.programs:
            raise ConfigError(
                f"decoding cannot be compiled here: {self.problem}", hint="leave compiling out; it changes speed alone"
            )

    def read(self, ids: Sequence[int], kv_cache: KVCache) -> Float[Tensor, "B V"] | None:
        """Logits after one more token in each row of the cache; None while there is no program for so many rows."""
        program = self.programs.get("one" if len(ids) == 1 else "many")
        if program is None:
            return None
        kv_cache.reserve(1)
        device = kv_cache.device
        positions = torch.tensor(kv_cache.lengths, device=device)
        logits = program(torch.tensor(ids, device=device), positions, kv_cache.keys, kv_cache.values)
        kv_cache.advance(1)
        return logits

    @torch.inference_mode()
    def _compile(self, rows: Rows) -> None:
        try:
            program = _compile_apart(self.model)
            weight = self.model.unembedding
            n = 1 if rows == "one" else 2
            # Sizes that differ, as the compiler takes equal ones for the same.
            kv_cache = KVCache(self.model.settings, n, 64, dtype=weight.dtype, device=weight.device)
            ids, positions = (torch.zeros(n, dtype=torch.long, device=weight.device) for _ in range(2))
            for tensor in (*kv_cache.keys, *kv_cache.values):
                torch._dynamo.mark_dynamic(tensor, 2)
            if n > 1:
                for tensor in (ids, positions, *kv_cache.keys, *kv_cache.values):
                    torch._dynamo.mark_dynamic(tensor, 0)
            program(ids, positions, kv_cache.keys, kv_cache.values)
            self.programs[rows] = program
        except Exception as error:
            self.problem = str(error).strip().partition("\n")[0] or type(error).__name__


def _compile_apart(model: Transformer) -> Program:
    """The model's step, compiled without guards: what torch asks before each call takes as long as a small model.

    The guards would find that tensors are as those it was compiled with, which `CompiledSteps` sees to, and that it is
    the same model. Torch keeps programs by their code object, so this one's is a copy.
    """
    function, is_cpu = Transformer.step, model.unembedding.device.type == "cpu"
    own = FunctionType(function.__code__.replace(), function.__globals__, function.__name__)
    options: dict[str, Any] = {"guard_filter_fn": lambda guards: [False] * len(guards), "cpp_wrapper": is_cpu}
    compiled: Program = torch.compile(MethodType(own, model), fullgraph=True, options=options)
    return compiled
