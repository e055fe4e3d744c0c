"""People rank answers in the terminal, with single keys: `prosa rank RUN --annotator NAME`.

Each judgment is durable before the next item is shown. Into a pipe, the same session is plain lines, keys are
characters, and `saved UUID` is the acknowledgement.
"""

import shutil
import statistics
import sys
import time
import uuid as uuids
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import IO, Protocol

import prosa
from prosa.errors import ConfigError, StorageError
from prosa.preferences.judgments import Item, Judgment, Ranking
from prosa.preferences.pairing import PairingSettings, judgments_wanted, next_item
from prosa.preferences.ranking_screen import LABELS, Draft, View, item_lines, render, render_text
from prosa.preferences.ranking_texts import TEXTS
from prosa.preferences.rows import read_row
from prosa.preferences.store import PreferenceStore, effective
from prosa.preferences.terminal_keys import Keys, open_keys
from prosa.streams import derive_seed, python_stream
from prosa.wording import Language

_SCROLL_KEYS = {"up", "down", "pageup", "pagedown", "home", "end", " ", "b"}
_PLAIN_WIDTH = 100


@dataclass(slots=True)
class RankingSession:
    """What one sitting gave: judgments ranked and skipped, those undone, and how long it took."""

    n_ranked: int = 0
    n_skipped: int = 0
    n_undone: int = 0
    n_left: int = 0
    n_too_many_answers: int = 0
    seconds: float = 0.0


class Screen(Protocol):
    """Where the session is shown: a terminal that is drawn anew, or lines written one after the other."""

    must_be_seen: bool

    def show(self, draft: Draft, view: View) -> None: ...
    def page(self, text: str) -> None: ...
    def note(self, text: str) -> None: ...


class TerminalScreen:
    must_be_seen = True

    def __init__(self, out: IO[str]) -> None:
        self._out = out

    def show(self, draft: Draft, view: View) -> None:
        size = shutil.get_terminal_size()
        self._draw(render(draft, view, size.columns, size.lines))

    def page(self, text: str) -> None:
        size = shutil.get_terminal_size()
        self._draw(render_text(text, size.columns, size.lines))

    def note(self, text: str) -> None:
        """Nothing: what matters here is on the next screen."""

    def _draw(self, lines: list[str]) -> None:
        # From the top left, each line cleared to its end: no flicker, also over a slow connection.
        self._out.write("\x1b[H" + "\r\n".join(f"{line}\x1b[K" for line in lines) + "\x1b[J")
        self._out.flush()


class PlainScreen:
    must_be_seen = False

    def __init__(self, out: IO[str]) -> None:
        self._out = out
        self._shown: Item | None = None

    def show(self, draft: Draft, view: View) -> None:
        """The item once, then only what there is to say."""
        if draft.item is not self._shown:
            self._shown = draft.item
            self.note("\n".join([view.progress, *item_lines(draft, _PLAIN_WIDTH, view.language, is_styled=False)]))
        if view.message:
            self.note(view.message)

    def page(self, text: str) -> None:
        self.note(text)

    def note(self, text: str) -> None:
        self._out.write(f"{text}\n")
        self._out.flush()


def rank_in_terminal(
    store: PreferenceStore,
    annotator: str,
    *,
    stdin: IO[str],
    stdout: IO[str],
    settings: PairingSettings | None = None,
    information: Mapping[str, float] | None = None,
    language: Language = "en",
) -> RankingSession:
    """Shows items until there are none or the annotator quits; what was saved stays, calling it again goes on.

    settings, information: how `next_item` chooses what comes next. In a terminal (both streams) keys act at once and
    the screen is drawn anew; otherwise keys are characters of `stdin` and lines are written to `stdout`. Raises
    ConfigError for a name that is none, DataError if the store is damaged.
    """
    if not (annotator.strip() and annotator.isprintable()):
        raise ConfigError(f"{annotator!r} is no name of an annotator")
    if hasattr(stdout, "reconfigure"):
        stdout.reconfigure(errors="replace")
    store.back_up()
    items = [item for item in store.items() if len(item.answers) > 1]
    fitting = [item for item in items if len(item.answers) <= len(LABELS)]
    with open_keys(stdin) as keys, _open_screen(stdin, stdout) as screen:
        sitting = _Sitting(
            store, annotator, keys, screen, fitting, settings or PairingSettings(), information or {}, language
        )
        sitting.run()
    session, texts, say = sitting.session, TEXTS[language], PlainScreen(stdout).note
    session.n_too_many_answers = len(items) - len(fitting)
    if session.n_too_many_answers:
        say(texts["too_many"].format(n=session.n_too_many_answers))
    if session.n_ranked + session.n_skipped + session.n_undone + session.n_left == 0:
        say(texts["nothing"].format(annotator=annotator))
    else:
        minutes = round(session.seconds / 60)
        end = texts["end" if session.n_left else "end_all"]
        say(end.format(ranked=session.n_ranked, skipped=session.n_skipped, minutes=minutes))
    return session


