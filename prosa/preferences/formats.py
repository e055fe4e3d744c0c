"""Rankings in the formats of other programs: rows to write, and rows read back.

None of these formats holds all that a ranking says. What is lost is counted: the table at `CANNOT_HOLD` for what a
format has no place for, `ExportReport` for what was met in the rankings at hand.
"""

import json
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from prosa.errors import DataError
from prosa.preferences.judgments import Message, RankedAnswers, Ranking
from prosa.preferences.row_files import Row
from prosa.rundir import write_durably

Format = Literal["trl", "openrlhf", "hh", "nemo", "argilla"]

_NEVER = ("weight", "order shown", "seconds", "comment", "all bad", "skips and undone judgments", "model and sampling")
CANNOT_HOLD: dict[Format, tuple[str, ...]] = {
    "trl": ("annotator", "ties", "more than two answers together", *_NEVER),
    "openrlhf": ("annotator", "ties", "more than two answers together", *_NEVER),
    "hh": ("annotator", "ties", "more than two answers together", "system messages", *_NEVER),
    "nemo": ("annotator", "answers without a place", *_NEVER),
    "argilla": ("annotator's name (a UUID stands for it)", "ties", "answers without a place", *_NEVER),
}
_HH_TURN = re.compile(r"\n\n(Human|Assistant):")
_HH_NAMES = {"user": "Human", "assistant": "Assistant"}
_HH_ROLES = {name: role for role, name in _HH_NAMES.items()}
_FIRST_BETTER = Ranking(((0,), (1,)))
_SIDES = ("chosen", "rejected")
_QUESTION = "ranking"
_FIELD = re.compile(r"response[_-](\d+)")


@dataclass(slots=True)
class ExportReport:
    """What was written and what could not be: `lost` and `left_out` count rankings by reason."""

    format: Format
    n_rankings: int = 0
    n_rows: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)

    def to_json(self) -> dict[str, Any]:
        return {
            "format": self.format,
            "rankings": self.n_rankings,
            "rows": self.n_rows,
            "cannot_hold": list(CANNOT_HOLD[self.format]),
            "lost": dict(sorted(self.lost.items())),
            "left_out": dict(sorted(self.left_out.items())),
        }


def write_rankings(ranked: Sequence[RankedAnswers], path: Path, format: Format) -> ExportReport:
    """Writes the rankings as jsonl (Argilla: one JSON array), durably; says what the format could not hold.

    trl       prompt, chosen, rejected as messages; every pair of a ranking is a row
    openrlhf  chosen, rejected as whole conversations; every pair is a row
    hh        chosen, rejected as "\\n\\nHuman: ...\\n\\nAssistant: ..."; every pair is a row
    nemo      context, completions with their ranks, ties included; a row is a ranking
    argilla   records as Argilla 2 writes them with `to_json`; a record is an item, with a response of each annotator
    """
    if format not in CANNOT_HOLD:
        raise DataError(f"unknown format `{format}`", hint=f"known are {', '.join(CANNOT_HOLD)}")
    report = ExportReport(format)
    rows: list[dict[str, Any]] = []
    if format == "argilla":
        rows = _argilla_rows(ranked, report)
    else:
        for one in ranked:
            rows += [_nemo_row(one, report)] if format == "nemo" else _pair_rows(one, format, report)
    report.n_rows = len(rows)
    lines = [json.dumps(row, ensure_ascii=False, allow_nan=False) for row in rows]
    text = "[" + ",\n".join(lines) + "]" if format == "argilla" else "\n".join(lines)
    write_durably(path, f"{text}\n".encode() if text else b"")
    return report


