"""The library and documentation of the running Python, a corpus that every machine has.

Nothing comes in; out come the standard library's source files (docstrings are inside them) as code and the
documentation that is installed as articles.
"""

import ast
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

from prosa.corpus.document import Document, ReadReport
from prosa.corpus.files import SourceFile
from prosa.corpus.reading import DocumentsUnit, FilesUnit, ReadRules, Unit, file_units

LICENCE = "PSF-2.0"
# Tests are most of the library's bytes and little of its value; the other folders are not Python's own code.
_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "lib-dynload", "_bundled", "__pycache__"}
_FILES_PER_UNIT = 50


def python_units(rules: ReadRules, report: ReadReport) -> Iterator[Unit]:
    """Units of the standard library, then of the installed documentation."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [
        SourceFile(path, f"Lib/{path.relative_to(root).as_posix()}", "code", "", path.stat().st_size)
        for path in _library_files(root)
    ]
    for start in range(0, len(files), _FILES_PER_UNIT):
        yield FilesUnit(tuple(files[start : start + _FILES_PER_UNIT]))
    topics = root / "pydoc_data" / "topics.py"
    if topics.is_file():
        yield DocumentsUnit(tuple(_topics(topics, rules.source, report)))
    folder = _documentation_folder()
    if folder is not None:
        yield from file_units(folder, rules, report)


def _library_files(root: Path) -> list[Path]:
    return sorted(
        path
        for path in root.rglob("*.py")
        if path.is_file()
        and not _LEFT_OUT.intersection(path.relative_to(root).parts)
        and path.relative_to(root).as_posix() != "pydoc_data/topics.py"
    )


def _topics(path: Path, source: str, report: ReadReport) -> Iterator[Document]:
    """The articles of `help()`: one dict of texts, read without running the file."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assignment = next(node for node in tree.body if isinstance(node, ast.Assign))
        topics = ast.literal_eval(assignment.value)
        pairs = sorted(topics.items())
    except (OSError, SyntaxError, ValueError, StopIteration, AttributeError) as error:
        report.rejected.add("unreadable", "Lib/pydoc_data/topics.py", type(error).__name__)
        return
    for name, text in pairs:
        yield Document(text, "article", "en", source, LICENCE, f"Lib/pydoc_data/topics.py:{name}")


def _documentation_folder() -> Path | None:
    base = Path(sys.base_prefix)
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    candidates = (
        base / "Doc",
        base / "share" / "doc" / f"python{version}" / "html",
        base / "Resources" / "Documentation",
    )
    return next((folder for folder in candidates if folder.is_dir()), None)
