"""A whole life on a tiny town, round after round: every stage is made once, kept, made anew on request, and told of."""

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest

from prosa.errors import ConfigError
from prosa.life_report import write_report
from prosa.life_settings import LifeSettings, resolve_life
from prosa.new_project import start_project
from prosa.rundir import hash_file
from prosa.whole_life import live_whole
from tests.pretrain.tiny_life import write_settings
from tests.test_cli_alignment import STAGES

RL = """
[rl]
steps = 7
prompts_per_step = 8
answers_per_prompt = 2
minibatches = 2
max_new_tokens = 6
n_prompts = 16
threads = 1
"""


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, LifeSettings]:
    folder = tmp_path_factory.mktemp("life")
    path = write_settings(folder, context_length="160")
    path.write_text(path.read_text(encoding="utf-8") + STAGES + RL, encoding="utf-8")
    run, life = resolve_life(str(path), [], folder / "tiny")
    assert live_whole(run, life, lang="en", until="policy")
    return run, life


@pytest.fixture
def run(lived: tuple[Path, LifeSettings], tmp_path: Path) -> Path:
    return shutil.copytree(lived[0], tmp_path / "tiny")


def model_hash(run: Path, stage: str) -> str:
    return hash_file(run / stage / "model" / "model.safetensors")


def test_every_stage_is_there_and_kept(lived: tuple[Path, LifeSettings], run: Path) -> None:
    before = {stage: model_hash(run, stage) for stage in ("base", "sft", "reward", "policy")}
    assert len(set(before.values())) == 4
    assert live_whole(run, lived[1], lang="en", until="policy")
    assert {stage: model_hash(run, stage) for stage in before} == before
    lineage = json.loads((run / "lineage.json").read_text(encoding="utf-8"))
    assert [*lineage["stages"]] == ["corpus", "tokenizer", "tokens", "base", "sft", "reward", "policy"]


def test_a_stage_made_anew_takes_all_after_it_along(lived: tuple[Path, LifeSettings], run: Path) -> None:
    before = model_hash(run, "policy")
    assert live_whole(run, lived[1], lang="en", until="policy", restart="reward")
    assert (run / "reward.1").is_dir() and (run / "policy.1").is_dir() and not (run / "sft.1").exists()
    assert model_hash(run, "policy") == before
    with pytest.raises(ConfigError, match="no stage"):
        live_whole(run, lived[1], restart="corpse")


def test_another_round_begins_at_the_policy(lived: tuple[Path, LifeSettings], run: Path) -> None:
    first = model_hash(run, "policy")
    assert live_whole(run, lived[1], lang="en", until="policy", n_round=2)
    assert model_hash(run, "policy-round-1") == first != model_hash(run, "policy")
    rounds = json.loads((run / "evaluation" / "answers.json").read_text(encoding="utf-8"))["stages"]
    assert rounds == ["sft", "policy-round-1", "policy"]
    second = model_hash(run, "policy")
    assert live_whole(run, lived[1], lang="en", until="policy")
    assert model_hash(run, "policy") == second
    for wrong, words in ((1, "is in round 2"), (4, "round 4 cannot begin")):
        with pytest.raises(ConfigError, match=words):
            live_whole(run, lived[1], until="policy", n_round=wrong)


class _Page(HTMLParser):
    """What a page would fetch, and its headings."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.headings: list[str] = []
        self._tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.fetched += [value or "" for name, value in attrs if name in ("src", "href")]
        assert tag not in ("script", "link", "iframe", "img")

    def handle_data(self, data: str) -> None:
        if self._tag == "h2" and data.strip():
            self.headings.append(data.strip())


@pytest.mark.parametrize("language", ["pt", "en"])
def test_the_report_is_one_page_that_fetches_nothing(run: Path, language: str) -> None:
    text = write_report(run, language).read_text(encoding="utf-8")  # type: ignore[arg-type]
    page = _Page()
    page.feed(text)
    assert page.fetched == []
    assert len(page.headings) == 6
    assert ("SIMULADOS" if language == "pt" else "SIMULATED") in text
    assert f'lang="{"pt-BR" if language == "pt" else "en"}"' in text


def test_a_report_needs_no_more_than_a_base_model(run: Path) -> None:
    for name in ("sft", "reward", "policy", "evaluation"):
        shutil.rmtree(run / name)
    assert "<h2>" in write_report(run).read_text(encoding="utf-8")


@pytest.mark.parametrize("language", ["pt", "en"])
def test_a_new_project_can_be_read_at_once(tmp_path: Path, language: str) -> None:
    files = start_project(tmp_path / "vila", language)  # type: ignore[arg-type]
    assert all(path.exists() for path in files)
    _, life = resolve_life(str(tmp_path / "vila" / "vila.toml"), [], None)
    assert life.name == "vila" and life.rl.algorithm == "ppo" and life.sft.sources
    with pytest.raises(ConfigError, match="exists already"):
        start_project(tmp_path / "vila", language)  # type: ignore[arg-type]
