import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prosa.corpus.document import ReadReport
from prosa.corpus.records import conversation_text, expand, iterate_json, record_document

TALK = "User: Oi!\n\nAssistant: Olá, tudo bem?\n\nUser: Tudo."

PARTS = {"role": "user", "content": [{"type": "text", "text": "Oi!"}, {"type": "image_url"}]}


def document_of(record: Any, **rules: Any) -> tuple[Any, ReadReport]:
    report = ReadReport()
    return record_document(record, "x:1", report, source="s", **rules), report


def messages(speaker: str, words: str, names: tuple[str, str] = ("user", "assistant")) -> list[dict[str, str]]:
    said = ("Oi!", "Olá, tudo bem?", "Tudo.")
    return [{speaker: names[index % 2], words: text} for index, text in enumerate(said)]


@pytest.mark.parametrize(
    "record",
    [
        {"messages": messages("role", "content")},
        {"conversations": messages("from", "value", ("human", "gpt"))},
        {"turns": messages("speaker", "text"), "text": "a summary"},
        {"dialog": messages("role", "utterance")},
        messages("role", "content"),
        {"messages": [PARTS, *messages("role", "content")[1:]]},
        {"messages": [*messages("role", "content"), {"role": "assistant", "content": None, "tool_calls": []}]},
    ],
)
def test_chat_logs_in_the_common_shapes(record: Any) -> None:
    document, report = document_of(record)
    assert document.text == TALK and document.kind == "conversation"
    assert report.rejected.counts == {}


def test_speakers_keep_their_names() -> None:
    turns = [
        {"speaker": "Otto Alencar", "role": "PRESIDENTE", "text": "Declaro aberta a sessão."},
        {"role": "agent_2", "text": "Sim."},
        {"text": "(Pausa.)"},
    ]
    assert conversation_text(turns) == "Otto Alencar: Declaro aberta a sessão.\n\nAgent 2: Sim.\n\n(Pausa.)"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ({"title": "x", "id": 3}, "no text field"),
        ({"text": 3}, "wrong type"),
        ({"text": None}, "empty"),
        ({"text": b"\xff\xfe"}, "wrong type"),
        (17, "no text field"),
        ([1, 2], "empty"),
        ({"messages": [{"role": "user", "content": ""}]}, "empty"),
    ],
)
def test_records_without_text_are_counted(record: Any, reason: str) -> None:
    document, report = document_of(record)
    assert document is None and report.rejected.counts == {reason: 1}


def test_fields_are_honoured_where_valid() -> None:
    document, _ = document_of({"Content": "abc", "lang": "pt-BR", "kind": "Dialogue", "license": " CC-BY "})
    assert (document.kind, document.language, document.licence) == ("conversation", "pt", "CC-BY")
    document, _ = document_of({"body": "abc", "lang": "klingon!", "kind": 7, "licence": ""})
    assert (document.kind, document.language, document.licence) == ("", "", "")
    document, _ = document_of({"text": "x = 1", "lang": "code"})
    assert (document.kind, document.language) == ("code", "code")
    document, _ = document_of({"text": "a", "answer": "b"}, text_field="answer")
    assert document.text == "b"


@pytest.mark.parametrize(
    ("exclude", "is_left_out"),
    [
        ({"old": ">0.5"}, True),
        ({"old": "<= 0.5"}, False),
        ({"old": 0.9}, True),
        ({"split": ("test", "val")}, True),
        ({"split": "train"}, False),
        ({"flag": True}, True),
        ({"flag": "true"}, True),
        ({"missing": 1}, False),
    ],
)
def test_excluded_records_are_counted(exclude: dict[str, Any], is_left_out: bool) -> None:
    document, report = document_of({"text": "abc", "old": 0.9, "split": "test", "flag": True}, exclude=exclude)
    assert (document is None) == is_left_out == bool(report.skipped.counts)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('ab\n\\"é😀[]{},', max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, derandomize=True, deadline=None)
@given(st.lists(json_values, max_size=5), st.integers(1, 9), st.sampled_from([None, 1]), st.booleans())
def test_a_streamed_json_file_gives_what_json_gives(
    values: list[Any], size: int, indent: int | None, is_array: bool
) -> None:
    if is_array:
        text = json.dumps(values, indent=indent)
    else:
        values = [value for value in values if isinstance(value, dict)]
        text = "\n".join(json.dumps(value, indent=indent) for value in values)
    report = ReadReport()
    chunks = [text[start : start + size] for start in range(0, len(text), size)]
    got = list(iterate_json(chunks, "x", report))
    assert [value for value, _ in got] == values
    assert report.rejected.counts == {}
    for value, line in got:
        if isinstance(value, dict | list | str):
            first = json.dumps(value)[0]
            assert text.split("\n")[line - 1].count(first)


@pytest.mark.parametrize(
    ("text", "n_values", "where"),
    [
        ('[{"text": "a"},\n{"text": "b"}, {"text": ', 2, "x:2"),
        ('[{"text": "a"},\n\n{"text" "b"}, {"text": "c"}]', 1, "x:3"),
        ('[{"text": "a"}\n', 1, "x:2"),
        ("[" * 100_000, 0, "x:1"),
    ],
)
def test_malformed_json_is_counted_where_it_breaks(text: str, n_values: int, where: str) -> None:
    report = ReadReport()
    assert len(list(iterate_json([text], "x", report))) == n_values
    assert report.rejected.counts == {"malformed JSON": 1}
    assert report.rejected.examples["malformed JSON"][0].startswith(where)


def test_a_wrapping_object_gives_its_records() -> None:
    rows = [{"text": "a"}, {"text": "b"}]
    assert list(expand({"version": 1, "data": rows})) == rows
    assert list(expand({"text": "a", "notes": rows})) == [{"text": "a", "notes": rows}]
