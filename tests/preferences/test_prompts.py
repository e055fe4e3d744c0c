"""What is asked: the first question of a file, the last one of a conversation, the tasks of the world."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prosa.corpus import ReadReport, world
from prosa.errors import DataError
from prosa.preferences import (
    Answer,
    Item,
    Prompt,
    Ranking,
    SampleSettings,
    gold_ranking,
    prompts_of_conversations,
    prompts_of_tasks,
    read_prompts,
)

USER, REPLY = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}


@dataclass
class Said:
    messages: tuple[dict[str, str], ...]
    language: str = "en"
    origin: str = "file:1"


def read(path: Path, rows: list[Any], **chosen: Any) -> tuple[list[Prompt], ReadReport]:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    report = ReadReport()
    return read_prompts(SampleSettings(prompts=str(path), **chosen), report), report


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": [USER, REPLY, USER, REPLY]}, (USER, REPLY, USER)),
        ({"messages": [{"role": "system", "content": "s"}, USER]}, ({"role": "system", "content": "s"}, USER)),
        ({"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}, (USER,)),
        ({"prompt": "a", "completion": "b"}, (USER,)),
        ({"prompt": [USER, REPLY, USER], "chosen": [REPLY], "rejected": [REPLY]}, (USER, REPLY, USER)),
        ({"instruction": "a", "output": "b"}, (USER,)),
        ({"question": "a", "answer": "b"}, (USER,)),
        ([USER, REPLY], (USER,)),
        ("a", (USER,)),
    ],
)
def test_shapes(tmp_path: Path, row: Any, expected: tuple[Any, ...]) -> None:
    [prompt], report = read(tmp_path / "rows.jsonl", [row])
    assert prompt.messages == expected and report.n_documents == 1
    assert prompt.source.endswith("rows.jsonl:1")


def test_rows_without_a_question_are_counted(tmp_path: Path) -> None:
    bad = [
        {"messages": [REPLY]},
        {"text": "a"},
        {"messages": [{"role": "user"}]},
        {"messages": [3]},
        3,
        {"prompt": 3},
        {},
    ]
    prompts, report = read(tmp_path / "rows.jsonl", [{"prompt": "a", "lang": "pt"}, *bad])
    assert [(prompt.messages, prompt.language) for prompt in prompts] == [((USER,), "pt")]
    assert report.rejected.counts == {"no prompt": len(bad)}
    with pytest.raises(DataError, match="holds no prompt"):
        read(tmp_path / "rows.jsonl", bad)


def test_only_the_first_are_taken(tmp_path: Path) -> None:
    prompts, _ = read(tmp_path / "rows.jsonl", [str(number) for number in range(9)], n_prompts=3)
    assert [prompt.messages[0]["content"] for prompt in prompts] == ["0", "1", "2"]


def test_the_world_asks_in_both_languages() -> None:
    settings = SampleSettings(prompts="world:small", n_prompts=7)
    prompts = read_prompts(settings, ReadReport())
    assert [prompt.language for prompt in prompts] == ["pt", "en", "pt", "en", "pt", "en", "pt"]
    assert [prompt.task_id.partition(":")[0] for prompt in prompts[::2]] == ["fact", "unknown", "form", "decline"]
    town = world.build_world(world.parse_world("world:small"))
    assert all(town.task(prompt.task_id).messages == prompt.messages for prompt in prompts)
    # Not the very tasks that fine-tuning learns from.
    learned = {task.id for language in ("pt", "en") for task in town.tasks(language, split="train", n=7)}
    assert not learned & {prompt.task_id for prompt in prompts}
    assert read_prompts(settings.model_copy(update={"n_prompts": 3}), ReadReport()) == prompts[:3]
    tasks = [town.task(prompt.task_id) for prompt in prompts]
    assert prompts_of_tasks(tasks) == prompts


def test_each_kind_is_asked_as_often_and_nothing_twice() -> None:
    """Fine-tuning sees few questions that nobody can answer; what is ranked must show how they are to be answered."""
    prompts = read_prompts(SampleSettings(prompts="world:small", n_prompts=120), ReadReport())
    kinds = Counter((prompt.task_id.partition(":")[0], prompt.language) for prompt in prompts)
    assert kinds == {(kind, language): 10 for kind in world.TASK_KINDS for language in ("pt", "en")}
    assert len({prompt.messages[-1]["content"] for prompt in prompts}) == 120
    # There are fewer ways to chat: other kinds take their place.
    many = Counter(
        prompt.task_id.partition(":")[0]
        for prompt in read_prompts(SampleSettings(prompts="world:small", n_prompts=900), ReadReport())
    )
    assert many.total() == 900 and many["talk"] < 100 < many["unknown"] == many["fact"]


def test_prompts_of_conversations() -> None:
    found = prompts_of_conversations([Said((USER, REPLY)), Said((USER, REPLY, USER)), Said((REPLY,))])
    assert [prompt.messages for prompt in found] == [(USER,), (USER, REPLY, USER)]
    assert found[0].source == "file:1" and found[0].language == "en"


def test_the_world_knows_the_right_ranking() -> None:
    town = world.build_world(world.parse_world("world:small"))
    [task] = town.tasks("pt", split="train", n=1, kinds=["fact"])
    texts = [("zzz", "stop"), (task.reply, "stop"), (task.reply, "length"), ("zzz", "stop")]
    item = Item.make(task.messages, [Answer(*text) for text in texts], task_id=task.id)
    assert gold_ranking(town, item) == Ranking(((1,), (2,), (0, 3)))
    same = Item.make(task.messages, [Answer("zzz"), Answer("zzzz")], task_id=task.id)
    assert gold_ranking(town, same) is None
