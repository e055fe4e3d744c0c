"""What the pages say is held to the code: links, commands, settings, errors, trees, words and Python blocks."""

import ast
import doctest
import importlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from prosa import errors
from prosa.config import resolve_settings
from prosa.life_settings import LifeSettings

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.glob("*.md")])
READMES = (ROOT / "README.md", ROOT / "README.pt-BR.md")


def load_generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@cache
def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


@cache
def blocks(page: Path) -> list[tuple[str, int, str]]:
    """(language, line, text) of every fenced block of a page."""
    found, language, start = [], None, 0
    lines = text_of(page).splitlines()
    for number, line in enumerate(lines, start=1):
        fence = re.match(r"\s*```(\w*)", line)
        if fence and language is None:
            language, start = fence[1], number
        elif fence:
            found.append((language or "", start, "\n".join(lines[start : number - 1]) + "\n"))
            language = None
    assert language is None, f"{page}:{start}: a block without an end"
    return found


def prose_of(page: Path) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", text_of(page), flags=re.DOTALL)


def commands_of(page: Path) -> Iterator[tuple[str, list[str]]]:
    """(place, words) of every `prosa ...` line in the shell blocks of a page."""
    for language, start, text in blocks(page):
        if language in ("sh", "bash", "console"):
            for offset, line in enumerate(text.splitlines()):
                words = shlex.split(line.removeprefix("$ "), comments=True)
                for stop in (">", "|", "&&"):
                    words = words[: words.index(stop)] if stop in words else words
                if words[:1] == ["prosa"]:
                    yield f"{page.name}:{start + offset + 1}", words[1:]


# Everything the code has is in the pages


def test_generated_parts_are_current():
    generator = load_generator()
    stale = [page.name for page in DOCS.glob("*.md") if generator.current(page) != text_of(page)]
    assert stale == [], "run `python -m docs.generate`"


def test_every_error_class_and_exit_code_is_documented():
    rows = dict(re.findall(r"^\| (\d+) \| (.*) \|$", text_of(DOCS / "cli.md"), flags=re.MULTILINE))
    for error in errors.ProsaError.__subclasses__():
        assert f"`{error.__name__}`" in rows[str(error.exit_code)]


def test_readme_tree_is_the_real_tree():
    """Every room and file of prosa/, each with words of its own, in both languages."""
    real = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in (ROOT / "prosa").iterdir()
        if (path.is_dir() and (path / "__init__.py").exists()) or path.suffix == ".py"
    }
    for page in READMES:
        tree = next(text for _, _, text in blocks(page) if text.startswith("prosa/"))
        rows = [line.split(maxsplit=1) for line in tree.splitlines()[1:]]
        assert {name for name, *_ in rows} == real, page.name
        assert all(len(row) == 2 for row in rows), page.name


def test_index_leads_to_every_page():
    assert {page.name for page in DOCS.glob("*.md")} - {"README.md"} == set(
        re.findall(r"\]\(([\w-]+\.md)\)", text_of(DOCS / "README.md"))
    )


