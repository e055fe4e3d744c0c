"""Records of data sets and chat logs, made into documents.

A record is a row of jsonl, json, csv, parquet or a hub data set: its text field, or its messages written out as a
conversation, becomes one document. Fields for kind, language and licence are honoured where they are valid.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prosa.corpus.document import Document, ReadReport, kind_of_word, language_of_word

TEXT_FIELDS = (
    *("text", "content", "body", "document", "article", "story", "markdown", "code", "transcript"),
    *("texto", "conteudo", "conteúdo", "corpo", "documento"),
)
MESSAGE_FIELDS = ("messages", "conversations", "conversation", "turns", "dialogue", "dialog", "chat")
KIND_FIELDS = ("kind", "type", "category")
LANGUAGE_FIELDS = ("language", "lang", "idioma")
LICENCE_FIELDS = ("licence", "license", "licença")
_SPEAKER_FIELDS = ("name", "speaker", "role", "from", "author", "sender", "user")
_SAID_FIELDS = ("content", "text", "value", "message", "utterance", "body")
_ROLES = {"human": "User", "gpt": "Assistant", "bot": "Assistant", "model": "Assistant", "ai": "Assistant"}
_MISSING = object()
_COMPARISON = re.compile(r"(<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)")

JSON_VALUE_LIMIT_CHARS = 64_000_000
_JSON_SPACE = re.compile(r"[\s,]*")
_SINGLE_CONVERSATION = re.compile(r'\[\s*\{\s*"(role|from|speaker)"\s*:')


def record_document(
    record: Any,
    where: str,
    report: ReadReport,
    *,
    source: str,
    text_field: str = "",
    exclude: Mapping[str, Any] | None = None,
) -> Document | None:
    """The document of one record; None, counted in the report, if it has none or is excluded.

    A record is a string, a list of messages, or a mapping with a text field or messages. `kind` and `language` of
    the result are "" where the record does not say them.
    """
    fields = record if isinstance(record, Mapping) else {}
    if exclude and (rule := _excluding_rule(fields, exclude)):
        report.skipped.add(f"excluded by {rule}", where)
        return None
    text, kind = _record_text(record, fields, text_field)
    if not isinstance(text, str):
        reason = "no text field" if text is _MISSING else "empty" if text is None else "wrong type"
        detail = f"fields: {', '.join(map(str, list(fields)[:8]))}" if text is _MISSING else f"{text!r}"[:60]
        report.rejected.add(reason, where, "" if text is None else detail)
        return None
    language = language_of_word(_first(fields, LANGUAGE_FIELDS))
    kind = kind or kind_of_word(_first(fields, KIND_FIELDS)) or ("code" if language == "code" else "")
    licence = _first(fields, LICENCE_FIELDS)
    return Document(
        text=text,
        kind=kind,
        language="code" if kind == "code" else language,
        source=source,
        licence=licence.strip()[:100] if isinstance(licence, str) else "",
        origin=where,
    )


def conversation_text(messages: Iterable[Any]) -> str | None:
    """Messages as plain text: `Speaker: words`, a blank line between turns; None if no message has words.

    A speaker is the message's name, else its role: "user" -> "User", ShareGPT's "human" and "gpt" -> "User" and
    "Assistant". Content given as parts keeps its text parts.
    """
    turns = []
    for message in messages:
        if not isinstance(message, Mapping):
            return None
        words = _words(_first(message, _SAID_FIELDS))
        if not words:
            continue
        speaker = _speaker(_first(message, _SPEAKER_FIELDS))
        turns.append(f"{speaker}: {words}" if speaker else words)
    return "\n\n".join(turns) or None


def iterate_json(chunks: Iterable[str], where: str, report: ReadReport) -> Iterator[tuple[Any, int]]:
    """The values of a JSON file with the line each begins at: the elements of its array, or one value after another.

    Holds one value at a time, so an array may be larger than memory. After malformed JSON nothing more is read.
    """
    decoder = json.JSONDecoder()
    source = iter(chunks)
    buffer, position, line, wanted = "", 0, 1, 1
    is_array, is_last = False, False
    while True:
        while not is_last and len(buffer) - position < wanted:
            chunk = next(source, None)
            is_last = chunk is None
            buffer, position = buffer[position:] + (chunk or ""), 0
        position, line = _skip_space(buffer, position, line)
        if position == len(buffer):
            if is_last:
                break
            wanted = 1
        elif buffer[position] == "[" and not is_array and not _SINGLE_CONVERSATION.match(buffer, position):
            is_array, position = True, position + 1
        elif buffer[position] == "]" and is_array:
            return
        else:
            try:
                value, end = decoder.raw_decode(buffer, position)
            except (ValueError, RecursionError) as error:
                if not is_last and len(buffer) - position < JSON_VALUE_LIMIT_CHARS:
                    wanted = 2 * (len(buffer) - position)
                    continue
                report.rejected.add("malformed JSON", f"{where}:{line}", getattr(error, "msg", "nested too deeply"))
                return
            yield value, line
            line += buffer.count("\n", position, end)
            position, wanted = end, 1
    if is_array:
        report.rejected.add("malformed JSON", f"{where}:{line}", "the array does not end: the file is cut short")


def _skip_space(buffer: str, position: int, line: int) -> tuple[int, int]:
    match = _JSON_SPACE.match(buffer, position)
    end = match.end() if match else position
    return end, line + buffer.count("\n", position, end)


def expand(value: Any) -> Iterator[Any]:
    """The records inside one JSON value: an object that only wraps a list of records gives those."""
    if isinstance(value, Mapping) and not any(field in value for field in (*TEXT_FIELDS, *MESSAGE_FIELDS)):
        lists = [item for item in value.values() if isinstance(item, list) and item and isinstance(item[0], Mapping)]
        if len(lists) == 1:
            yield from lists[0]
            return
    yield value


def _record_text(record: Any, fields: Mapping[str, Any], text_field: str) -> tuple[Any, str]:
    """(text, kind): the text is _MISSING if there is no field for it, or whatever of a wrong type stands there."""
    if text_field:
        return _decoded(fields.get(text_field, _MISSING)), ""
    if isinstance(record, str):
        return record, ""
    if isinstance(record, list):
        return conversation_text(record), "conversation"
    lower = {str(key).lower(): key for key in fields}
    for name in MESSAGE_FIELDS:
        messages = fields.get(lower.get(name, name))
        if isinstance(messages, list) and messages and isinstance(messages[0], Mapping):
            return conversation_text(messages), "conversation"
    for name in TEXT_FIELDS:
        if name in lower:
            return _decoded(fields[lower[name]]), ""
    return _MISSING, ""


def _decoded(value: Any) -> Any:
    """Bytes, as parquet may hold them, are text if they are UTF-8."""
    try:
        return value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        return value


def _first(fields: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    for name in names:
        if (value := fields.get(name)) not in (None, ""):
            return value
    return None


def _words(content: Any) -> str:
    if isinstance(content, str):
        return content.strip()
    if isinstance(content, list):
        parts = [
            part if isinstance(part, str) else part.get("text") for part in content if isinstance(part, str | dict)
        ]
        return "\n".join(part.strip() for part in parts if isinstance(part, str) and part.strip())
    return ""


def _speaker(word: Any) -> str:
    if not isinstance(word, str):
        return ""
    word = word.strip()
    return _ROLES.get(word.lower()) or (word[:1].upper() + word[1:]).replace("_", " ")


def _excluding_rule(fields: Mapping[str, Any], exclude: Mapping[str, Any]) -> str:
    for field, rules in exclude.items():
        if field not in fields:
            continue
        for rule in rules if isinstance(rules, list | tuple) else (rules,):
            if _is_matched(fields[field], rule):
                return (
                    f"{field} {rule}" if isinstance(rule, str) and _COMPARISON.fullmatch(rule) else f"{field} = {rule}"
                )
    return ""


def _is_matched(value: Any, rule: Any) -> bool:
    comparison = _COMPARISON.fullmatch(rule) if isinstance(rule, str) else None
    if comparison is None:
        return bool(value == rule) or str(value).lower() == str(rule).lower()
    try:
        number, limit = float(value), float(comparison.group(2))
    except (TypeError, ValueError):
        return False
    return {"<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit}[comparison.group(1)]