def _note_losses(one: RankedAnswers, report: ExportReport) -> None:
    """Counts a ranking that is written, and what it says that its rows do not."""
    report.n_rankings += 1
    if one.weight != 1:
        report.lost["a weight"] += 1
    if one.annotator:
        report.lost["the annotator's name"] += 1
    if len(one.ranking.ranked) < len(one.answers):
        report.lost["answers without a place"] += 1
    if report.format in ("trl", "openrlhf", "hh"):
        if one.ranking.ties():
            report.lost["ties"] += 1
        if len(one.ranking.ranked) > 2:
            report.lost["that its pairs are one ranking"] += 1


def _pair_rows(one: RankedAnswers, format: Format, report: ExportReport) -> list[dict[str, Any]]:
    pairs = [tuple(one.answers[index] for index in pair) for pair in one.ranking.pairs()]
    if not pairs:
        report.left_out["no answer better than another"] += 1
        return []
    if format == "hh" and (reason := _not_for_hh(one)):
        report.left_out[reason] += 1
        return []
    _note_losses(one, report)
    return [_pair_row(one.messages, better, worse, format) for better, worse in pairs]


def _pair_row(prompt: Sequence[Message], better: str, worse: str, format: Format) -> dict[str, Any]:
    said = [dict(message) for message in prompt]
    chosen, rejected = ({"role": "assistant", "content": text} for text in (better, worse))
    if format == "trl":
        return {"prompt": said, "chosen": [chosen], "rejected": [rejected]}
    if format == "openrlhf":
        return {"chosen": [*said, chosen], "rejected": [*said, rejected]}
    return {"chosen": _hh_text([*said, chosen]), "rejected": _hh_text([*said, rejected])}


def _hh_text(messages: Sequence[Message]) -> str:
    return "".join(f"\n\n{_HH_NAMES[message['role']]}: {message['content']}" for message in messages)


def _not_for_hh(one: RankedAnswers) -> str:
    """Why the text form could not be read back to the same turns; "" if it could."""
    roles = [message["role"] for message in one.messages]
    if any(role not in _HH_NAMES for role in roles):
        return f"a message of the role {next(role for role in roles if role not in _HH_NAMES)}"
    for better, worse in one.ranking.pairs():
        for index in (better, worse):
            turns = [*one.messages, {"role": "assistant", "content": one.answers[index]}]
            if read_hh_text(_hh_text(turns)) != [dict(turn) for turn in turns]:
                return "a text with a turn of the format inside"
    return ""


def _nemo_row(one: RankedAnswers, report: ExportReport) -> dict[str, Any]:
    _note_losses(one, report)
    completions = [
        {"rank": rank, "completion": [{"role": "assistant", "content": one.answers[index]}]}
        for index in range(len(one.answers))
        for rank, group in enumerate(one.ranking.groups)
        if index in group
    ]
    return {"context": [dict(message) for message in one.messages], "completions": completions}


def _argilla_rows(ranked: Sequence[RankedAnswers], report: ExportReport) -> list[dict[str, Any]]:
    records: dict[str, dict[str, Any]] = {}
    for one in ranked:
        if one.ranking.ties() or len(one.ranking.ranked) < len(one.answers):
            report.left_out["ties" if one.ranking.ties() else "answers without a place"] += 1
            continue
        names = [f"response_{number}" for number in range(1, len(one.answers) + 1)]
        prompt = [dict(message) for message in one.messages]
        empty = {
            "id": one.item_id,
            "fields": {"prompt": prompt, **dict(zip(names, one.answers, strict=True))},
            "metadata": {},
            "suggestions": {},
            "responses": {_QUESTION: []},
            "vectors": {},
        }
        responses = records.setdefault(one.item_id, empty)["responses"][_QUESTION]
        responses.append({"value": [names[index] for index in one.ranking.ranked], "user_id": _user_id(one.annotator)})
        _note_losses(one, report)
    return list(records.values())


def _user_id(annotator: str) -> str:
    """The annotator's name if it is a UUID, else one made of it."""
    try:
        return str(uuid.UUID(annotator))
    except ValueError:
        return str(uuid.uuid5(uuid.NAMESPACE_OID, f"prosa annotator {annotator}"))


