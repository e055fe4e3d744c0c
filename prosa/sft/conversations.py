"""Files of instructions and chats go in, conversations come out: the first step of teaching a model to answer.

OpenAI messages, ShareGPT, Alpaca, Dolly and prompt/completion records are told apart by their fields. What is malformed
is counted by reason with its file and line, and passed over.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import Any

import orjson
from pydantic import Field

from prosa.config import Settings
from prosa.corpus import ReadReport, read_rows, world
from prosa.tokenizer import roles_after

# Tasks of the built-in world in each of its languages, where nothing else is said.
_WORLD_TASKS = 4000

_MESSAGE_FIELDS = ("messages", "conversations", "conversation", "turns", "dialogue", "dialog", "chat")
_PROMPT_FIELDS = ("instruction", "prompt", "question", "query", "input")
_CONTEXT_FIELDS = ("context", "input")
_COMPLETION_FIELDS = ("completion", "response", "output", "answer")
_LANGUAGE_FIELDS = ("language", "lang", "idioma")
_SPEAKER_FIELDS = ("role", "from", "speaker", "author")
_SAID_FIELDS = ("content", "value", "text", "message")
_ROLE_WORDS = {
    "system": "system developer sistema",
    "user": "user human prompter usuário",
    "assistant": "assistant gpt chatgpt bot model ai assistente",
    "tool": "tool function observation",
}
_ROLE_OF_WORD = {word: role for role, words in _ROLE_WORDS.items() for word in words.split()}

Messages = tuple[Mapping[str, str], ...]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages in order: perhaps a system message, then user and assistant in turn, the last one the assistant's.

    `source` is the name of where it is from, `origin` leads a person back to it as `file:line`.
    """

    messages: Messages
    source: str
    origin: str
    language: str = ""

    @property
    def id(self) -> str:
        """32 hex characters that depend on the messages alone."""
        return hash_messages(self.messages)

    @property
    def prompt_id(self) -> str:
        """The same of what comes before the first answer, so that one question's answers can be kept together."""
        return hash_messages(tuple(takewhile(lambda message: message["role"] != "assistant", self.messages)))


class ConversationSource(Settings):
    """Where conversations come from, and how often an epoch reads them."""

    path: str = Field(min_length=1)
    """A file or folder of jsonl, json or parquet (plain, gz, zst), `hf:owner/name[:config][:split]`, or `world:`."""
    name: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$", max_length=60)
    """Its name in reports; the path when empty."""
    weight: float = Field(1.0, gt=0, le=1000)
    """How often an epoch reads each conversation: 2 is twice, 0.5 a half of them, drawn anew each epoch."""
    max_conversations: int = Field(0, ge=0)
    """Stop after this many; 0 means all, and of `world:` 4,000 in each language."""
    language: str = ""
    """What its records are written in, where they do not say."""


