"""A sitting at the terminal, driven by characters through a pipe and by keys through a pseudo-terminal."""

import io
import os
import threading
import time
from pathlib import Path

import pytest

from prosa.errors import StorageError
from prosa.preferences import (
    Answer,
    Item,
    Judgment,
    PairingSettings,
    PreferenceStore,
    Ranking,
    RankingSession,
    check_store,
    rank_in_terminal,
)
from prosa.preferences.ranking_texts import Language
from prosa.preferences.terminal_ranking import draw_order
from tests.preferences.stores import make_items

ONE_JUDGMENT = PairingSettings(overlap_share=0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "preferences.sqlite"
    with PreferenceStore(path) as store:
        store.add_items(make_items(5, n_answers=4))
    return path


def sit(
    path: Path,
    keys: str,
    *,
    annotator: str = "ana",
    language: Language = "pt",
    settings: PairingSettings = ONE_JUDGMENT,
) -> tuple[RankingSession, str, list[Judgment]]:
    """What a sitting with these keys gave, what it wrote, and this annotator's judgments afterwards."""
    out = io.StringIO()
    with PreferenceStore(path) as store:
        session = rank_in_terminal(
            store, annotator, stdin=io.StringIO(keys), stdout=out, language=language, settings=settings
        )
        return session, out.getvalue(), store.judgments(annotator=annotator)


def as_shown(judgment: Judgment) -> str:
    """The ranking in the labels that were on the screen."""
    assert judgment.ranking is not None
    place = {index: str(label + 1) for label, index in enumerate(judgment.order_shown)}
    return ">".join("=".join(sorted(place[index] for index in group)) for group in judgment.ranking.groups)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("1234\n", "1>2>3>4"),
        ("321\n", "3>2>1>4"),
        ("12=34=\n", "1=2>3=4"),
        ("2=1==3\n", "2>1>3>4"),
        ("1=2=3=4=\n", "1=2=3=4"),
        ("41-", "4>1"),
        ("1\x7f2134\n", "2>1>3>4"),
        ("1224=3\n", "1=4>3>2"),
        ("1z9 23\x1b\n", "1>2>3>4"),
    ],
)
def test_keys_and_what_they_store(path: Path, keys: str, expected: str) -> None:
    session, _, [judgment] = sit(path, keys)
    assert as_shown(judgment) == expected
    assert (session.n_ranked, session.n_skipped, session.n_left) == (1, 0, 4)
    assert not judgment.is_all_bad and judgment.seconds >= 0 and judgment.client.startswith("prosa rank ")


def test_all_bad_with_and_without_an_order(path: Path) -> None:
    _, _, [none, some] = sit(path, "x4213x")
    assert none.is_all_bad and none.ranking == Ranking(())
    assert some.is_all_bad and as_shown(some) == "4>2>1>3"


def test_skipping(path: Path) -> None:
    session, _, [skipped] = sit(path, "s")
    assert skipped.ranking is None and session.n_skipped == 1
    session, _, judgments = sit(path, "ssssss")
    assert len({judgment.item_id for judgment in judgments}) == 5 and session.n_left == 0


@pytest.mark.parametrize("keys", ["\n", "1\n", "12\n", "1-", "-", "q", "", "u", "=", "?zzz", "cabc\n"])
def test_keys_that_store_nothing(path: Path, keys: str) -> None:
    session, _, judgments = sit(path, keys)
    assert judgments == [] and session.n_left == 5


def test_undo_takes_back_and_shows_the_same_again(path: Path) -> None:
    session, out, judgments = sit(path, "1234\n4321\nu3\x7f1\n")
    assert [as_shown(judgment) for judgment in judgments] == ["1>2>3>4", "4>2>1>3"]
    assert judgments[0].item_id != judgments[1].item_id
    assert session.n_undone == 1 and session.n_ranked == 2 and "desfeito" in out


def test_undo_reaches_back_to_earlier_sittings(path: Path) -> None:
    sit(path, "1234\n1234\n")
    session, _, judgments = sit(path, "uu\x7f\x7f\x7f\x7f4321\nq")
    assert session.n_undone == 2 and [as_shown(judgment) for judgment in judgments] == ["4>3>2>1"]
    assert session.n_left == 4
    with PreferenceStore(path) as store:
        assert len(store.all_rows()) == 5


