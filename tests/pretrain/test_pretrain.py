import math
import shutil

import pytest
import torch

from prosa.errors import DataError, DriftRefused
from prosa.life import pretrain_base
from prosa.life_settings import resolve_life
from prosa.metrics import read_metrics
from prosa.model import ModelSettings, Transformer, init_weights
from prosa.pretrain import loss, read_job
from prosa.training import Batch
from tests.pretrain.tiny_life import write_settings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run; tests that change it make a copy."""
    folder = tmp_path_factory.mktemp("life")
    _, life = resolve_life(str(write_settings(folder)), [], None)
    assert pretrain_base(folder / "run", life, is_shown=False).is_finished
    return folder / "run"


def life_of(tmp_path, *overrides, **changes):
    _, life = resolve_life(str(write_settings(tmp_path, **changes)), list(overrides), None)
    return life


def test_loss_of_a_uniform_model_is_the_logarithm_of_the_vocabulary():
    settings = ModelSettings(
        vocab_size=64, n_layer=1, d_model=32, n_head=1, n_kv_head=1, d_head=32, d_ff=64, context_length=16
    )
    model = Transformer(settings)
    init_weights(model, 0)
    with torch.no_grad():
        model.model.norm.weight.zero_()
    ids = torch.arange(32).view(2, 16)
    total, _ = loss(model, Batch(ids, ids))
    assert float(total.detach()) == pytest.approx(32 * math.log(64), rel=1e-5)


def test_targets_of_minus_100_do_not_count():
    settings = ModelSettings(
        vocab_size=64, n_layer=1, d_model=32, n_head=1, n_kv_head=1, d_head=32, d_ff=64, context_length=16
    )
    model = Transformer(settings)
    init_weights(model, 0)
    ids = torch.arange(16).view(1, 16)
    masked = ids.clone()
    masked[0, 8:] = -100
    with torch.no_grad():
        parts = [float(loss(model, Batch(ids[:, :n], ids[:, :n]))[0]) for n in (8, 16)]
        assert float(loss(model, Batch(ids, masked))[0]) == pytest.approx(parts[0], rel=1e-5)


def test_the_stage_folder_is_complete(run):
    base = run / "base"
    for name in ("settings.toml", "metrics.jsonl", "samples.jsonl", "checkpoints", "model/config.json"):
        assert (base / name).exists(), name
    assert {path.name for path in (base / "model").iterdir()} >= {
        "model.safetensors", "tokenizer.json", "tokenizer_config.json", "generation_config.json"
    }  # fmt: skip
    metrics = read_metrics(base / "metrics.jsonl")
    assert [record["step"] for record in metrics] == list(range(1, 13))
    assert "bits_per_byte" in metrics[-1] and metrics[-1]["tokens_seen"] == 12 * 8 * 32


def test_transformers_opens_the_model_and_writes_the_same(run):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import prosa

    ours = prosa.load(run)
    tokenizer = AutoTokenizer.from_pretrained(run / "base" / "model")
    model = AutoModelForCausalLM.from_pretrained(run / "base" / "model", dtype=torch.float32)
    ids = tokenizer("Era uma vez", return_tensors="pt").input_ids
    assert ids[0].tolist() == ours.tokenizer.encode("Era uma vez")
    theirs = model.generate(ids, max_new_tokens=12, do_sample=False, pad_token_id=tokenizer.pad_token_id)
    text = ours.generate("Era uma vez", max_new_tokens=12, temperature=0)
    assert tokenizer.decode(theirs[0][ids.shape[1] :], skip_special_tokens=True).startswith(text[:20])


def test_the_same_call_again_does_nothing_new(run, tmp_path):
    before = (run / "base" / "metrics.jsonl").read_bytes()
    result = pretrain_base(run, life_of(tmp_path), is_shown=False)
    assert result.is_finished and (run / "base" / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch_size": "4"}, "batch_size: 8 -> 4"),
        ({"steps": "13"}, "steps: 12 -> 13"),
        ({"d_model": "64"}, "d_model: 32 -> 64"),
    ],
)
def test_changed_settings_are_refused_with_a_diff(run, tmp_path, change, words, record_property):
    record_property("R13", 1)
    with pytest.raises(DriftRefused, match=words):
        pretrain_base(run, life_of(tmp_path, **change), is_shown=False)


def test_a_changed_corpus_is_refused(tmp_path, record_property):
    record_property("R13", 1)
    run = tmp_path / "run"
    pretrain_base(run, life_of(tmp_path), is_shown=False)
    changed = life_of(tmp_path, "tokenizer.vocab_size=330")
    with pytest.raises(DriftRefused, match="tokenizer: "):
        pretrain_base(run, changed, is_shown=False)


def test_a_corpus_too_small_for_one_batch_says_so(tmp_path):
    text = tmp_path / "short.txt"
    text.write_text("Era uma vez um gato que lia.\n" * 20, encoding="utf-8")
    _, life = resolve_life(str(text), ["pretrain.steps=5", "pretrain.minutes=0", "pretrain.batch_size=999"], None)
    with pytest.raises(DataError, match="fewer than one batch"):
        pretrain_base(tmp_path / "run", life, is_shown=False)


def test_a_damaged_shard_stops_the_run_before_training(tmp_path, record_property):
    record_property("R7", 1)
    run = tmp_path / "run"
    life = life_of(tmp_path)
    pretrain_base(run, life, is_shown=False)
    shard = next((run / "tokens").glob("*.ids"))
    data = bytearray(shard.read_bytes())
    data[100] ^= 1
    shard.write_bytes(data)
    with pytest.raises(DataError, match=shard.name):
        pretrain_base(run, life, is_shown=False)


def test_the_job_is_resolved_and_readable(run):
    job = read_job(run / "base")
    assert job is not None
    assert job.fit.steps == 12 and job.threads == 1 and job.model.vocab_size == 320


def test_other_settings_start_anew_where_nothing_was_made(tmp_path, run):
    copy, others = tmp_path / "run", life_of(tmp_path, "pretrain.seed=7")
    shutil.copytree(run, copy)
    for made in ("checkpoints", "model"):
        with pytest.raises(DriftRefused, match="seed: 0 -> 7"):
            pretrain_base(copy, others, is_shown=False)
        shutil.rmtree(copy / "base" / made)
    assert pretrain_base(copy, others, is_shown=False).is_finished
    job = read_job(copy / "base")
    assert job is not None and job.fit.seed == 7
