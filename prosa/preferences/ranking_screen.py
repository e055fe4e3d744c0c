"""An item and what was chosen so far go in, lines for a terminal come out: wrapped, scrolled, without escape codes.

Nothing that a model wrote reaches the terminal as anything but text.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, chop_cells

from prosa.preferences.judgments import Item
from prosa.preferences.ranking_texts import TEXTS
from prosa.wording import Language

LABELS = "123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_MARGIN = "  "
_MAX_WIDTH = 110
_BOLD, _DIM, _REVERSE, _END = "\x1b[1m", "\x1b[2m", "\x1b[7m", "\x1b[0m"
# C0 and C1 controls but for line ends and tabs, and the characters that turn or hide the direction of writing.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


@dataclass(slots=True)
class Draft:
    """One item on the screen: `order` is the index of the answer behind each label, `groups` what was chosen."""

    item: Item
    order: tuple[int, ...]
    groups: list[list[int]] = field(default_factory=list)
    comment: str = ""

    @property
    def left(self) -> list[int]:
        """The answers without a place, as they stand on the screen."""
        placed = {index for group in self.groups for index in group}
        return [index for index in self.order if index not in placed]

    def label(self, index: int) -> str:
        return LABELS[self.order.index(index)]

    def press(self, label: str) -> bool:
        """Gives the answer with this label the next place, or takes its place away; False if there is none."""
        place = LABELS.find(label)
        if not 0 <= place < len(self.order):
            return False
        index = self.order[place]
        if index in self.left:
            self.groups.append([index])
        else:
            self.groups = [kept for group in self.groups if (kept := [one for one in group if one != index])]
        return True

    def tie(self) -> bool:
        """Joins the last chosen with the group before, or parts it from its group; False if it is alone."""
        if self.groups and len(self.groups[-1]) > 1:
            self.groups.append([self.groups[-1].pop()])
        elif len(self.groups) > 1:
            last = self.groups.pop()
            self.groups[-1] += last
        else:
            return False
        return True

    def take_back(self) -> None:
        if self.groups:
            self.groups[-1].pop()
            self.groups = [group for group in self.groups if group]


@dataclass(slots=True)
class View:
    """What surrounds the item: the line of progress, a message, and where the text is scrolled to."""

    language: Language
    progress: str = ""
    share: float = 0.0
    message: str = ""
    top: int = 0
    """The first line of the text that is shown."""
    seen: int = 0
    """How many lines of the text have been shown so far."""
    n_lines: int = 0
    n_shown: int = 0

    @property
    def has_all_been_seen(self) -> bool:
        return self.seen >= self.n_lines

    def scroll(self, key: str) -> None:
        """Moves by one line or by a screen less one; `render` keeps it inside the text."""
        page = max(1, self.n_shown - 1)
        steps = {"up": -1, "down": 1, "pageup": -page, "b": -page, "pagedown": page, " ": page}
        if key in ("home", "end"):
            self.top = 0 if key == "home" else self.n_lines
        else:
            self.top += steps[key]


def clean_text(text: str) -> str:
    """Text that a terminal can only show: control characters become visible signs, tabs spaces."""
    text = text.replace("\r\n", "\n").expandtabs(4)
    # Unicode has a picture for each of the old controls.
    return _CONTROLS.sub(lambda found: chr(0x2400 + ord(found[0])) if found[0] < " " else "\ufffd", text)


def wrap(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns, broken at spaces where there are any; indentation and empty lines stay."""
    lines = []
    for paragraph in clean_text(text).split("\n"):
        line = ""
        for word in re.findall(r"\s*\S+|\s+", paragraph):
            if cell_len(line + word) <= width:
                line += word
                continue
            if line:
                lines.append(line)
                word = word.lstrip()
            *whole, line = chop_cells(word, width) or [""]
            lines += whole
        lines.append(line)
    return lines