def draw_order(n_answers: int, order_seed: int) -> tuple[int, ...]:
    """The order in which answers are shown: a function of the seed that the judgment keeps."""
    order = list(range(n_answers))
    python_stream(order_seed, "order shown").shuffle(order)
    return tuple(order)


@dataclass(frozen=True, slots=True)
class _Done:
    """The annotator is done with an item; None: skipped it."""

    ranking: Ranking | None


@dataclass(slots=True)
class _Sitting:
    """One annotator and what there is to judge."""

    store: PreferenceStore
    annotator: str
    keys: Keys
    screen: Screen
    items: list[Item]
    settings: PairingSettings
    information: Mapping[str, float]
    language: Language
    session: RankingSession = field(default_factory=RankingSession)
    _rows: list[Judgment] = field(default_factory=list)
    _n_records: int = 0
    _judgments: list[Judgment] = field(default_factory=list)
    _saved: set[str] = field(default_factory=set)
    _seconds: list[float] = field(default_factory=list)
    _began: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        undone: Judgment | None = None
        self._refresh()
        while (item := self._next(undone)) is not None:
            try:
                outcome = self._judge(item, undone)
                undone = self._undo() if outcome == "undo" else None
            except KeyboardInterrupt:
                break
            if outcome == "quit":
                break
            self._refresh()
        self._refresh()
        held = [judgment for judgment in self._own if judgment.uuid in self._saved]
        self.session.n_skipped = sum(judgment.ranking is None for judgment in held)
        self.session.n_ranked = len(held) - self.session.n_skipped
        self.session.n_left = self._n_open() if item else 0
        self.session.seconds = time.monotonic() - self._began

    def _refresh(self) -> None:
        """Takes in what this and other sessions have stored since."""
        records = self.store.records("kind = 'judgment' AND number > ?", [self._n_records])
        self._rows += [read_row(Judgment, record.body) for record in records]
        self._n_records = max([self._n_records, *(record.number for record in records)])
        self._judgments = effective(self._rows)

    @property
    def _own(self) -> list[Judgment]:
        return [judgment for judgment in self._judgments if judgment.annotator == self.annotator]

    def _next(self, undone: Judgment | None) -> Item | None:
        if undone is not None:
            return self.store.item(undone.item_id)
        return next_item(self.items, self._judgments, self.annotator, self.settings, information=self.information)

    def _n_open(self) -> int:
        """How many items are left for this annotator, repeats not counted."""
        seen = {judgment.item_id for judgment in self._own}
        said = {(one.item_id, one.annotator) for one in self._judgments if one.ranking is not None}
        judged = Counter(item_id for item_id, _ in said)
        return sum(
            item.id not in seen and judged[item.id] < judgments_wanted(item, self.settings) for item in self.items
        )

    def _judge(self, item: Item, before: Judgment | None) -> str:
        """Shows one item until it is "saved", or the annotator wants to "undo" or "quit"."""
        times = sum(judgment.item_id == item.id for judgment in self._own)
        order_seed = derive_seed(self.settings.seed, f"order\x1f{self.annotator}\x1f{item.id}", times)
        draft = Draft(item, draw_order(len(item.answers), order_seed))
        view = View(self.language, *self._progress())
        if before is not None:
            draft.groups = [list(group) for group in before.ranking.groups] if before.ranking else []
            draft.comment = before.comment
            # Who ranked it has read it.
            view.seen = sys.maxsize if before.ranking is not None else 0
            view.message = self._text("undone")
        began = time.monotonic()
        while True:
            self.screen.show(draft, view)
            key = self.keys.read()
            if draft.press(key):
                view.message = ""
                continue
            if key == "quit" or key.lower() == "q":
                return "quit"
            if key.lower() == "u":
                if self._own:
                    return "undo"
                view.message = self._text("nothing_to_undo")
                continue
            view.message = ""
            if (done := self._edit(key, draft, view)) is None:
                continue
            judgment = Judgment(
                uuid=str(uuids.uuid4()),
                item_id=item.id,
                annotator=self.annotator,
                ranking=done.ranking,
                is_all_bad=key.lower() == "x",
                order_shown=draft.order,
                order_seed=order_seed,
                seconds=round(time.monotonic() - began, 3),
                comment=draft.comment,
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                client=f"prosa rank {prosa.__version__}",
            )
            return "saved" if self._save(judgment, draft, view) else "quit"

    def _edit(self, key: str, draft: Draft, view: View) -> _Done | None:
        """Does what a key says; not None if it ends the item."""
        match key.lower():
            case "enter" | "-" | "x":
                return self._finish(key.lower(), draft, view)
            case "s":
                return _Done(None)
            case "=" | "t":
                view.message = "" if draft.tie() else self._text("nothing_to_tie")
            case "backspace":
                draft.take_back()
            case "c":
                draft.comment = self._read_line(draft, view)
            case "?" | "h":
                self.screen.page(self._text("help"))
                self.keys.read()
            case other if other in _SCROLL_KEYS:
                view.scroll(other)
            case "resize" | "escape":
                pass
            case _:
                view.message = self._text("unknown_key")
        return None

    def _finish(self, key: str, draft: Draft, view: View) -> _Done | None:
        """Done if all has been seen, and every answer has a place or was left out on purpose."""
        if self.screen.must_be_seen and not view.has_all_been_seen:
            view.message = self._text("unseen")
            return None
        if key != "-" and draft.groups and len(draft.left) == 1:
            draft.groups.append(draft.left)
        n_placed = sum(map(len, draft.groups))
        if key != "x" and n_placed < 2:
            view.message = self._text("two_needed")
            return None
        if key == "enter" and draft.left:
            view.message = self._text("places_missing")
            return None
        return _Done(Ranking(tuple(map(tuple, draft.groups))))

    def _save(self, judgment: Judgment, draft: Draft, view: View) -> bool:
        """True when it is durable; False if the annotator gave up on a disk that refuses."""
        if not self._until_stored(lambda: self.store.add_judgment(judgment), draft, view):
            return False
        self.screen.note(self._text("saved").format(uuid=judgment.uuid))
        self._seconds.append(judgment.seconds)
        self._saved.add(judgment.uuid)
        return True

    def _undo(self) -> Judgment | None:
        """Takes back the annotator's newest judgment; what it said, to be changed."""
        undone = self._own[-1]
        draft, view = Draft(self.store.item(undone.item_id), ()), View(self.language)
        retraction, created = str(uuids.uuid4()), datetime.now(UTC).isoformat(timespec="seconds")

        def retract() -> bool:
            return self.store.retract(undone.uuid, annotator=self.annotator, retraction=retraction, created=created)

        if not self._until_stored(retract, draft, view):
            return None
        self.screen.note(self._text("undone_row").format(uuid=undone.uuid))
        self.session.n_undone += 1
        return undone

    def _until_stored(self, store: Callable[[], object], draft: Draft, view: View) -> bool:
        """Tries until the disk takes it; the same row with the same UUID, so that it can never count twice."""
        while True:
            try:
                store()
            except StorageError as error:
                view.message = self._text("not_saved").format(error=str(error).splitlines()[0])
                self.screen.show(draft, view)
                while (key := self.keys.read()) not in ("enter", "quit", "q"):
                    pass
                if key != "enter":
                    return False
            else:
                return True

    def _read_line(self, draft: Draft, view: View) -> str:
        """A comment, typed on the message line; Esc keeps the one there was."""
        text = draft.comment
        while True:
            view.message = f"{self._text('comment')}: {text}▏"
            if self.screen.must_be_seen:
                self.screen.show(draft, view)
            key = self.keys.read()
            if key in ("enter", "quit", "escape"):
                view.message = ""
                return draft.comment if key == "escape" else text.strip()
            if key == "backspace":
                text = text[:-1]
            elif len(key) == 1 and key.isprintable():
                text += key

    def _progress(self) -> tuple[str, float]:
        done, n_open = len(self._own), self._n_open()
        total = done + n_open
        minutes = (time.monotonic() - self._began) / 60
        left = statistics.median(self._seconds) * n_open / 60 if self._seconds else 0
        name = "progress" if self._seconds else "progress_first"
        text = self._text(name).format(done=done, total=total, minutes=round(minutes), left=max(1, round(left)))
        return text, done / max(1, total)

    def _text(self, name: str) -> str:
        return TEXTS[self.language][name]


@contextmanager
def _open_screen(stdin: IO[str], stdout: IO[str]) -> Iterator[Screen]:
    if not (stdin.isatty() and stdout.isatty()):
        yield PlainScreen(stdout)
        return
    # The other screen of the terminal, without a cursor: what stood there before comes back afterwards.
    stdout.write("\x1b[?1049h\x1b[?25l")
    try:
        yield TerminalScreen(stdout)
    finally:
        stdout.write("\x1b[?25h\x1b[?1049l")
        stdout.flush()
