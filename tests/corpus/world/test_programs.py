import ast
import subprocess
import sys
from pathlib import Path

from tests.corpus.world.towns import documents, full_town


def test_programs_run_and_their_asserts_hold(tmp_path: Path) -> None:
    programs = [document.text for document in documents(full_town()) if document.kind == "code"][:250]
    assert len(programs) == 250
    source = ""
    for i, text in enumerate(programs):
        source += f"def program_{i}():\n" + "".join(f"    {line}\n" for line in text.split("\n")) + f"program_{i}()\n"
    path = tmp_path / "programs.py"
    path.write_text(source, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-X", "utf8", str(path)], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_every_function_has_a_docstring_and_every_program_an_assert() -> None:
    for document in documents(full_town()):
        if document.kind == "code":
            tree = ast.parse(document.text)
            assert any(isinstance(node, ast.Assert) for node in ast.walk(tree)), document.origin
            for node in tree.body:
                if isinstance(node, ast.FunctionDef | ast.ClassDef):
                    assert ast.get_docstring(node), document.origin


def test_programs_are_varied() -> None:
    texts = [document.text for document in documents(full_town()) if document.kind == "code"]
    assert len(set(texts)) > 0.97 * len(texts)
