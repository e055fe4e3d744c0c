"""The main text of a web page.

HTML bytes come in, paragraphs without navigation and advertisement come out; where no main text is found, all visible
text is taken, and that is counted.
"""

import logging
import re

from prosa.corpus.document import ReadReport
from prosa.corpus.files import decode

_DECLARED = re.compile(rb"<meta[^>]{0,200}charset\s*=\s*[\"']?\s*([A-Za-z0-9_:.-]{1,40})", re.I)
_INVISIBLE = ("script", "style", "noscript", "template", "head", "svg", "iframe", "object")
_BLOCKS = re.compile(r"\n[ \t\n]*\n|\n")


def main_text(data: bytes, where: str, report: ReadReport) -> str | None:
    """The text of a page; None, counted in the report, if it has none."""
    page = _decode_page(data, where, report)
    if page is None:
        return None
    import trafilatura

    # What its log would say on the terminal is counted in our report.
    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)
    try:
        text = trafilatura.extract(page, include_comments=False, include_tables=True, deduplicate=False)
        if not text:
            text = _visible_text(page)
            if text:
                report.repaired.add("no main text in html, all visible text taken", where)
    except Exception as error:  # parsers of other people's HTML fail in ways that cannot be listed
        report.rejected.add("html cannot be parsed", where, f"{type(error).__name__}: {error}")
        return None
    if not text:
        report.rejected.add("empty", where, "no visible text")
        return None
    return text


def _decode_page(data: bytes, where: str, report: ReadReport) -> str | None:
    """UTF-8 if it is, else the page's own declaration, else as any other file."""
    declared = _DECLARED.search(data, 0, 4096)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        if declared is None:
            return decode(data, where, report)
    name = declared.group(1).decode("ascii")
    try:
        text = data.decode(name)
    except (LookupError, UnicodeDecodeError):
        return decode(data, where, report)
    report.repaired.add(f"read as {name.lower()}", where)
    return text


def _visible_text(page: str) -> str:
    import lxml.html  # type: ignore[import-untyped]

    # lxml refuses a string that carries an encoding declaration.
    tree = lxml.html.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", page))
    for element in tree.iter(*_INVISIBLE):
        if element.getparent() is not None:
            element.drop_tree()
    lines = (" ".join(line.split()) for line in _BLOCKS.split("\n".join(tree.itertext())))
    return "\n".join(line for line in lines if line)
