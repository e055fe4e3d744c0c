"""An ordinary folder as people have it: many formats, two encodings, and things that are no text at all.

The texts are the built-in town's, so the folder is the same on every machine; what a reader should find is returned.
"""

import csv
import gzip
import html
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prosa.corpus import world

_GITIGNORE = "sketches/\n*.tmp\n"
_PAGE = """<!DOCTYPE html>
<html lang="{language}"><head><title>{title}</title><script>var visits = 1;</script></head>
<body><nav><a href="/">Home</a> <a href="/news">News</a> <a href="/contact">Contact</a></nav>
<article><h1>{title}</h1>
{paragraphs}
</article><footer>All rights reserved. Cookies.</footer></body></html>
"""


@dataclass(slots=True)
class Expected:
    """What is in the folder: documents that should be read, and rejects and skips by reason."""

    n_documents: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    n_duplicates: int = 0


def write_mixed_folder(folder: Path, n_bytes: int, seed: int = 0) -> Expected:
    """Fills `folder` with about `n_bytes` of text, at least a few documents in each format."""
    folder.mkdir(parents=True)
    expected = Expected()
    _write_bad_files(folder, expected)
    size, number = 0, 0
    texts = _texts(seed)
    while size < n_bytes or number == 0:
        for write in (_write_plain, _write_old, _write_markdown, _write_page, _write_records, _write_table, _write_chat,
                      _write_packed, _write_program):  # fmt: skip
            size += write(folder, number, texts, expected)
        number += 1
    # The same story lies in two places, as it does in every folder.
    copy = folder / "Copies" / "story (1).txt"
    copy.parent.mkdir()
    copy.write_bytes((folder / "stories" / "story-0.txt").read_bytes())
    expected.n_documents += 1
    expected.n_duplicates += 1
    return expected


@dataclass(frozen=True, slots=True)
class _Texts:
    """Endless texts of each kind."""

    story: Iterator[world.WorldDocument]
    article: Iterator[world.WorldDocument]
    dialogue: Iterator[world.WorldDocument]
    program: Iterator[world.WorldDocument]
    portuguese: Iterator[world.WorldDocument]


def _texts(seed: int) -> _Texts:
    def endless(offset: int, **wanted: str) -> Iterator[world.WorldDocument]:
        # Each kind has its own stretch of the town's documents, so that none is taken twice.
        number = offset * 10_000_000
        while True:
            document = town.document(number)
            if all(getattr(document, name) == value for name, value in wanted.items()):
                yield document
            number += 1

    town = world.build_world(world.parse_world(f"world:small,seed={seed}"))
    return _Texts(
        story=endless(0, kind="book"),
        article=endless(1, kind="article"),
        dialogue=endless(2, kind="conversation"),
        program=endless(3, kind="code"),
        portuguese=endless(4, kind="book", language="pt"),
    )


def _write_plain(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    return _write(folder / "stories" / f"story-{number}.txt", next(texts.story).text.encode(), expected)


def _write_old(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    # Typographic quotes are what tells Windows-1252 from Latin-1; both would be damaged by reading it as UTF-8.
    text = next(texts.portuguese).text.encode("cp1252", "ignore")
    return _write(folder / "Cartas antigas" / f"carta-{number}.txt", text.replace(b"\n", b"\r\n"), expected)


def _write_markdown(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    text = f"# Note {number}\n\n{next(texts.article).text}\n\n- [ ] read again\n"
    return _write(folder / "notes" / f"note-{number}.md", text.encode(), expected)


def _write_page(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    document = next(texts.article)
    paragraphs = "\n".join(f"<p>{html.escape(p)}</p>" for p in document.text.split("\n") if p.strip())
    page = _PAGE.format(language=document.language, title=f"Page {number}", paragraphs=paragraphs)
    return _write(folder / "saved pages" / f"page-{number}.html", page.encode(), expected)


def _write_records(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    lines = [json.dumps({"id": n, "text": next(texts.article).text}, ensure_ascii=False) for n in range(3)]
    if number == 0:
        lines[1:1] = ['{"id": 9, "text": "this line was cut in the mid', json.dumps({"id": 10, "note": "no text"})]
        _count(expected.rejected, "malformed JSON", "no text field")
    return _write(folder / "export" / f"articles-{number}.jsonl", "\n".join(lines).encode(), expected, len(lines[-3:]))


def _write_table(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    buffer = io.StringIO(newline="")
    table = csv.writer(buffer)
    table.writerow(["id", "text", "year"])
    table.writerows([n, next(texts.article).text, 2020 + n] for n in range(3))
    if number == 0:
        buffer.write("7,too,many,columns,here\r\n")
        _count(expected.rejected, "malformed csv")
    return _write(folder / "export" / f"table-{number}.csv", buffer.getvalue().encode(), expected, 3)


def _write_chat(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    turns = [line for line in next(texts.dialogue).text.split("\n") if line.strip()]
    messages = [{"role": ("user", "assistant")[n % 2], "content": turn} for n, turn in enumerate(turns)]
    line = json.dumps({"messages": messages}, ensure_ascii=False)
    return _write(folder / "chats" / f"chat-{number}.jsonl", line.encode(), expected)


def _write_packed(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    data = next(texts.story).text.encode()
    _write(folder / "archive" / f"story-{number}.txt.gz", gzip.compress(data, mtime=0), expected)
    return len(data)


def _write_program(folder: Path, number: int, texts: _Texts, expected: Expected) -> int:
    text = next(texts.program).text.encode()
    return _write(folder / "project" / "town" / f"part_{number}.py", text, expected)


def _write_bad_files(folder: Path, expected: Expected) -> None:
    nothing = Expected()
    noise = bytes(range(256)) * 8
    _write(folder / "photo.jpg", b"\xff\xd8\xff\xe0" + noise, nothing)
    _write(folder / "report.txt", b"%PDF-1.7\n" + noise, nothing)
    _write(folder / "empty.txt", b"", nothing)
    _write(folder / "settings.jsonl", b'{"text": "never clos', nothing)
    # What comes before the damage is text like any other, so this counts as a document and as a reject.
    packed = gzip.compress(b"This archive was not copied to its end, but its beginning can be read. " * 200, mtime=0)
    _write(folder / "archive" / "cut.txt.gz", packed[: len(packed) // 2], expected)
    _write(folder / "project" / ".gitignore", _GITIGNORE.encode(), nothing)
    _write(folder / "project" / "sketches" / "draft.py", b"print('git does not keep this, nor should we')\n", nothing)
    _write(
        folder / "project" / "node_modules" / "left" / "pad.js", b"module.exports = (s) => s.padStart(9);\n", nothing
    )
    _count(expected.rejected, "binary", "empty", "malformed JSON", "truncated or damaged compression")
    _count(expected.skipped, "git-ignored", "folder of a tool", "hidden", "unknown format .jpg")


def _write(path: Path, data: bytes, expected: Expected, n_documents: int = 1) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    expected.n_documents += n_documents
    return len(data)


def _count(counts: dict[str, int], *reasons: str) -> None:
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
