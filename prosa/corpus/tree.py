"""The files of a folder or source tree that are worth reading, in a fixed order.

A path comes in; files with their formats come out. Version control, vendored, generated, git-ignored and hidden files
are skipped and counted, links that lead in a circle are followed once.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from prosa.corpus.document import ReadReport
from prosa.corpus.files import SourceFile

if TYPE_CHECKING:
    import pathspec

_FORMATS = {
    "text": "txt text",
    "markdown": "md markdown rst adoc tex",
    "html": "html htm xhtml",
    "jsonl": "jsonl ndjson",
    "json": "json",
    "csv": "csv tsv",
    "parquet": "parquet pq",
    "code": "py pyi pyx ipy c h cc cpp cxx hpp hh cs java kt kts scala go rs swift m mm js jsx mjs cjs ts tsx vue"
    " svelte rb php pl pm lua r jl hs ml mli ex exs erl clj lisp el scm f90 f for pas d nim zig dart sh bash zsh fish"
    " ps1 bat sql css scss less asm s v sv vhd cu proto graphql cmake mk gradle groovy tf nix",
}
FORMAT_OF_SUFFIX = {f".{suffix}": name for name, suffixes in _FORMATS.items() for suffix in suffixes.split()}
_CODE_NAMES = {"makefile", "dockerfile", "cmakelists.txt", "rakefile", "gemfile", "justfile"}
_COMPRESSIONS = {".gz": "gz", ".zst": "zst"}

_TOOL_FOLDERS = {".git", ".hg", ".svn", "__pycache__", "node_modules", "bower_components", "site-packages"}
_VENDORED_FOLDERS = {"vendor", "vendored", "_vendor", "third_party", "thirdparty", "3rdparty", "venv", "virtualenv"}
_BUILT_FOLDERS = {"build", "dist", "target", "_build", "htmlcov"}
_LOCK_FILES = re.compile(r"(package-lock|npm-shrinkwrap|composer|pipfile|pnpm-lock)\.?.*|.*\.lock|go\.sum", re.I)
_GENERATED = re.compile(r"@generated|\bauto-?generated\b|\bgenerated (by|from|automatically)\b|\bdo not edit\b", re.I)


@dataclass(frozen=True, slots=True)
class _IgnoreRules:
    """One .gitignore: `spec` matches paths relative to `folder`."""

    folder: Path
    spec: "pathspec.GitIgnoreSpec"


def format_of(path: Path) -> tuple[str, str]:
    """(format, compression) by the file's name; the format is "" if it is none that we read."""
    compression = _COMPRESSIONS.get(path.suffix.lower(), "")
    inner = path.with_suffix("") if compression else path
    if inner.name.lower() in _CODE_NAMES:
        return "code", compression
    return FORMAT_OF_SUFFIX.get(inner.suffix.lower(), ""), compression


def is_generated(text: str) -> bool:
    """True if source code says in its first lines that a program wrote it, or if its lines are those of a minifier."""
    head = "\n".join(text[:2000].split("\n", 5)[:5])
    if _GENERATED.search(head):
        return True
    n_lines = text.count("\n") + 1
    return len(text) > 5000 and len(text) / n_lines > 200


def walk(root: Path, report: ReadReport, *, keeps_ignored: bool) -> Iterator[SourceFile]:
    """The readable files under `root` (or `root` itself), sorted by path; what is left out is counted."""
    root = Path(os.path.abspath(root))  # noqa: PTH100 (resolve() would follow links)
    if root.is_file():
        format_name, compression = format_of(root)
        yield SourceFile(root, root.name, format_name or "text", compression, root.stat().st_size)
        return
    rules = [] if keeps_ignored else _outer_rules(root)
    yield from _walk_folder(root, "", rules, {os.path.realpath(root)}, report, keeps_ignored)


def _walk_folder(
    folder: Path, prefix: str, rules: list[_IgnoreRules], visited: set[str], report: ReadReport, keeps_ignored: bool
) -> Iterator[SourceFile]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        report.rejected.add("unreadable", prefix or ".", error.strerror or "")
        return
    if not keeps_ignored and any(entry.name == ".gitignore" for entry in entries):
        rules = [*rules, *_read_rules(folder, report, prefix)]
    for entry in entries:
        name, path = f"{prefix}{entry.name}", folder / entry.name
        try:
            is_folder = entry.is_dir()
            n_bytes = entry.stat().st_size
        except OSError as error:
            report.rejected.add("unreadable", name, error.strerror or "")
            continue
        format_name, compression = format_of(path)
        reason = "" if keeps_ignored else _skip_reason(entry.name, path, is_folder, rules)
        if not reason and is_folder:
            real = os.path.realpath(path)
            if real in visited:
                reason = "link to a folder already read"
            visited.add(real)
        if not reason and not is_folder and not format_name:
            reason = f"unknown format {path.suffix or '(no suffix)'}"
        if reason:
            report.skipped.add(reason, name)
        elif is_folder:
            yield from _walk_folder(path, f"{name}/", rules, visited, report, keeps_ignored)
        else:
            yield SourceFile(path, name, format_name, compression, n_bytes)


def _skip_reason(name: str, path: Path, is_folder: bool, rules: list[_IgnoreRules]) -> str:
    lower = name.lower()
    if is_folder and (lower in _TOOL_FOLDERS or lower.endswith((".egg-info", ".dist-info"))):
        return "folder of a tool"
    if lower.startswith("."):
        return "hidden"
    if is_folder and lower in _VENDORED_FOLDERS:
        return "vendored folder"
    if is_folder and lower in _BUILT_FOLDERS:
        return "build output"
    if not is_folder and _LOCK_FILES.fullmatch(lower):
        return "generated file"
    if not is_folder and re.search(r"[.-]min\.(js|css)$", lower):
        return "generated file"
    return "git-ignored" if _is_ignored(path, is_folder, rules) else ""


def _is_ignored(path: Path, is_folder: bool, rules: list[_IgnoreRules]) -> bool:
    """As git decides: the innermost .gitignore with an opinion wins."""
    for rule in reversed(rules):
        relative = path.relative_to(rule.folder).as_posix() + ("/" if is_folder else "")
        verdict = rule.spec.check_file(relative).include
        if verdict is not None:
            return verdict
    return False


def _read_rules(folder: Path, report: ReadReport, prefix: str) -> list[_IgnoreRules]:
    import pathspec

    try:
        lines = (folder / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
        return [_IgnoreRules(folder, pathspec.GitIgnoreSpec.from_lines(lines))]
    except (OSError, ValueError) as error:
        report.rejected.add("unreadable", f"{prefix}.gitignore", str(error))
        return []


def _outer_rules(root: Path) -> list[_IgnoreRules]:
    """The .gitignore files above `root`, outermost first, if it lies inside a git repository."""
    above = list(root.parents)
    top = next((index for index, folder in enumerate([root, *above]) if (folder / ".git").exists()), None)
    if top is None:
        return []
    found = [folder for folder in above[:top] if (folder / ".gitignore").is_file()]
    return [rule for folder in reversed(found) for rule in _read_rules(folder, ReadReport(), "")]