class Malformed(Exception):
    """Why a record is no conversation: a reason to count by, and what was found."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)


def read_conversations(source: ConversationSource, report: ReadReport) -> Iterator[Conversation]:
    """The conversations of one source in order; bad ones are counted in `report` and passed over.

    Raises DataError if the source is not there, ConfigError if it is no address of a source.
    """
    for conversation in islice(_conversations(source, report), source.max_conversations or None):
        report.n_documents += 1
        yield conversation


def _conversations(source: ConversationSource, report: ReadReport) -> Iterator[Conversation]:
    name = source.name or source.path
    if source.path.startswith("world:"):
        yield from _world_conversations(source, name)
        return
    for record, where in read_rows(source.path, report):
        try:
            messages = record_messages(record)
            answered = messages[: _n_answered(messages)]
        except Malformed as problem:
            report.rejected.add(problem.args[0], where, problem.args[1])
            continue
        if len(answered) < len(messages):
            report.repaired.add("last question without an answer left out", where)
        yield Conversation(answered, name, where, _language(record) or source.language)


def _world_conversations(source: ConversationSource, name: str) -> Iterator[Conversation]:
    town = world.build_world(world.parse_world(source.path))
    languages = town.settings.languages
    n_each = -(-source.max_conversations // len(languages)) or _WORLD_TASKS
    for language in languages:
        for task in town.tasks(language, split="train", n=n_each):
            messages = (*task.messages, {"role": "assistant", "content": task.reply})
            yield Conversation(messages, name, f"{name} {task.id}", task.language)


def record_messages(record: Any) -> Messages:
    """The messages of one record in any of the known shapes. Raises Malformed, saying why it is none of them.

    A list is messages itself; a mapping has a list of messages (OpenAI, ShareGPT) or a prompt and a completion, each a
    text (Alpaca and Dolly with `input` or `context`) or messages. A text under `system` comes first.
    """
    if isinstance(record, list):
        return check_messages(record)
    if not isinstance(record, Mapping):
        raise Malformed("no conversation", f"{type(record).__name__} {str(record)[:40]}")
    lists = (record.get(name) for name in _MESSAGE_FIELDS)
    messages = next((value for value in lists if isinstance(value, list) and value), None)
    if messages is None:
        messages = _prompt_messages(record)
    instructions = record.get("system")
    if isinstance(instructions, str) and not any(_role(message) == "system" for message in messages):
        messages = [{"role": "system", "content": instructions}, *messages]
    return check_messages(messages)


def check_messages(messages: Sequence[Any]) -> Messages:
    """The messages with our names of roles; Malformed where one is empty, no text, or out of turn.

    Content is kept to the character; content in parts is joined where all parts are text; a system message that says
    nothing is left out.
    """
    checked: list[Mapping[str, str]] = []
    for number, message in enumerate(messages):
        role, content = _role(message), _content(message)
        if not role:
            raise Malformed("unknown role", f"message {number}: {_first(message, _SPEAKER_FIELDS)!r}"[:80])
        if content is None:
            raise Malformed("content is not text", f"message {number} ({role})")
        if not content.strip():
            if role == "system":
                continue
            raise Malformed("empty answer" if role == "assistant" else "empty message", f"message {number} ({role})")
        before = checked[-1]["role"] if checked else ""
        if role not in roles_after(before):
            raise Malformed("roles out of order", f"message {number}: {role} after {before or 'nothing'}")
        checked.append({"role": role, "content": content})
    return tuple(checked)


def hash_messages(messages: Messages) -> str:
    data = orjson.dumps([[message["role"], message["content"]] for message in messages])
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _n_answered(messages: Messages) -> int:
    """How many messages there are up to the last answer."""
    answers = [number for number, message in enumerate(messages) if message["role"] == "assistant"]
    if not answers:
        raise Malformed("no answer", f"{len(messages)} messages")
    return answers[-1] + 1


def _prompt_messages(record: Mapping[str, Any]) -> list[Any]:
    prompt_field = next((name for name in _PROMPT_FIELDS if record.get(name)), None)
    completion_field = next((name for name in _COMPLETION_FIELDS if record.get(name) is not None), None)
    if prompt_field is None or completion_field is None:
        raise Malformed("no conversation", f"fields: {', '.join(map(str, list(record)[:8]))}")
    prompt, completion = record[prompt_field], record[completion_field]
    context = next((record[name] for name in _CONTEXT_FIELDS if name != prompt_field and record.get(name)), "")
    if isinstance(prompt, str) and isinstance(context, str) and context.strip():
        prompt = f"{prompt}\n\n{context}"
    return [
        *(prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]),
        *(completion if isinstance(completion, list) else [{"role": "assistant", "content": completion}]),
    ]


def _role(message: Any) -> str:
    word = _first(message, _SPEAKER_FIELDS)
    return _ROLE_OF_WORD.get(word.strip().lower(), "") if isinstance(word, str) else ""


def _content(message: Any) -> str | None:
    content = _first(message, _SAID_FIELDS)
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, Mapping) else part for part in content]
        texts = [part for part in parts if isinstance(part, str)]
        content = "".join(texts) if len(texts) == len(parts) else None
    if not isinstance(content, str):
        return None
    try:
        content.encode()
    except UnicodeEncodeError:
        return None
    return content


def _first(fields: Any, names: tuple[str, ...]) -> Any:
    """The first of the fields that holds something; parquet has every field in every row."""
    values = (fields.get(name) for name in names) if isinstance(fields, Mapping) else ()
    return next((value for value in values if value is not None), None)


def _language(record: Any) -> str:
    word = _first(record, _LANGUAGE_FIELDS)
    return word[:20] if isinstance(word, str) else ""
