"""A whole session through pipes: lines in, answers out, and nothing in them that a terminal obeys."""

import io
import json
import re
import signal
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from prosa.errors import ConfigError
from prosa.generate import Sampling, chat_in_terminal, strip_controls
from prosa.generate.explained_answer import Language, render_answer
from prosa.streams import python_stream
from tests.generate.tiny import TOKENIZER, byte_language_model

LLM = byte_language_model(context_length=512)
# Of all that the model could write it writes letters.
LETTERS = dict.fromkeys(b"abcdefghijklmnopqrstuvwxyz", 30.0)
SAMPLING = Sampling(seed=1, max_new_tokens=8, logit_bias=LETTERS)


def talk(
    *lines: str, sampling: Sampling = SAMPLING, system: str = "", language: Language = "en", stdout: Any = None
) -> tuple[list[str], str]:
    """The answers and what else was said; the session ends with its input."""
    out, err = stdout or io.StringIO(), io.StringIO()
    chat_in_terminal(
        LLM,
        system=system,
        sampling=sampling,
        language=language,
        stdin=io.StringIO("".join(f"{line}\n" for line in lines)),
        stdout=out,
        stderr=err,
    )
    return out.getvalue().splitlines(), err.getvalue()


def saved(path: Path) -> list[list[dict[str, str]]]:
    return [json.loads(line)["messages"] for line in path.read_text(encoding="utf-8").splitlines()]


def contents(messages: list[dict[str, str]]) -> list[str]:
    return [message["content"] for message in messages]


def test_answers_are_those_of_chat_and_the_history_grows() -> None:
    answers, said = talk("Oi", "E aí?", system="Fale pouco.")
    system, first = {"role": "system", "content": "Fale pouco."}, {"role": "user", "content": "Oi"}
    sampling = SAMPLING.model_dump()
    assert answers[0] == LLM.chat([system, first], **sampling)
    history = [system, first, {"role": "assistant", "content": answers[0]}, {"role": "user", "content": "E aí?"}]
    assert answers[1] == LLM.chat(history, **sampling)
    assert len(answers) == 2 and len(answers[0]) == 8
    assert "/help" in said and "cut after 8 tokens; /set max_new_tokens=16" in said


def test_quit_ends_before_the_input_does() -> None:
    assert talk("/quit", "never asked")[0] == []
    assert talk("", "   ", "/QUIT", "never asked")[0] == []