def test_comments(path: Path) -> None:
    _, _, [judgment] = sit(path, "cmuito bo\x7fom 12?x\n1c\x1b234\n")
    assert judgment.comment == "muito bom 12?x" and as_shown(judgment) == "1>2>3>4"


def test_every_row_is_stored_before_the_next_item_is_shown(path: Path) -> None:
    """The acknowledgement comes after the row, and the next item after the acknowledgement."""

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            if text.startswith("saved "):
                with PreferenceStore(path) as other:
                    assert text.split()[1] in {row.uuid for row in other.all_rows()}
            return super().write(text)

    out = Out()
    with PreferenceStore(path) as store:
        rank_in_terminal(store, "ana", stdin=io.StringIO("1234\n" * 5), stdout=out, settings=ONE_JUDGMENT)
    lines = [line for line in out.getvalue().splitlines() if line.startswith(("saved", "Prompt"))]
    assert [line.split()[0] for line in lines] == ["Prompt", "saved"] * 5


def test_quitting_and_going_on(path: Path) -> None:
    for n in range(1, 6):
        session, out, judgments = sit(path, "1234\nq", language="en")
        assert len({judgment.item_id for judgment in judgments}) == n and session.n_left == 5 - n
        assert f"{n - 1} of 5 done" in out
    assert "That was all" in out
    assert "nothing for ana" in sit(path, "1234\n", language="en")[1]
    assert check_store(path) == []


def test_the_order_is_drawn_for_each_annotator_and_can_be_drawn_again(path: Path) -> None:
    everyone = PairingSettings(judgments_per_item=9)
    orders = {}
    for annotator in ("ana", "bia", "caio"):
        _, _, judgments = sit(path, "s" * 5, annotator=annotator, settings=everyone)
        orders[annotator] = {judgment.item_id: judgment.order_shown for judgment in judgments}
        for judgment in judgments:
            assert draw_order(4, judgment.order_seed) == judgment.order_shown
    assert all(sorted(order) == [0, 1, 2, 3] for one in orders.values() for order in one.values())
    assert orders["ana"] != orders["bia"] != orders["caio"] != orders["ana"]
    assert len(set(orders["ana"].values())) > 1


def test_each_order_is_as_likely() -> None:
    counts: dict[tuple[int, ...], int] = {}
    for seed in range(2400):
        order = draw_order(3, seed)
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 6 and all(abs(n - 400) < 5 * (2400 / 6 * 5 / 6) ** 0.5 for n in counts.values())


def test_two_people_share_the_work(path: Path) -> None:
    sit(path, "1234\n" * 2, annotator="ana")
    _, out, of_bia = sit(path, "1234\n" * 9, annotator="bia")
    with PreferenceStore(path) as store:
        assert len(of_bia) == 3 and len({row.item_id for row in store.judgments()}) == 5
    assert "Acabou" in out


def test_a_disk_that_refuses_is_said_and_tried_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, refusals = PreferenceStore.add_judgment, iter([True, True, False])

    def add(store: PreferenceStore, judgment: Judgment) -> bool:
        if next(refusals):
            raise StorageError("nothing was saved: disk full", hint="make room")
        return real(store, judgment)

    monkeypatch.setattr(PreferenceStore, "add_judgment", add)
    _, out, [judgment] = sit(path, "4321\nzz\n\n")
    assert out.count("NÃO FOI GRAVADO: nothing was saved: disk full") == 2
    assert as_shown(judgment) == "4>3>2>1"


