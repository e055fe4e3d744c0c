"""Taste as code: what CONTRIBUTING.md promises about every module of prosa/, read from its syntax tree."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "prosa"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60
BANNED_NAMES = {"utils", "util", "common", "misc", "helpers", "helper", "base", "core", "manager", "types"}
MAY_PRINT = {"cli.py", "tables.py", "metrics.py"}
MAY_READ_ENVIRONMENT = {"device.py"}
BANNED_IMPORTS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
BANNED_CALLS = {"eval", "exec", "__import__", "torch.load", "numpy.load", "np.load", "os.system"}


@cache
def tree_of(module: Path) -> ast.Module:
    return ast.parse(module.read_text(encoding="utf-8"), filename=str(module))


def functions(module: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def place(module: Path, node: ast.AST) -> str:
    return f"{module.relative_to(ROOT).as_posix()}:{getattr(node, 'lineno', 1)}"


def room_of(dotted: str) -> str:
    """The package through whose door a module is entered; `prosa.corpus.world` has a door of its own."""
    parts = dotted.split(".")
    return ".".join(parts[:3]) if parts[:3] == ["prosa", "corpus", "world"] else ".".join(parts[:2])


def test_no_module_has_a_name_that_means_anything():
    assert [path for path in [*MODULES, *PACKAGE.rglob("*/")] if path.stem in BANNED_NAMES] == []


def test_modules_and_functions_are_small():
    long = [
        f"{place(module, ast.Module())} has {n_lines} lines"
        for module in MODULES
        if (n_lines := len(module.read_text(encoding="utf-8").splitlines())) > MAX_MODULE_LINES
    ]
    long += [
        f"{place(module, function)} {function.name} has {n_lines} lines"
        for module in MODULES
        for function in functions(module)
        if (n_lines := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_every_module_says_what_it_is():
    silent = [m for m in MODULES if m.name != "__main__.py" and not ast.get_docstring(tree_of(m))]
    assert silent == []


def test_every_public_function_is_annotated():
    bare = []
    for module in MODULES:
        for function in functions(module):
            arguments = function.args
            named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            named += [argument for argument in (arguments.vararg, arguments.kwarg) if argument]
            missing = [a.arg for a in named if a.annotation is None and a.arg not in ("self", "cls")]
            if not function.name.startswith("_") and (missing or function.returns is None):
                bare.append(f"{place(module, function)} {function.name} {missing}")
    assert bare == []


def test_only_the_terminal_rooms_print():
    found = [
        place(module, node)
        for module in MODULES
        if module.name not in MAY_PRINT
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"
    ]
    assert found == []


def test_nothing_runs_what_it_reads():
    found = []
    for module in MODULES:
        for node in ast.walk(tree_of(module)):
            match node:
                case ast.Import(names=names):
                    is_bad = any(alias.name.partition(".")[0] in BANNED_IMPORTS for alias in names)
                case ast.ImportFrom(module=str(name)):
                    is_bad = name.partition(".")[0] in BANNED_IMPORTS
                case ast.Call(func=function, keywords=keywords):
                    runs_a_shell = any(
                        k.arg == "shell" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
                        for k in keywords
                    )
                    trusts = any(k.arg == "trust_remote_code" for k in keywords)
                    is_bad = ast.unparse(function) in BANNED_CALLS or runs_a_shell or trusts
                case _:
                    is_bad = False
            if is_bad:
                found.append(f"{place(module, node)} {ast.unparse(node)}")
    assert found == []


def test_only_device_reads_the_environment():
    found = [
        f"{place(module, node)} {ast.unparse(node)}"
        for module in MODULES
        if module.name not in MAY_READ_ENVIRONMENT
        for node in ast.walk(tree_of(module))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in ("os.environ", "os.getenv", "os.putenv")
    ]
    assert found == []


def test_rooms_are_entered_through_their_doors():
    """The order of rooms is import-linter's (`make check`); that nobody climbs in by a window is checked here."""
    packages = {".".join(p.parent.relative_to(ROOT).parts) for p in MODULES if p.name == "__init__.py"}
    windows = []
    for module in MODULES:
        here = ".".join(module.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(tree_of(module)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                room = room_of(name)
                if name.startswith("prosa.") and room in packages and name != room and room_of(here) != room:
                    windows.append(f"{place(module, node)} {name}")
    assert windows == []


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import prosa", ("torch", "numpy", "rich", "pydantic", "pyarrow")),
        ("import prosa.corpus, prosa.corpus.world", ("torch", "pyarrow", "trafilatura", "datasets", "py3langid")),
        ("import prosa.tokenizer", ("torch", "transformers", "datasets")),
        (
            "import sys; sys.argv = ['prosa', '--help']\n"
            "from prosa.cli import main\ntry: main()\nexcept SystemExit as end: assert not end.code",
            ("torch", "numpy", "pyarrow"),
        ),
    ],
    ids=["prosa", "corpus", "tokenizer", "help"],
)
def test_starting_is_light(statement: str, absent: tuple[str, ...]):
    code = f"{statement}\nimport sys; print(sorted(set({absent!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