def item_lines(draft: Draft, width: int, language: Language, *, is_styled: bool) -> list[str]:
    """The prompt and the answers, best read from top to bottom."""
    texts = TEXTS[language]

    def style(code: str, text: str) -> str:
        return f"{code}{text}{_END}" if is_styled else text

    lines: list[str] = []
    messages = draft.item.messages
    for message in messages:
        is_single = len(messages) == 1 and message["role"] == "user"
        name = texts["prompt"] if is_single else texts.get(message["role"], clean_text(message["role"]))
        lines += [style(_BOLD, name), *(_MARGIN + line for line in wrap(message["content"], width)), ""]
    places = {index: place for place, group in enumerate(draft.groups, start=1) for index in group}
    for place, index in enumerate(draft.order):
        answer = draft.item.answers[index]
        chosen = f"  {texts['place'].format(place=places[index])}" if index in places else ""
        lines.append(style(_REVERSE, f" {LABELS[place]} ") + style(_BOLD, chosen))
        # As it is stored, but for line ends around it.
        lines += [_MARGIN + line for line in wrap(answer.text.strip("\r\n") or texts["empty"], width)]
        if answer.finish_reason in ("length", "context"):
            lines.append(_MARGIN + style(_DIM, texts["cut"]))
        lines.append("")
    return lines[:-1]


def order_line(draft: Draft, language: Language) -> str:
    """What was chosen, best first: `2 > 1 = 4`, and what comes last by itself."""
    texts = TEXTS[language]
    chosen = " > ".join(" = ".join(map(draft.label, group)) for group in draft.groups) or texts["no_order"]
    if len(draft.left) == 1 and draft.groups:
        chosen += f"   ({texts['last'].format(label=draft.label(draft.left[0]))})"
    return f"{texts['order']}: {chosen}"


def render(draft: Draft, view: View, width: int, height: int) -> list[str]:
    """Exactly `height` lines of at most `width` columns: a head, as much of the text as fits, and a foot."""
    texts = TEXTS[view.language]
    n_columns = max(20, min(width, _MAX_WIDTH) - 1)
    title = _fit(f"Prosa · {texts['title']}", n_columns)
    progress = _fit(f"{_bar(view.share)} {view.progress}", n_columns)
    head = [f"{_BOLD}{title}{_END}", f"{_DIM}{progress}{_END}", ""]
    foot = ["", f"{_BOLD}{_fit(order_line(draft, view.language), n_columns)}{_END}"]
    if draft.comment:
        foot.append(_fit(f"{texts['comment']}: {clean_text(draft.comment)}", n_columns))
    keys = texts["keys"].format(first=LABELS[0], last=LABELS[len(draft.order) - 1])
    shown_keys = _flow(entries := keys.split("   "), n_columns)
    if len(shown_keys) > height // 6:
        # The help has them all.
        shown_keys = _flow(entries[-2:], n_columns)
    foot += [f"{_DIM}{line}{_END}" for line in shown_keys]
    lines = item_lines(draft, n_columns - len(_MARGIN), view.language, is_styled=True)
    room = max(1, height - len(head) - len(foot) - 1)
    view.n_lines, view.n_shown = len(lines), room
    view.top = max(0, min(view.top, len(lines) - room))
    view.seen = max(view.seen, min(len(lines), view.top + room))
    is_more = view.top + room < len(lines)
    message = view.message or (f"↓ {texts['scroll']}" if is_more else "")
    body = lines[view.top : view.top + room]
    body += [""] * (room - len(body))
    shown = [*head, *body, f"{_BOLD}{_fit(message, n_columns)}{_END}", *foot]
    # On a screen too small for all of it, the text matters more than the keys.
    return shown[:height]


def render_text(text: str, width: int, height: int) -> list[str]:
    """A page of plain text, as the help."""
    lines = wrap(text, max(20, min(width, _MAX_WIDTH) - 1))[:height]
    return lines + [""] * (height - len(lines))


def _flow(entries: Sequence[str], width: int) -> list[str]:
    """Lines of whole entries."""
    lines = [""]
    for entry in entries:
        longer = f"{lines[-1]}   {entry}" if lines[-1] else entry
        if cell_len(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_fit(entry, width))
    return lines


def _bar(share: float, length: int = 20) -> str:
    done = round(share * length)
    return "━" * done + "─" * (length - done)


def _fit(text: str, width: int) -> str:
    """One line: the beginning, if it is too long."""
    return text if cell_len(text) <= width else f"{chop_cells(text, width - 1)[0]}…"