def test_giving_up_on_a_disk_that_refuses(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def add(store: PreferenceStore, judgment: Judgment) -> bool:
        raise StorageError("disk full")

    monkeypatch.setattr(PreferenceStore, "add_judgment", add)
    session, _, judgments = sit(path, "4321\nq")
    assert judgments == [] and session.n_left == 5


def test_items_with_more_answers_than_keys_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "preferences.sqlite"
    prompt = [{"role": "user", "content": "?"}]
    with PreferenceStore(path) as store:
        store.add_items([Item.make(prompt, [Answer(str(n)) for n in range(size)]) for size in (1, 12, 36)])
    keys = "123456789AB\n"
    session, out, [judgment] = sit(path, keys)
    assert judgment.ranking is not None and len(judgment.ranking.groups) == 12
    assert session.n_too_many_answers == 1 and "1 itens" in out


# A real terminal


class Terminal:
    """Both ends of a pseudo-terminal, a sitting at one of them, and what it wrote."""

    def __init__(self, path: Path, language: Language = "pt") -> None:
        import pty
        import termios

        self.near, self.far = pty.openpty()
        self.before = termios.tcgetattr(self.far)
        self.written = b""
        self.session: RankingSession | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._sitting = threading.Thread(target=self._sit, args=(path, language), daemon=True)
        self._reader.start()
        self._sitting.start()

    def _sit(self, path: Path, language: Language) -> None:
        with (
            open(self.far, encoding="utf-8", closefd=False) as stdin,
            open(self.far, "w", encoding="utf-8", closefd=False) as stdout,
            PreferenceStore(path) as store,
        ):
            self.session = rank_in_terminal(
                store, "ana", stdin=stdin, stdout=stdout, language=language, settings=ONE_JUDGMENT
            )

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.near, 65536)
            except OSError:
                return
            self.written += data

    def press(self, keys: str, *, until: str) -> str:
        """Presses keys and waits until something new is on the screen; all that was written since."""
        start = len(self.written)
        os.write(self.near, keys.encode())
        return self.wait(until, start)

    def wait(self, until: str, start: int = 0) -> str:
        """All that was written from byte `start` on, once it holds `until`."""
        end = time.monotonic() + 10
        while until not in (text := self.written[start:].decode(errors="replace")):
            assert time.monotonic() < end, f"{until!r} did not come: {text!r}"
            time.sleep(0.01)
        return text

    def close(self) -> None:
        import termios

        self._sitting.join(10)
        assert not self._sitting.is_alive()
        assert termios.tcgetattr(self.far) == self.before, "the terminal is left as it was"
        os.close(self.far)
        os.close(self.near)


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "preferences.sqlite"
    long = "\n".join(f"linha {n}" for n in range(60))
    with PreferenceStore(path) as store:
        for question, texts in (("Um?", ("a\x1b[31m", "b", "c")), ("Dois?", ("a", "b", long))):
            store.add_items([Item.make([{"role": "user", "content": question}], [Answer(text) for text in texts])])
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("LINES", "24")
    terminal = Terminal(path)
    seen = terminal.wait("q sai")
    assert "\x1b[?1049h" in seen and "31m" not in seen.replace("␛[31m", "")
    for end in ("q sai", "Acabou"):
        screen = terminal.written.decode(errors="replace").rpartition("\x1b[H")[2]
        terminal.press("3", until="Ordem: 3")
        terminal.press("1", until="Ordem: 3 > 1   (2 fica por último)")
        terminal.press("=", until="Ordem: 3 = 1")
        terminal.press("?", until="Qualquer tecla volta.")
        terminal.press("x", until="Ordem: 3 = 1")
        if "linha" in screen or "mostra mais" in screen:
            terminal.press("\r", until="ainda não viu")
            terminal.press("\x1b[6~\x1b[6~\x1b[6~\x1b[6~\x1b[6~", until="linha 59")
        terminal.press("\r", until=end)
    terminal.close()
    assert terminal.session is not None and terminal.session.n_ranked == 2
    text = terminal.written.decode()
    assert text.rstrip().endswith("Acabou: obrigado!") and "\x1b[?1049l" in text
    with PreferenceStore(path) as store:
        assert {as_shown(judgment) for judgment in store.judgments()} == {"1=3>2"}


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_comments_arrows_and_the_end_of_input_in_a_terminal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "40")
    terminal = Terminal(path, "en")
    terminal.wait("q quit")
    terminal.press("cbôa é", until="Comment: bôa é")
    terminal.press("\x7f\x7f\r", until="Comment: bôa\x1b")
    terminal.press("\x1b[A\x1b[B\x1bOA\x1b[Z\x1b", until="q quit")
    monkeypatch.setenv("LINES", "30")
    terminal.press("", until="q quit")
    terminal.press("1234\n", until="1 of 5 done")
    # Ctrl-D: nothing more will come.
    os.write(terminal.near, b"\x04")
    terminal.close()
    with PreferenceStore(path) as store:
        [judgment] = store.judgments()
    assert judgment.comment == "bôa" and as_shown(judgment) == "1>2>3>4"