# Reading


def read_pair_row(row: Row) -> list[RankedAnswers]:
    """A pair as TRL, OpenRLHF or HH-RLHF write it: texts or messages, with the prompt apart or in both.

    Raises DataError if the two sides do not answer the same conversation.
    """
    prompt = _messages(row["prompt"], "user") if row.get("prompt") else []
    is_dialogue = not prompt and isinstance(row["chosen"], str)
    sides = [read_hh_text(row[key]) if is_dialogue else _messages(row[key], "assistant") for key in _SIDES]
    # Some data sets repeat the prompt in both conversations.
    sides = [side if prompt and side[: len(prompt)] == prompt else [*prompt, *side] for side in sides]
    chosen, rejected = sides
    if not (chosen and rejected) or chosen[:-1] != rejected[:-1]:
        raise DataError("two answers to different conversations")
    if any(side[-1]["role"] != "assistant" for side in sides):
        raise DataError("a conversation that does not end with the assistant")
    answers = [side[-1]["content"] for side in sides]
    return [RankedAnswers.make(chosen[:-1], answers, _FIRST_BETTER)]


def read_nemo_row(row: Row) -> list[RankedAnswers]:
    """A row of `context` and ranked `completions`, each one message of the assistant."""
    if any(len(completion["completion"]) != 1 for completion in row["completions"]):
        raise DataError("a completion of several messages")
    answers = [completion["completion"][0]["content"] for completion in row["completions"]]
    ranking = Ranking.from_ranks([completion["rank"] for completion in row["completions"]])
    return [RankedAnswers.make(_messages(row["context"], "user"), answers, ranking)]


def read_argilla_row(row: Row) -> list[RankedAnswers]:
    """A record of Argilla: one ranking for each submitted response to its ranking question, whatever its name.

    A response lists the names of the fields, best first, or gives a rank to each (equal ranks are a tie).
    """
    fields = {name: text for name, text in row["fields"].items() if _FIELD.fullmatch(name) and text is not None}
    names = sorted(fields, key=lambda name: int(_FIELD.fullmatch(name)[1]))  # type: ignore[index]
    prompt = next(row["fields"][key] for key in ("prompt", "instruction", "input", "chat") if key in row["fields"])
    return [
        RankedAnswers.make(
            _messages(prompt, "user"),
            [fields[name] for name in names],
            Ranking.from_ranks(_argilla_ranks(said["value"], names)),
            annotator=str(said.get("user_id") or ""),
        )
        for of_question in row["responses"].values()
        for said in of_question
        if isinstance(said["value"], list) and said.get("status", "submitted") == "submitted"
    ]


def _argilla_ranks(value: Sequence[Any], names: Sequence[str]) -> list[float | None]:
    if all(isinstance(entry, Mapping) for entry in value):
        ranks = {entry["value"]: entry.get("rank", place) for place, entry in enumerate(value)}
    else:
        ranks = {name: place for place, name in enumerate(value)}
    if unknown := [name for name in ranks if name not in names]:
        raise DataError(f"a ranking of the unknown answer {unknown[0]}")
    return [ranks.get(name) for name in names]


def read_hh_text(text: str) -> list[Message]:
    """The turns of "\\n\\nHuman: ...\\n\\nAssistant: ..."; DataError if the text does not begin with one."""
    before, *turns = _HH_TURN.split(text)
    if before.strip() or not turns:
        raise DataError("a dialogue that does not begin with a turn")
    said = zip(turns[::2], turns[1::2], strict=True)
    return [{"role": _HH_ROLES[who], "content": words.removeprefix(" ")} for who, words in said]


def _messages(value: str | Iterable[Mapping[str, Any]], role: str) -> list[Message]:
    """A text is one message of that role; of messages only role and content are kept."""
    if isinstance(value, str):
        return [{"role": role, "content": value}]
    return [{"role": message["role"], "content": message["content"]} for message in value]
