"""The command line's second half on a tiny town: fine-tuning, answers, rankings, reward, chat; and its mistakes."""

import io
import json
import shutil
import sys

import pytest

import prosa as library
from prosa import cli
from prosa.alignment import fine_tune
from prosa.life import pretrain_base
from prosa.life_settings import resolve_life
from prosa.preferences import PreferenceStore
from tests.pretrain.tiny_life import write_settings
from tests.training.tiny_run import digest

STAGES = """
[sft]
steps = 6
compile = "no"
dtype = "float32"
threads = 1

[sample]
n_prompts = 12
k = 3
max_new_tokens = 8

[reward]
steps = 4
dtype = "float32"
threads = 1
"""


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alignment")
    path = write_settings(folder, context_length="160")
    path.write_text(path.read_text(encoding="utf-8") + STAGES, encoding="utf-8")
    _, life = resolve_life(str(path), [], None)
    pretrain_base(folder / "tiny", life, is_shown=False)
    assert fine_tune(folder / "tiny", life, is_shown=False).is_finished
    return folder / "tiny"


@pytest.fixture
def run(tuned, tmp_path):
    return shutil.copytree(tuned, tmp_path / "tiny")


@pytest.fixture
def call(monkeypatch, capsys):
    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["prosa", *map(str, words)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


def test_what_is_taught_is_shown_and_nothing_trained(call, run):
    shutil.rmtree(run / "sft")
    code, out, _ = call("sft", run, "--show", "--lang", "pt")
    assert code == 0 and "<|im_end|>⟧" in out and not (run / "sft").exists()


def test_a_finished_stage_is_kept(call, run):
    before = digest(run / "sft")
    assert call("sft", run)[0] == 0
    assert digest(run / "sft") == before


def test_answers_rankings_reward(call, run, tmp_path):
    code, out, err = call("sample", run, "--json")
    assert code == 0, err
    assert json.loads(out)["items"] == 12
    # Careful annotators would call the answers of an untrained model equal.
    simulate = ("rank", run, "--simulate", 2, "--temperature", 1, "--json")
    code, out, _ = call(*simulate)
    assert code == 0 and json.loads(out) == {"simulated_judgments": 24}
    assert json.loads(call(*simulate)[1]) == {"simulated_judgments": 0}
    code, out, _ = call("rank", run, "--report", "--lang", "pt")
    assert code == 0 and "simulad" in out.lower()
    assert json.loads(call("rank", run, "--report", "--json")[1])
    code, out, err = call("reward", run, "--json")
    assert code == 0, err
    assert json.loads(out)["card"] is not None
    code, out, err = call("reward", run, "--lang", "pt")
    assert code == 0 and "modelo de recompensa" in out.lower(), err
    assert {"base", "sft", "reward"} <= set(json.loads((run / "lineage.json").read_text())["stages"])
    reward = library.load_reward(run)
    assert reward.score("Oi!", "Olá!") == reward([[{"role": "user", "content": "Oi!"}]], ["Olá!"])[0]
    assert call("preferences", "check", run)[0] == 0
    assert call("preferences", "export", run, tmp_path / "all.jsonl")[0] == 0
    other = shutil.copytree(run, tmp_path / "other")
    for path in other.glob("preferences.*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert call("preferences", "import", other, tmp_path / "all.jsonl")[0] == 0
    with PreferenceStore(run / "preferences.sqlite") as first, PreferenceStore(other / "preferences.sqlite") as second:
        assert [one.uuid for one in first.judgments()] == [one.uuid for one in second.judgments()]
    code, out, _ = call("preferences", "export", run, tmp_path / "pairs.jsonl", "--format", "trl")
    assert code == 0 and "chosen" in (tmp_path / "pairs.jsonl").read_text(encoding="utf-8")


def test_a_damaged_store_is_told_and_restored(call, run):
    call("sample", run, "--json")
    call("rank", run, "--simulate", 1, "--json")
    path = run / "preferences.sqlite"
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 200] = b"\xff" * 200
    path.write_bytes(content)
    code, _, err = call("preferences", "check", run)
    assert code == 65 and "restore" in err
    assert call("preferences", "restore", run)[0] == 0
    assert call("preferences", "check", run)[0] == 0


def test_held_out_questions(call, run):
    code, out, err = call("evaluate", run, "--answers", "--json")
    assert code == 0, err
    assert json.loads(out) == json.loads((run / "evaluation" / "sft.json").read_text(encoding="utf-8"))


def test_chat_reads_questions_from_a_pipe(call, run, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Oi!\n/explain\n"))
    code, out, err = call("chat", run, "-m", 5, "--seed", 1, "--lang", "pt")
    assert code == 0, err
    assert "%" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["rank", "RUN"], 2, "--annotator"),
        (["rank", "nowhere", "--annotator", "ana"], 2, "is no run folder"),
        (["rank", "RUN", "--simulate", "1"], 65, "prosa sample"),
        (["reward", "RUN"], 65, "no rankings yet"),
        (["sample", "RUN", "-k", "1"], 2, "sample.k"),
        (["sft", "RUN", "--base", "nowhere"], 66, "nowhere"),
        (["sft", "RUN", "sft.sources=[{path='missing.jsonl'}]"], 65, "missing.jsonl"),
        (["preferences", "export", "RUN", "x.jsonl", "--format", "word"], 65, "word"),
        (["chat", "nowhere"], 66, "nowhere"),
    ],
)
def test_mistakes(call, run, words, code, message):
    found, _, err = call(*(str(run) if word == "RUN" else word for word in words))
    assert (found, message in err, "Traceback" in err) == (code, True, False), err