def test_again_undo_new_and_system_change_the_conversation(tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    save = f"/save {file}"
    answers, said = talk(
        "one", "two", save, "/again", save, "/undo", save, "/system Seja breve.", "three", save,
        "/system", "/new", "four", save,
    )  # fmt: skip
    first, again, undone, with_system, new = saved(file)
    assert contents(first) == ["one", answers[0], "two", answers[1]]
    assert contents(again) == ["one", answers[0], "two", answers[2]] and answers[2] != answers[1]
    assert contents(undone) == ["one", answers[0]]
    assert contents(with_system) == ["Seja breve.", "one", answers[0], "three", answers[3]]
    assert contents(new) == ["four", answers[4]]
    assert [message["role"] for message in with_system] == ["system", "user", "assistant", "user", "assistant"]
    assert "taken back: two" in said and "system message: Seja breve." in said and said.count("added to") == 5


def test_saving_adds_a_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "old.jsonl"
    file.write_text('{"messages": []}', encoding="utf-8")
    answers, said = talk(
        "/save x.jsonl",
        "não",
        f"/save {file}",
        f"/save {tmp_path / 'README.md'}",
        "/save",
        f"/save {tmp_path}/no/f.jsonl",
    )
    assert saved(file) == [[], [{"role": "user", "content": "não"}, {"role": "assistant", "content": answers[0]}]]
    assert "there is no answer yet" in said and said.count("not a name of a .jsonl file") == 2
    assert not Path("x.jsonl").exists()


def test_set_changes_how_it_writes() -> None:
    answers, said = talk(
        "a", "/set max_new_tokens=3", "a", "/set temprature=1", "/set temperature=99", "/set n=2",
        "/set max_new_tokens", "/set", "/set seed", "/set nonsense",
    )  # fmt: skip
    assert [len(answer) for answer in answers] == [8, 3]
    assert "max_new_tokens=3\n" in said and "max_new_tokens=128\n" in said and "temperature=0.8  top_k=0" in said
    assert "did you mean `temperature`?" in said and "less than or equal to 10" in said and "n must be 1" in said
    assert "seed=None" in said and "not of the form key=value" in said


def test_a_new_seed_for_each_answer_unless_one_is_set() -> None:
    warm = SAMPLING.model_copy(update={"seed": None})
    assert len({talk("a", sampling=warm)[0][0] for _ in range(3)}) == 3
    assert talk("a", "/again", "/again") == talk("a", "/again", "/again")
    assert len(set(talk("a", "/again", "/again")[0])) == 3


def test_lines_are_joined_escaped_and_unknown_commands_are_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "chat.jsonl"
    answers, said = talk("one \\", "two", "//help", "/hepl me", f"/save {file}", "/again now")
    assert contents(saved(file)[0])[::2] == ["one \ntwo", "/help"]
    assert "there is no command /hepl" in said and len(answers) == 3


def test_ctrl_c_stops_the_answer_and_not_the_program(tmp_path: Path) -> None:
    class Impatient(io.StringIO):
        n_written = 0

        def write(self, text: str) -> int:
            self.n_written += 1
            if self.n_written == 4:
                signal.raise_signal(signal.SIGINT)
            return super().write(text)

    file = tmp_path / "chat.jsonl"
    # A shell has its background jobs ignore Ctrl+C, and so would these tests there.
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        answers, said = talk("a", f"/save {file}", "b", "/explain", stdout=Impatient())
    finally:
        signal.signal(signal.SIGINT, former)
    assert len(answers[0]) == 3 and len(answers[1]) == 8 and "(stopped)" in said
    # The fourth letter was drawn, and so it belongs to the answer.
    assert saved(file)[0][1]["content"].startswith(answers[0]) and len(saved(file)[0][1]["content"]) == 4


def test_ctrl_c_at_the_prompt_says_how_to_leave() -> None:
    class Interrupted(io.StringIO):
        n_read = 0

        def readline(self, size: int | None = -1, /) -> str:
            self.n_read += 1
            if self.n_read == 2:
                raise KeyboardInterrupt
            return super().readline(size if size is not None else -1)

    out, err = io.StringIO(), io.StringIO()
    chat_in_terminal(LLM, sampling=SAMPLING, stdin=Interrupted("a\nb\n"), stdout=out, stderr=err)
    assert len(out.getvalue().splitlines()) == 2 and err.getvalue().count("/quit leaves") == 2


def test_an_empty_answer_is_said_and_can_be_asked_again(tmp_path: Path) -> None:
    mute = Sampling(logit_bias={TOKENIZER.im_end_id: 100.0}, max_new_tokens=5)
    file = tmp_path / "chat.jsonl"
    answers, said = talk(
        "a",
        f"/save {file}",
        "/again",
        "/set logit_bias={97 = 50.0}",
        "/again",
        "/undo",
        "/undo",
        sampling=mute,
    )
    assert said.count("the model wrote nothing") == 2 and "there is no answer yet" in said and not file.exists()
    assert (
        answers == ["", "", "aaaaa"] and said.count("taken back: a") == 1 and said.count("there is no answer yet") == 2
    )


def test_errors_do_not_end_the_chat() -> None:
    answers, said = talk("x" * 600, "a")
    assert "the context holds 512" in said and "shorten" in said and len(answers) == 1


def test_forgetting_is_said_once() -> None:
    answers, said = talk(*["x" * 150] * 6)
    assert len(answers) == 6 and said.count("exceeds the context of 512 tokens") == 1


def test_explain_shows_every_token_with_the_ten_likeliest() -> None:
    answers, said = talk("/explain", "abc", "/explain")
    assert "there is no answer yet" in said
    answer, coloured, legend, head, *rows = answers
    assert coloured.strip() == answer and "≥ 90%" in legend and "the ten likeliest" in head
    # Candidates may need a second line, which begins with spaces.
    numbered = [row.split()[:2] for row in rows if re.match(r" ?\d", row)]
    assert numbered == [[str(n), letter] for n, letter in enumerate(answer, start=1)]


def test_a_row_has_the_token_its_probability_and_ten_candidates() -> None:
    steps = list(LLM.explain("abc", seed=1, max_new_tokens=3))
    *_, head, first, second, third = _plain(render_answer(steps, "pt")).splitlines()
    assert "os dez mais prováveis" in head
    for step, row in zip(steps, (first, second, third), strict=True):
        number, token, _probability, *candidates = row.split()
        assert (number, token) == (str(step.step), step.chosen.text)
        assert candidates[::2] == [candidate.text for candidate in step.candidates]
        assert all(share.endswith("%") for share in candidates[1::2])


def test_probabilities_have_colours() -> None:
    [step] = LLM.explain("abc", temperature=0, max_new_tokens=1)
    console = Console(file=io.StringIO(), force_terminal=True, color_system="truecolor", width=200, no_color=False)
    console.print(render_answer([step]))
    assert "\x1b[" in console.file.getvalue()  # type: ignore[attr-defined]


def _plain(renderable: Any) -> str:
    console = Console(width=200, record=True, file=io.StringIO())
    console.print(renderable)
    return console.export_text()


def test_nothing_but_text_reaches_the_terminal() -> None:
    # Escape, bell, CSI as one character (C2 9B), backspace, carriage return, and letters of which sequences are made.
    hostile = dict.fromkeys(b"\x1b\x07\x08\r\x9b\xc2[]0;31m", 30.0)
    sampling = Sampling(max_new_tokens=400, logit_bias=hostile)
    out, err = io.StringIO(), io.StringIO()
    stdin = io.StringIO("a\n/explain\n/undo\n\x1b[31m\n/undo\n/\x1b]0;x\x07\n")
    chat_in_terminal(LLM, sampling=sampling, stdin=stdin, stdout=out, stderr=err)
    said = out.getvalue() + err.getvalue()
    assert len(said) > 1000 and not {
        character for character in said if ord(character) < 32 or 127 <= ord(character) < 160
    } - {"\n"}


def test_strip_controls_leaves_text_alone() -> None:
    text = "Olá,\tmundo\n“ção” 👩\u200d💻 中文 e\u0301 \u00a0€"
    assert strip_controls(text) == text
    removed = [*map(chr, range(32)), *map(chr, range(127, 160)), "\u202e", "\u2066", "\u200f", "\u2028"]
    random = python_stream(0, "controls")
    for _ in range(20):
        mixed = "".join(random.choice(removed) + letter for letter in text)
        kept = [letter for letter in mixed if letter in "\t\n" or letter not in removed]
        assert strip_controls(mixed) == "".join(kept)


def test_everything_is_said_in_portuguese_too() -> None:
    answers, said = talk("a", "/help", "/undo", "/foo", "/explain", "/new", "/system", "/again", language="pt")
    for words in ("mostra os comandos", "cortada após 8 tokens", "retirada: a", "não existe o comando /foo",
                  "ainda não há resposta", "uma nova conversa", "sem mensagem de sistema"):  # fmt: skip
        assert words in said
    assert len(answers) == 1


def test_several_samples_are_no_chat() -> None:
    with pytest.raises(ConfigError, match="n must be 1 in a chat"):
        chat_in_terminal(LLM, sampling=Sampling(n=2), stdin=io.StringIO(""))
