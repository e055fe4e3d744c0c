"""The command line as a person meets it: every mistake is one message, a hint and an exit code, and loses nothing."""

import errno
import json
import shutil
import subprocess
import sys
import warnings

import pytest

from prosa import cli, errors
from prosa.life import pretrain_base
from prosa.life_settings import resolve_life
from prosa.pretrain import read_job
from prosa.rundir import lock_run
from tests.pretrain.tiny_life import write_settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli")
    _, life = resolve_life(str(write_settings(folder)), [], None)
    pretrain_base(folder / "tiny", life, is_shown=False)
    return folder / "tiny"


def prosa(monkeypatch, capsys, *words: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command, in this process."""
    monkeypatch.setattr(sys, "argv", ["prosa", *map(str, words)])
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    output = capsys.readouterr()
    return code, output.out, output.err


@pytest.fixture
def call(monkeypatch, capsys):
    return lambda *words: prosa(monkeypatch, capsys, *words)


def test_a_mistake_has_no_traceback(call, tmp_path):
    code, out, err = call("run", "no-such-thing")
    assert code == 2 and not out
    assert err.startswith("prosa: `no-such-thing` is no settings file") and "hint:" in err and "Traceback" not in err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["pretrain.minuts=3"], 2, "did you mean `minutes`?"),
        (["pretrain.minutes=-1"], 2, "pretrain.minutes"),
        (["pretrain.steps=5", "pretrain.tokens=10"], 2, "must be given once"),
        (["pretrain.d_head=48"], 2, "d_head"),
        (["pretrain.d_model=99999"], 2, "d_model"),
        (["tokenizer.vocab_size=100"], 2, "260"),
        (["pretrain.batch_size=100000"], 65, "fewer than one batch"),
        (["pretrain.dtype=float7"], 2, "dtype"),
        (["nonsense"], 2, "key=value"),
    ],
)
def test_wrong_settings(call, tmp_path, words, code, message):
    found, _, err = call("pretrain", write_settings(tmp_path), *words, "--run", tmp_path / "run")
    assert (found, message in err) == (code, True), err
    assert "Traceback" not in err


@pytest.mark.parametrize("path", ["missing-folder", "empty", "settings.toml"])
def test_missing_or_empty_sources(call, tmp_path, path):
    (tmp_path / "empty").mkdir()
    code, _, err = call("pretrain", tmp_path / path, "--run", tmp_path / "run", "--steps", 2)
    assert code in (2, 65) and "hint:" in err


def test_absurd_sizes_are_refused_before_memory_is_taken(call, tmp_path):
    settings = write_settings(tmp_path, d_model="32768", depth="256")
    code, _, err = call("pretrain", settings, "--run", tmp_path / "run")
    assert code == errors.OutOfMemory.exit_code and "GB are free" in err


def test_a_tokenizer_of_another_run_is_refused(call, tmp_path, run):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    call("tokenizer", "train", write_settings(tmp_path), "tokenizer.vocab_size=300", "--run", tmp_path / "other")
    shutil.rmtree(folder / "tokenizer")
    shutil.copytree(tmp_path / "other" / "tokenizer", folder / "tokenizer")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / "tokenizer" / name, folder / "base" / "model" / name)
    code, _, err = call("generate", folder, "Era uma vez")
    assert code in (65, 66) and "hint:" in err


def test_a_second_trainer_is_refused(call, tmp_path, run):
    with lock_run(run / "base"):
        code, _, err = call("pretrain", run)
    assert code == errors.RunLocked.exit_code and "hint:" in err


def test_a_damaged_checkpoint_falls_back_loudly(call, tmp_path, run):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    newest = sorted((folder / "base" / "checkpoints").iterdir())[-1]
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        code, _, err = call("pretrain", folder)
    assert code == 0, err
    assert any("model.safetensors" in str(warning.message) for warning in caught)
    assert list((folder / "base" / "checkpoints").glob(".corrupt-*"))


def test_pickled_weights_are_refused(call, tmp_path, run):
    folder = tmp_path / "model"
    shutil.copytree(run / "base" / "model", folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    code, _, err = call("generate", folder, "Era uma vez")
    assert code == errors.ModelFileRefused.exit_code and "hint:" in err


def test_generate_streams_and_repeats_with_a_seed(call, run):
    first = call("generate", run, "Era uma vez", "--seed", 3, "-m", 12)
    again = call("generate", run, "Era uma vez", "--seed", 3, "-m", 12)
    assert first[0] == 0 and first[1].startswith("Era uma vez") and first[1] == again[1]


def test_generate_json_n_and_explain(call, run):
    code, out, _ = call("generate", run, "Era", "-n", 2, "-m", 5, "--json")
    assert code == 0 and len(json.loads(out)) == 2
    code, out, _ = call("generate", run, "Era", "-m", 2, "--explain")
    assert code == 0 and "%" in out


@pytest.mark.parametrize(
    "option",
    [("-t", "nan"), ("--top-p", "2"), ("-m", "0"), ("--min-p", "-1"), ("--top-k", "-5"), ("--logit-bias", "x")],
)
def test_sampling_numbers_out_of_range(call, run, option):
    code, _, err = call("generate", run, "Era", *option)
    assert code == 2 and "hint:" in err


def test_corpus_and_tokenizer_show(call, run):
    code, out, _ = call("corpus", "show", run, "--json")
    report = json.loads(out)
    assert code == 0 and report["languages"]["pt"]["documents"] > 0 and report["tokens"]["train"]["town"] > 0
    code, out, _ = call("corpus", "show", run)
    assert code == 0 and "town" in out
    code, out, _ = call("tokenizer", "show", run, "Olá, avó", "--json")
    assert code == 0 and sum(token["n_bytes"] for token in json.loads(out)) == len("Olá, avó".encode())
    code, out, _ = call("tokenizer", "show", run)
    assert code == 0 and "bytes per token" in out


def test_evaluate_and_compare(call, run):
    code, out, _ = call("evaluate", run, "--json")
    evaluation = json.loads(out)
    assert code == 0 and evaluation["bits_per_byte"]["total"]["bits_per_byte"] > 0 and evaluation["cloze"]
    assert json.loads((run / "evaluation" / "base.json").read_text()) == evaluation
    code, out, _ = call("compare", run, run, "--json")
    assert code == 0 and json.loads(out)["bits"]["difference"] == 0


def test_plan_trains_nothing(call, run, tmp_path):
    code, out, _ = call("plan", write_settings(tmp_path), "--run", tmp_path / "run", "--json")
    assert code == 0 and json.loads(out)["model"]["d_model"] == 32
    assert not (tmp_path / "run" / "base").exists()
    _, out, err = call("plan", tmp_path / "run", "--minutes", 1)
    assert "weight_decay" in out and "learning rates" in out and "steps are expected" in err


def test_a_plan_by_steps_is_what_is_trained(call, tmp_path):
    call("tokenizer", "train", write_settings(tmp_path), "--run", tmp_path / "run")
    _, out, _ = call("plan", tmp_path / "run", "--steps", 3, "--json")
    plan = json.loads(out)
    assert call("pretrain", tmp_path / "run", "--steps", 3)[0] == 0
    job = read_job(tmp_path / "run" / "base").model_dump(mode="json")
    assert (plan["model"], plan["fit"]) == (job["model"], job["fit"])
    # Reasons name the memory that is free, which changes.
    chosen, kept = ([(choice["name"], choice["value"]) for choice in one["choices"]] for one in (plan, job))
    assert chosen == kept


def test_a_folder_of_ones_own_text_is_enough(call, tmp_path):
    folder = tmp_path / "meus-textos"
    folder.mkdir()
    text = "\n\n".join(f"O gato número {n} dormiu no telhado da casa {n % 7}." for n in range(400))
    (folder / "gatos.txt").write_text(text, encoding="utf-8")
    words = ["tokenizer.vocab_size=300", "pretrain.depth=1", "pretrain.d_model=32", "pretrain.context_length=32"]
    code, _, err = call("pretrain", folder, *words, "--steps", 3, "--run", tmp_path / "run")
    assert code == 0, err


def test_a_whole_life_ends_with_a_summary(call, tmp_path):
    code, _, err = call("run", write_settings(tmp_path), "--until", "base", "--run", tmp_path / "run", "--lang", "pt")
    assert code == 0, err
    for words in ("modelo base", "O que ele escreve agora", "O que foi feito"):
        assert words in err
    again, _, err = call("run", write_settings(tmp_path), "--until", "base", "--run", tmp_path / "run", "--lang", "en")
    assert again == 0 and "unchanged, kept" in err


def test_restart_moves_a_trained_stage_aside(call, tmp_path):
    settings = write_settings(tmp_path)
    assert call("run", settings, "--until", "base", "--run", tmp_path / "run")[0] == 0
    code, _, err = call("run", settings, "pretrain.steps=6", "--until", "base", "--run", tmp_path / "run")
    assert code == errors.DriftRefused.exit_code and "pretrain" not in err.split("hint:")[0].split("\n")[0]
    code, _, err = call(
        "run", settings, "pretrain.steps=6", "--until", "base", "--run", tmp_path / "run", "--restart", "base"
    )
    assert code == 0 and (tmp_path / "run" / "base.1" / "model").is_dir()


def test_every_exit_code_is_documented_in_the_tree():
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, errors.ProsaError) and kind is not errors.ProsaError:
            assert f"({kind.exit_code})" in (errors.__doc__ or ""), name


def test_a_bug_keeps_its_traceback(tmp_path):
    code = "import sys; from prosa import cli; cli.app = lambda: 1 / 0; cli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr


def test_explain_os_error():
    assert cli.explain_os_error(OSError(errno.ENOSPC, "full")).exit_code == 75
    assert cli.explain_os_error(FileNotFoundError(errno.ENOENT, "gone")).exit_code == 2
    assert cli.explain_os_error(OSError(errno.EBADF, "bug")) is None
