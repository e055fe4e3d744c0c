"""A chat at the terminal: a person's lines come in, the model's answers go out while they are written.

Answers go to stdout and all else to stderr, so that it works the same through pipes. What the model writes is cleaned
of control characters: nothing but text reaches the terminal.
"""

import contextlib
import io
import itertools
import json
import secrets
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from prosa.config import read_settings
from prosa.errors import ConfigError, ProsaError
from prosa.generate.chat import fit_chat
from prosa.generate.engine import make_rows, write
from prosa.generate.explain import explain_step
from prosa.generate.explained_answer import render_answer
from prosa.generate.language_model import LanguageModel
from prosa.generate.sampling import Sampling
from prosa.rundir import write_durably
from prosa.wording import Language

_PHRASES: dict[str, dict[Language, str]] = {
    "prompt": {"en": "you> ", "pt": "você> "},
    "hello": {
        "en": "/help lists the commands, Ctrl+C stops an answer, /quit leaves",
        "pt": "/help mostra os comandos, Ctrl+C interrompe uma resposta, /quit sai",
    },
    "help": {
        "en": """/again             answer the last question anew
/undo              take the last question and its answer back
/system TEXT       tell the model who it is; without TEXT, no longer
/new               begin a new conversation
/explain           the last answer, token by token: how probable each was and what else could have come
/save FILE.jsonl   add this conversation to a file, as one line of JSON
/set NAME=VALUE    change how it writes, e.g. /set temperature=0.5; /set NAME restores, /set alone shows
/help              this list
/quit              leave (also Ctrl+D)
Ctrl+C stops an answer and keeps what was written. A line that ends in \\ goes on in the next one.
A line that begins with // is sent with a single /.""",
        "pt": """/again                 responder de novo à última pergunta
/undo                  retirar a última pergunta e sua resposta
/system TEXTO          dizer ao modelo quem ele é; sem TEXTO, deixar de dizer
/new                   começar uma nova conversa
/explain               a última resposta, token a token: a probabilidade de cada um e o que mais poderia ter vindo
/save ARQUIVO.jsonl    acrescentar esta conversa a um arquivo, em uma linha de JSON
/set NOME=VALOR        mudar o modo de escrever, p. ex. /set temperature=0.5; /set NOME restaura, /set sozinho mostra
/help                  esta lista
/quit                  sair (também Ctrl+D)
Ctrl+C interrompe a resposta e guarda o que foi escrito. Uma linha que termina em \\ continua na seguinte.
Uma linha que começa com // é enviada com uma só /.""",
    },
    "unknown": {
        "en": "there is no command {0}; /help lists them",
        "pt": "não existe o comando {0}; /help mostra todos",
    },
    "leave": {"en": "/quit leaves", "pt": "/quit sai"},
    "stopped": {"en": "(stopped)", "pt": "(interrompida)"},
    "length": {
        "en": "(cut after {0} tokens; /set max_new_tokens={1} allows more)",
        "pt": "(cortada após {0} tokens; /set max_new_tokens={1} permite mais)",
    },
    "context": {"en": "(the context is full)", "pt": "(o contexto está cheio)"},
    "empty": {
        "en": "(the model wrote nothing; /again asks once more)",
        "pt": "(o modelo não escreveu nada; /again pergunta outra vez)",
    },
    "forgets": {
        "en": "the conversation exceeds the context of {0} tokens: from now on the model forgets its oldest turns",
        "pt": "a conversa já não cabe no contexto de {0} tokens: daqui em diante, o modelo esquece o mais antigo",
    },
    "nothing": {"en": "there is no answer yet", "pt": "ainda não há resposta"},
    "undone": {"en": "taken back: {0}", "pt": "retirada: {0}"},
    "system": {"en": "system message: {0}", "pt": "mensagem de sistema: {0}"},
    "no system": {"en": "no system message", "pt": "sem mensagem de sistema"},
    "new": {"en": "a new conversation", "pt": "uma nova conversa"},
    "saved": {"en": "added to {0}", "pt": "acrescentada a {0}"},
}
# Marks that turn the direction of writing, with which a text can look like another.
_DIRECTION_MARKS = {0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)}
_REMOVED = dict.fromkeys(
    {code for code in range(0xA0) if unicodedata.category(chr(code)) == "Cc"} - {ord("\n"), ord("\t")}
    | {0x2028, 0x2029}
    | _DIRECTION_MARKS
)