# Everything the pages say is in the code


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", prose_of(page))
    for target in (markdown or html for markdown, html in targets):
        path, _, anchor = target.partition("#")
        if "://" in target or target.startswith("mailto:"):
            continue
        assert not path or (page.parent / path).exists(), f"{page.name}: {target}"
        if anchor and (not path or path.endswith(".md")):
            headings = re.findall(r"^#+ (.*)$", text_of(page.parent / path if path else page), flags=re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_compile(page: Path):
    for language, start, text in blocks(page):
        if language in ("python", "py", "pycon"):
            if ">>> " in text:
                text = "".join(example.source for example in doctest.DocTestParser().get_examples(text))
            compile("\n" * start + text, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_blocks_import_what_exists(page: Path):
    for language, start, text in blocks(page):
        if language not in ("python", "py"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prosa"):
                module = importlib.import_module(node.module or "")
                for alias in node.names:
                    has_it = hasattr(module, alias.name) or importlib.util.find_spec(f"{node.module}.{alias.name}")
                    assert has_it, f"{page.name}:{start + node.lineno}: {node.module}.{alias.name}"


def test_documented_commands_are_understood():
    """Each is parsed by the command line itself, which refuses unknown verbs, options and wrong types."""
    known: dict[str, Any] = dict(load_generator().commands())
    seen = set()
    for page in PAGES:
        for place, words in commands_of(page):
            n_words = 2 if " ".join(words[:2]) in known else 1
            verb, rest = " ".join(words[:n_words]), words[n_words:]
            assert verb in known, f"{place}: no verb `{verb}`"
            known[verb].make_context(verb, list(rest))
            resolve_overrides(place, [word for word in rest if re.match(r"[a-z_]+\.[a-z_.]+=", word)])
            seen.add(verb)
    assert seen, "no page shows a command"


def resolve_overrides(place: str, words: list[str]) -> None:
    values: dict[str, Any] = {"corpus": {"sources": [{"path": "world:"}]}}
    for word in words:
        section, _, rest = word.partition(".")
        key, _, value = rest.partition("=")
        try:
            parsed = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            parsed = value
        values.setdefault(section, {})[key] = parsed
    resolve_settings(LifeSettings, values, origin=place)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_toml_blocks_are_settings(page: Path):
    for language, start, text in blocks(page):
        values = tomllib.loads(text) if language == "toml" else {}
        if "corpus" in values:
            resolve_settings(LifeSettings, values, origin=f"{page.name}:{start}")


@pytest.mark.parametrize("path", sorted((ROOT / "configs").glob("*.toml")), ids=lambda path: path.name)
def test_configs_are_settings(path: Path):
    resolve_settings(LifeSettings, tomllib.loads(path.read_text(encoding="utf-8")), origin=path.name)


def test_make_targets_of_the_pages_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE))
    for page in PAGES:
        assert set(re.findall(r"`make ([a-z]+)`|^make ([a-z]+)", text_of(page), flags=re.MULTILINE)) <= {
            pair for target in targets for pair in ((target, ""), ("", target))
        }, page.name


# Words and languages


def test_both_readmes_say_the_same():
    english, portuguese = (text_of(page) for page in READMES)

    def outline(text: str) -> list[int]:
        return [
            len(marks) for marks in re.findall(r"^(#+) ", re.sub(r"```.*?```", "", text, flags=re.DOTALL), flags=re.M)
        ]

    def shell(page: Path) -> list[list[str]]:
        texts = [text for language, _, text in blocks(page) if language in ("sh", "powershell", "toml")]
        return [shlex.split(line, comments=True) for text in texts for line in text.splitlines()]

    assert outline(english) == outline(portuguese)
    assert shell(READMES[0]) == shell(READMES[1])
    assert set(re.findall(r"\]\((docs/[^)]+)\)", english)) == set(re.findall(r"\]\((docs/[^)]+)\)", portuguese))


def test_code_uses_the_words_of_the_glossary():
    """No name defined in prosa/ is in the glossary's column of words we do not use."""
    banned = {
        word
        for line in text_of(DOCS / "glossary.md").splitlines()
        if line.startswith("|")
        for word in re.findall(r"`(\w+)`", re.split(r"(?<!\\)\|", line)[3])
    }
    assert {"block_size", "seq_len", "n_embd", "bpb"} <= banned
    found = [
        f"{path.relative_to(ROOT).as_posix()}:{line} {name}"
        for path in sorted((ROOT / "prosa").rglob("*.py"))
        for name, line in defined_names(ast.parse(path.read_text(encoding="utf-8")))
        if name in banned
    ]
    assert found == []


def defined_names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()) | ast.arg(arg=name):
                yield name, node.lineno
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name, node.lineno


def test_changelog_begins_with_what_is_not_released():
    versions = re.findall(r"^## \[([^\]]+)\]", text_of(ROOT / "CHANGELOG.md"), flags=re.MULTILINE)
    assert versions[0] == "Unreleased"


def test_pages_are_about_the_project_alone():
    """No address of a machine or a package mirror, and no path of somebody's own disk."""
    for page in PAGES:
        assert not re.search(r"/home/|/root/|/work/|/tmp/|index-url|localhost:\d", text_of(page)), page.name
