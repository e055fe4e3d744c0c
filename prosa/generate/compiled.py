"""The decoding step as a compiled program: made in the background while the model already answers without it.

On a CPU the operations of a small model's step take less time than starting them one by one. The compiler makes loops
of them, and one program for all lengths of text, ahead of time (torch's AOTInductor): to start it is one call, where a
function of torch.compile goes through layers of Python each time.

    one   a single text: every product is a loop that reads the weights as fast as memory gives them
    many  two texts or more together: products are the library's, the rest is fused

Programs are kept on disk (`prosa.device.program_folder`); weights are not in them, so models of one shape share them.
"""

import copy
import hashlib
import inspect
import secrets
import threading
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from prosa.device import program_folder, trust_compiler
from prosa.errors import ConfigError
from prosa.model import KVCache, Transformer, kv_cache

if TYPE_CHECKING:
    from torch.export import ExportedProgram

# Ids, positions, the cache's keys and values come in, in one list that is emptied; the logits go out in another.
Program = Callable[[list[Tensor]], list[Tensor]]
Rows = Literal["one", "many"]
# The compiler compiles one program at a time.
_COMPILING = threading.Lock()


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
        new_ids = torch.tensor(ids, device=kv_cache.device)
        [logits] = program([new_ids, kv_cache.new_positions[:, 0], *kv_cache.keys, *kv_cache.values])
        kv_cache.advance(1)
        return logits

    def _compile(self, rows: Rows) -> None:
        try:
            with _COMPILING:
                self.programs[rows] = make_program(self.model, rows)
        except Exception as error:
            self.problem = str(error).strip().partition("\n")[0] or type(error).__name__


class _Step(nn.Module):
    """`Transformer.step` as a module's own function, which is what can be exported."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor, positions: Tensor, keys: list[Tensor], values: list[Tensor]) -> Tensor:
        return self.model.step(ids, positions, keys, values)


@torch.no_grad()
def export_step(model: Transformer, rows: Rows) -> "ExportedProgram":
    """The step as a graph for any length of text and, with `many`, any number of rows from two on."""
    from torch.export import Dim, export

    # Exporting replaces a module's tensors for a while; the model itself may be answering meanwhile.
    apart = copy.deepcopy(model, {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())})
    weight = model.unembedding
    # Sizes as they usually are, which loops are shared among threads for; no two equal, which would be taken for one.
    n = 1 if rows == "one" else 17
    kv_cache = KVCache(model.settings, n, 192, dtype=weight.dtype, device=weight.device)
    ids, positions = (torch.zeros(n, dtype=torch.long, device=weight.device) for _ in range(2))
    B, S = {0: Dim("B", min=2)} if rows == "many" else {}, {2: Dim("S", min=2)}
    slots = [B | S] * model.settings.n_layer
    inputs, shapes = (ids, positions, kv_cache.keys, kv_cache.values), (B, B, slots, slots)
    return export(_Step(apart), inputs, dynamic_shapes=shapes)


def make_program(model: Transformer, rows: Rows) -> Program:
    """The program with this model's weights, which stay the model's own; compiled unless it lies on disk."""
    path = _program_path(model, rows)
    if not path.is_file():
        _write_program(export_step(model, rows), path)
    # As torch._inductor.aoti_load_package does it, which imports the whole compiler first, for two seconds.
    try:
        loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    except RuntimeError:
        # Damaged, as a crash may leave it: compiled anew the next time.
        path.unlink()
        raise
    tensors = {f"model.{name}": tensor.detach() for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    weights = {name: tensors[name] for name in loader.get_constant_fqns()}
    loader.load_constants(weights, use_inactive=False, check_full_update=True, user_managed=True)

    def run(inputs: list[Tensor]) -> list[Tensor]:
        # The program itself does not keep its weights from being freed.
        assert weights
        return loader.boxed_run(inputs)

    return run


def _write_program(exported: "ExportedProgram", path: Path) -> None:
    trust_compiler()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.stem}-{secrets.token_hex(4)}.pt2")
    options = {"aot_inductor.package_constants_in_so": False}
    # Torch warns of torch's own way to save what it exported.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
    torch._inductor.aoti_compile_and_package(exported, package_path=str(temporary), inductor_configs=options)
    temporary.replace(path)


def _program_path(model: Transformer, rows: Rows) -> Path:
    """Where the program of such a model is kept on this machine: all that its code depends on is in the name."""
    tensors = [
        (name, str(t.dtype), str(t.device), *t.shape) for name, t in (*model.named_parameters(), *model.named_buffers())
    ]
    modules = {inspect.getmodule(type(module)) for module in model.modules()} | {kv_cache}
    sources = sorted(inspect.getsource(module) for module in modules if module is not None)
    machine = torch.__version__, torch.backends.cpu.get_cpu_capability(), torch.get_num_threads()
    name = repr((rows, model.settings, repr(model), tensors, sources, machine))
    return program_folder() / "decoding" / f"{hashlib.sha256(name.encode()).hexdigest()[:32]}.pt2"