def chat_in_terminal(
    llm: LanguageModel,
    *,
    system: str = "",
    sampling: Sampling | None = None,
    language: Language = "en",
    stdin: TextIO | None = None,
    stdout: TextIO | None = None,
    stderr: TextIO | None = None,
) -> None:
    """Talks until /quit or the end of stdin; `/help` lists the commands. The streams are the process's own."""
    streams = (stdin or sys.stdin, stdout or sys.stdout, stderr or sys.stderr)
    for stream in streams:
        # A letter that a terminal does not know must not end the chat.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    if sampling is not None:
        _check_sampling(sampling)
    TerminalChat(llm, system, sampling or Sampling(), language, *streams).run()


def strip_controls(text: str) -> str:
    """`text` without what a terminal obeys: control characters other than line end and tab, marks of direction."""
    return text.translate(_REMOVED)


@dataclass(frozen=True, slots=True)
class _Written:
    """What it takes to write the last answer again: same prompt, settings and seed give the same tokens."""

    ids: list[int]
    sampling: Sampling
    n_tokens: int


class TerminalChat:
    """The state of one session; everything in it is forgotten at its end."""

    def __init__(
        self,
        llm: LanguageModel,
        system: str,
        sampling: Sampling,
        language: Language,
        stdin: TextIO,
        stdout: TextIO,
        stderr: TextIO,
    ) -> None:
        from rich.console import Console

        self.llm, self.system, self.sampling, self.language = llm, system.strip(), sampling, language
        self.stdin, self.stdout = stdin, stdout
        self.notices = Console(file=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)
        # Questions and answers in turn.
        self.messages: list[dict[str, str]] = []
        # A question that the model answered with nothing.
        self.unanswered = ""
        self.written: _Written | None = None
        self.n_again = 0
        self.has_said_that_it_forgets = False

    def run(self) -> None:
        self._say("hello")
        is_going = True
        while is_going:
            try:
                line = self._read_line()
                is_going = line is not None and self._obey(line)
            except KeyboardInterrupt:
                self.notices.print()
                self._say("leave")
            except BrokenPipeError:
                # Nobody reads on: the command line ends quietly.
                raise
            except (ProsaError, OSError) as error:
                self._notice(str(error), "red")

    def _obey(self, line: str) -> bool:
        """Does what a line asks for; False to leave."""
        command, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        match command.lower():
            case "":
                pass
            case "/quit":
                return False
            case "/help":
                self._say("help")
            case "/again":
                self._again()
            case "/undo":
                self._undo()
            case "/system":
                self.system = rest
                self._say("system" if rest else "no system", rest)
            case "/new":
                self.messages, self.unanswered, self.written = [], "", None
                self._say("new")
            case "/explain":
                self._explain()
            case "/save":
                self._save(rest)
            case "/set":
                self._set(rest)
            case word if word.startswith("/") and not word.startswith("//"):
                self._say("unknown", command)
            case _:
                self.n_again = 0
                self._ask(line.strip().removeprefix("/") if command.startswith("//") else line.strip(), self.messages)
        return True

    def _ask(self, question: str, history: Sequence[dict[str, str]]) -> None:
        """Writes the answer to a question after `history`; together they become the conversation."""
        asked = [*history, {"role": "user", "content": question}]
        messages = [{"role": "system", "content": self.system}, *asked] if self.system else asked
        context_length = self.llm.model.settings.context_length
        fitted = fit_chat(self.llm.tokenizer, messages, context_length, self.sampling.max_new_tokens)
        if fitted.n_dropped and not self.has_said_that_it_forgets:
            self.has_said_that_it_forgets = True
            self._say("forgets", context_length)
        seed = secrets.randbits(62) if self.sampling.seed is None else self.sampling.seed
        sampling = self.sampling.model_copy(update={"seed": (seed + self.n_again) % 2**63})
        answer = self._write(fitted.ids, sampling)
        if answer.strip():
            self.messages, self.unanswered = [*asked, {"role": "assistant", "content": answer}], ""
        else:
            self.unanswered = question
            self._say("empty")

    def _write(self, ids: list[int], sampling: Sampling) -> str:
        """Prints the answer as it is written and returns it, up to where Ctrl+C stopped it."""
        model, tokenizer = self.llm.model, self.llm.tokenizer
        [row] = make_rows(tokenizer, [ids], [sampling], model.settings.context_length)
        is_stopped = False
        try:
            for [drawn] in write(model, tokenizer, [row], steps=self.llm.steps):
                self.stdout.write(strip_controls(drawn.piece))
                self.stdout.flush()
        except KeyboardInterrupt:
            is_stopped = True
        self.stdout.write("\n")
        self.stdout.flush()
        n_tokens = len(row.ids) - row.n_prompt
        self.written = _Written(ids, sampling, n_tokens)
        if is_stopped:
            self._say("stopped")
        elif row.finish_reason == "length":
            self._say("length", n_tokens, 2 * n_tokens)
        elif row.finish_reason == "context":
            self._say("context")
        return row.text

    def _again(self) -> None:
        if not self.unanswered and not self.messages:
            self._say("nothing")
            return
        self.n_again += 1
        if self.unanswered:
            self._ask(self.unanswered, self.messages)
        else:
            self._ask(self.messages[-2]["content"], self.messages[:-2])

    def _undo(self) -> None:
        if not self.unanswered and not self.messages:
            self._say("nothing")
            return
        question = self.unanswered or self.messages[-2]["content"]
        if not self.unanswered:
            self.messages = self.messages[:-2]
        self.unanswered, self.written = "", None
        self._say("undone", question)

    def _explain(self) -> None:
        if self.written is None or not self.written.n_tokens:
            self._say("nothing")
            return
        model, tokenizer, written = self.llm.model, self.llm.tokenizer, self.written
        rows = make_rows(tokenizer, [written.ids], [written.sampling], model.settings.context_length)
        steps = (explain_step(tokenizer, drawn) for [drawn] in write(model, tokenizer, rows, keeps_scores=True))
        with contextlib.closing(steps):
            explained = list(itertools.islice(steps, written.n_tokens))
        from rich.console import Console

        width = None if self.stdout.isatty() else 120
        Console(file=self.stdout, highlight=False, width=width).print(render_answer(explained, self.language))

    def _save(self, name: str) -> None:
        path = Path(name).expanduser()
        if path.suffix != ".jsonl":
            raise ConfigError(f"`{name}` is not a name of a .jsonl file", hint="for example `/save chat.jsonl`")
        if not self.messages:
            self._say("nothing")
            return
        system = [{"role": "system", "content": self.system}] if self.system else []
        line = json.dumps({"messages": [*system, *self.messages]}, ensure_ascii=False) + "\n"
        before = path.read_bytes() if path.exists() else b""
        if before and not before.endswith(b"\n"):
            before += b"\n"
        write_durably(path, before + line.encode())
        self._say("saved", path)

    def _set(self, words: str) -> None:
        values = self.sampling.model_dump()
        if words in values:
            del values[words]
            sampling = read_settings(Sampling, values=values)
        else:
            sampling = read_settings(Sampling, overrides=[words] if words else [], values=values)
        _check_sampling(sampling)
        self.sampling = sampling
        name = words.partition("=")[0].strip()
        shown = {name: getattr(sampling, name)} if name else sampling.model_dump(exclude={"n", "top_logprobs"})
        self._notice("  ".join(f"{key}={value}" for key, value in shown.items()))

    def _read_line(self) -> str | None:
        """What the person wrote, lines that end in a backslash joined with the next; None at the end of stdin."""
        lines: list[str] = []
        while True:
            if self.stdin.isatty():
                self.notices.print(_PHRASES["prompt"][self.language], end="", style="bold green")
            line = self.stdin.readline()
            if not line:
                return "\n".join(lines) if lines else None
            line = line.rstrip("\r\n")
            if not line.endswith("\\"):
                return "\n".join([*lines, line])
            lines.append(line[:-1])

    def _say(self, phrase: str, *values: object) -> None:
        self._notice(_PHRASES[phrase][self.language].format(*values))

    def _notice(self, text: str, style: str = "dim") -> None:
        self.notices.print(strip_controls(text), style=style)


def _check_sampling(sampling: Sampling) -> None:
    if sampling.n != 1:
        raise ConfigError("n must be 1 in a chat", hint="`prosa sample` writes several answers to one prompt")
