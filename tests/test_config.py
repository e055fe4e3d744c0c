import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import Field

from prosa.config import Settings, diff_values, dump_settings, flatten, read_settings, resolve_settings
from prosa.errors import ConfigError


class Source(Settings):
    path: str
    weight: float = 0.0


class Optimizer(Settings):
    learning_rate: float = Field(default=0.02, gt=0, le=1)
    betas: tuple[float, float] = (0.9, 0.95)


class Life(Settings):
    name: str = "vila"
    steps: int = 100
    is_compiled: bool = False
    optimizer: Optimizer = Optimizer()
    spare: Optimizer | None = None
    sources: tuple[Source, ...] = ()


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "life.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_defaults_then_file_then_words(tmp_path: Path) -> None:
    path = write(tmp_path, 'name = "São João"\nsteps = 7\n[optimizer]\nlearning_rate = 0.5\n')
    life = read_settings(Life, path, ["steps=9", "optimizer.betas=[0.8, 0.9]", "sources=[{path='a', weight=2}]"])
    assert life == Life(
        name="São João",
        steps=9,
        optimizer=Optimizer(learning_rate=0.5, betas=(0.8, 0.9)),
        sources=(Source(path="a", weight=2.0),),
    )
    assert read_settings(Life) == Life()


def test_a_byte_order_mark_is_no_setting(tmp_path: Path) -> None:
    path = tmp_path / "life.toml"
    path.write_bytes(b"\xef\xbb\xbfsteps = 3\r\n")
    assert read_settings(Life, path).steps == 3


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("name=plain words", "plain words"),
        ("name='quoted'", "quoted"),
        ("name=a=b", "a=b"),
        ("name=", ""),
        (" name = spaced ", "spaced"),
    ],
)
def test_words_need_no_quotes(word: str, expected: str) -> None:
    assert read_settings(Life, None, [word]).name == expected


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["stpes=9"], "unknown setting `stpes`", "did you mean `steps`?"),
        (["optimizer.learning_rat=1"], "unknown setting `optimizer.learning_rat`", "did you mean `learning_rate`?"),
        (["spare.beta=1"], "unknown setting `spare.beta`", "did you mean `betas`?"),
        (["sources=[{path='a', wieght=2}]"], "unknown setting `sources.0.wieght`", "did you mean `weight`?"),
        (["zzz=1"], "unknown setting `zzz`", "known settings here: is_compiled, name, optimizer"),
        (["steps=many"], "`steps` = 'many': input should be a valid integer", ""),
        (["steps=1.5"], "`steps` = 1.5", ""),
        (["optimizer.learning_rate=2"], "`optimizer.learning_rate` = 2: input should be less than or equal to 1", ""),
        (["optimizer.learning_rate=nan"], "`optimizer.learning_rate` = nan", ""),
        (["optimizer.learning_rate=inf"], "`optimizer.learning_rate` = inf", ""),
        (["sources=[{weight=1}]"], "`sources.0.path` is missing", ""),
        (["steps"], "`steps` is not of the form key=value", "for example"),
        (["=3"], "`=3` is not of the form key=value", "for example"),
        (["steps=5", "steps.more=1"], "`steps` is not a section", ""),
    ],
)
def test_every_mistake_is_named(words: list[str], message: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_settings(Life, None, words)
    assert message in str(caught.value)
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(ConfigError, match=r"`steps`.*`is_compiled`.*unknown setting `nmae`"):
        resolve_settings(Life, {"steps": "x", "is_compiled": "perhaps", "nmae": 1}, origin="here")


def test_long_values_are_shortened() -> None:
    with pytest.raises(ConfigError) as caught:
        resolve_settings(Life, {"steps": "x" * 10_000}, origin="here")
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "message"),
    [("steps = \n", "line 1"), ("steps = 1\nsteps = 2\n", "line 2"), ("[a\n", "line 1")],
)
def test_broken_toml_is_located(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_settings(Life, write(tmp_path, text))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    write(tmp_path, "")
    with pytest.raises(ConfigError, match="does not exist") as caught:
        read_settings(Life, tmp_path / "lief.toml")
    assert "life.toml" in caught.value.hint
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(Life, tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'name = "S\xe3o"')
    with pytest.raises(ConfigError, match="cannot be read"):
        read_settings(Life, tmp_path / "latin.toml")


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Life().steps = 3  # type: ignore[misc]


@settings(max_examples=60, derandomize=True)
@given(
    name=st.text(st.characters(exclude_categories=["Cs"])),
    steps=st.integers(-(2**63), 2**63 - 1),
    rate=st.floats(min_value=0, max_value=1, exclude_min=True),
)
def test_what_is_written_is_read_back(name: str, steps: int, rate: float) -> None:
    life = Life(name=name, steps=steps, optimizer=Optimizer(learning_rate=rate), sources=(Source(path=name),))
    assert resolve_settings(Life, tomllib.loads(dump_settings(life)), origin="dump") == life


def test_differences_are_readable() -> None:
    before = {"torch": "2.13", "config": {"steps": 10, "seed": 1}, "device": {"threads": 2}}
    after = {"torch": "2.14", "config": {"steps": 10, "seed": 2, "new": True}, "device": {}}
    assert diff_values(before, after) == [
        "config.new: (none) -> True",
        "config.seed: 1 -> 2",
        "device.threads: 2 -> (none)",
        "torch: 2.13 -> 2.14",
    ]
    assert diff_values(before, before) == []
    assert list(flatten({"a": {"b": {"c": 1}}, "d": [2]})) == [("a.b.c", 1), ("d", [2])]
