import json

import pytest
import torch

import prosa
from prosa.checkpoint import load_newest
from prosa.device import Device
from prosa.errors import ConfigError, DataError, DriftRefused
from prosa.metrics import read_metrics
from prosa.model import load_model
from prosa.sft import SftSettings, hash_weights, load_adapter, make_batches, mean_loss, prepare_data, preview, read_job
from prosa.sft.data import choose_questions
from prosa.tokenizer import Tokenizer
from tests.sft.tiny_sft import TOKENIZER, chat, encode, run_sft, some_chats, write_base, write_chats

torch.set_num_threads(1)
LORA = {"lora": {"rank": 4}}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base model, conversations, and a stage trained from each other."""
    folder = tmp_path_factory.mktemp("sft")
    write_base(folder / "base")
    write_chats(folder / "chats.jsonl", some_chats(40))
    assert run_sft(folder / "sft", folder / "base", folder / "chats.jsonl").is_finished
    assert run_sft(folder / "lora", folder / "base", folder / "chats.jsonl", **LORA).is_finished
    return folder


def test_the_stage_folder_is_complete(place):
    for name in ("settings.toml", "data.json", "metrics.jsonl", "samples.jsonl", "checkpoints", "model/config.json"):
        assert (place / "sft" / name).exists(), name
    metrics = read_metrics(place / "sft" / "metrics.jsonl")
    assert [record["step"] for record in metrics] == list(range(1, 11))
    assert metrics[-1]["validation_loss"] < metrics[4]["validation_loss"]
    samples = read_metrics(place / "sft" / "samples.jsonl")
    assert len(samples) == 4 and all(set(sample) == {"step", "prompt", "text", "wanted"} for sample in samples)
    data = json.loads((place / "sft" / "data.json").read_text())
    assert data["train"]["conversations"] + data["validation"]["conversations"] == 40
    assert data["train"]["learned_tokens"] > 0 and data["reading"]["documents_read"] == 40


def test_tokens_seen_are_the_learned_ones(place):
    job = read_job(place / "sft")
    data = prepare_data(job.requested, TOKENIZER, job.context_length)
    batches = make_batches(data, job, TOKENIZER)
    expected = sum(batches.batch(step).n_targets for step in range(10))
    assert read_metrics(place / "sft" / "metrics.jsonl")[-1]["tokens_seen"] == expected


def test_the_finished_model_opens_everywhere(place):
    from transformers import AutoModelForCausalLM, GenerationConfig

    for stage in ("sft", "lora"):
        ours = prosa.load(place / stage)
        theirs = AutoModelForCausalLM.from_pretrained(place / stage / "model", dtype=torch.float32)
        ids = torch.tensor([[1, 2, 3, 260 - 1, 5]])
        with torch.no_grad():
            assert (theirs(ids).logits - ours.model(ids)).abs().max() < 1e-4
        assert TOKENIZER.im_end_id in GenerationConfig.from_pretrained(place / stage / "model").eos_token_id


def test_adapters_alone_are_trained_kept_and_merged(place):
    checkpoint = load_newest(place / "lora" / "checkpoints", report=pytest.fail)
    assert checkpoint is not None
    assert (
        all(".lora_" in name for name in checkpoint.tensors["model"]) and len(checkpoint.tensors["model"]) == 2 * 7 * 2
    )
    model = load_model(place / "base")
    load_adapter(place / "lora" / "adapter", model)
    ids = torch.arange(40).view(2, 20)
    merged = load_model(place / "lora" / "model")
    with torch.no_grad():
        assert (model.eval()(ids) - merged(ids)).abs().max() < 1e-4
        assert (load_model(place / "base")(ids) - merged(ids)).abs().max() > 1e-4
    assert torch.equal(merged.model.embed_tokens.weight, load_model(place / "base").model.embed_tokens.weight)


def test_the_same_call_again_does_nothing_new(place):
    for stage, changes in (("sft", {}), ("lora", LORA)):
        before = (place / stage / "metrics.jsonl").read_bytes()
        weights = (place / stage / "model" / "model.safetensors").read_bytes()
        assert run_sft(place / stage, place / "base", place / "chats.jsonl", **changes).is_finished
        assert (place / stage / "metrics.jsonl").read_bytes() == before
        assert (place / stage / "model" / "model.safetensors").read_bytes() == weights


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("settings", "settings.learning_rate: 0.0 -> 0.5"),
        ("base", "base: "),
        ("tokenizer", "tokenizer: "),
        ("data", "data: "),
    ],
)
def test_other_settings_or_inputs_are_refused_with_a_diff(tmp_path, changed, words):
    base, data, settings = write_base(tmp_path / "base"), write_chats(tmp_path / "chats.jsonl", some_chats(20)), {}
    run_sft(tmp_path / "sft", base, data, steps=2)
    match changed:
        case "settings":
            settings = {"learning_rate": 0.5}
        case "base":
            write_base(base, seed=1)
        case "tokenizer":
            write_base(base, tokenizer=Tokenizer([(97, 98)]), vocab_size=261)
        case "data":
            write_chats(data, some_chats(19))
    with pytest.raises(DriftRefused, match=words):
        run_sft(tmp_path / "sft", base, data, steps=2, **settings)


def test_the_split_holds_questions_out_whole(place):
    repeated = [chat(f"Pergunta {i % 20}?", f"Resposta {i}.") for i in range(60)]
    path = write_chats(place / "repeated.jsonl", repeated)
    settings = SftSettings(sources=[{"path": str(path)}], validation_fraction=0.3)
    data = prepare_data(settings, TOKENIZER, 96)
    sides = [{item.prompt_id for item in split} for split in (data.train, data.validation)]
    assert not sides[0] & sides[1] and len(sides[0]) + len(sides[1]) == 20 and sides[1]
    assert len(data.train) + len(data.validation) == 60
    again = prepare_data(settings, TOKENIZER, 96)
    assert again.hash == data.hash
    none = prepare_data(settings.model_copy(update={"validation_fraction": 0.0}), TOKENIZER, 96)
    assert not none.validation and none.hash != data.hash


def test_sample_questions_are_held_out_and_take_turns_between_languages(tmp_path):
    lines = [
        {"messages": chat(f"{language} {i}?", f"Sim {i}."), "lang": language}
        for i in range(30)
        for language in ("pt", "en")
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    data = prepare_data(SftSettings(sources=[{"path": str(path)}], validation_fraction=0.4), TOKENIZER, 96)
    questions = choose_questions(data, TOKENIZER, 4)
    assert [question.question[:2] for question in questions] == ["en", "pt", "en", "pt"]
    for question in questions:
        number = question.question.removesuffix("?").split()[1]
        assert question.wanted == f"Sim {number}."
        assert TOKENIZER.decode(question.prompt_ids).endswith(f"{question.question}\nassistant\n")


def test_a_question_with_several_answers_is_sampled_once(tmp_path):
    lines = [{"messages": chat("Oi?", f"Sim {i}.")} for i in range(9)] + [{"messages": chat("Tudo bem?", "Tudo.")}]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    data = prepare_data(SftSettings(sources=[{"path": str(path)}], validation_fraction=0), TOKENIZER, 96)
    assert [question.question for question in choose_questions(data, TOKENIZER, 4)] == ["Oi?", "Tudo bem?"]


def test_the_mean_loss_is_that_of_each_conversation_alone(place):
    model = load_model(place / "base")
    conversations = encode(*some_chats(9))
    device = Device("cpu", "test", 1, torch.float32, 1e11, "")
    total = 0.0
    for item in conversations:
        with torch.no_grad():
            logprobs = model(torch.tensor(item.ids[None, :-1].astype("int64")))[0].log_softmax(-1)
        for place in range(item.length):
            if item.is_target[place + 1]:
                total -= float(logprobs[place, int(item.ids[place + 1])])
    mean = mean_loss(model, conversations, context_length=96, pad_id=TOKENIZER.pad_id, device=device, rows_at_once=2)
    assert mean == pytest.approx(total / sum(item.n_targets for item in conversations), rel=1e-5)


def test_nothing_usable_says_what_was_wrong_and_where(tmp_path):
    write_base(tmp_path / "base")
    path = write_chats(tmp_path / "chats.jsonl", [chat("Oi?", ""), chat("x" * 200, "y"), chat("x" * 300, "y")])
    with pytest.raises(DataError, match=r"longer than the context 2 \(such as chats.jsonl:2: .*empty answer 1"):
        run_sft(tmp_path / "sft", tmp_path / "base", path)
    with pytest.raises(ConfigError, match="no sources"):
        run_sft(tmp_path / "sft", tmp_path / "base", path, sources=[])
    assert not (tmp_path / "sft" / "settings.toml").exists()


def test_a_preview_shows_what_the_first_step_would_read(place):
    job = read_job(place / "sft")
    tokenizer, batch, data = preview(job.requested, place / "base", n_rows=4)
    assert all(torch.equal(a, b) for a, b in zip(batch, make_batches(data, job, tokenizer).batch(0), strict=True))


def test_the_hash_of_weights_is_of_their_bytes(tmp_path):
    one, two = (load_model(write_base(tmp_path / name)) for name in ("one", "two"))
    assert hash_weights(one) == hash_weights(two)
    with torch.no_grad():
        two.model.norm.weight[3] += 1e-7
    assert hash_weights(one) != hash_weights(two)


def test_minutes_are_planned_from_a_measured_step(tmp_path):
    write_base(tmp_path / "base")
    data = write_chats(tmp_path / "chats.jsonl", some_chats(10))
    result = run_sft(tmp_path / "sft", tmp_path / "base", data, steps=0, minutes=0.02)
    job = read_job(tmp_path / "sft")
    assert result.position.step == job.fit.steps >= 20
    assert {choice.name for choice in job.choices} >= {"rows", "steps", "learning rates"}


def test_a_step_is_measured_for_minutes_alone(tmp_path, monkeypatch):
    def measure(*words, **more):
        raise AssertionError("a step was measured")

    monkeypatch.setattr("prosa.sft.train.measure_step", measure)
    write_base(tmp_path / "base")
    data = write_chats(tmp_path / "chats.jsonl", some_chats(10))
    every = {"evaluate_every": 0, "sample_every": 0, "save_every": 0}
    assert run_sft(tmp_path / "steps", tmp_path / "base", data, steps=2, **every).is_finished
    with pytest.raises(AssertionError, match="a step was measured"):
        run_sft(tmp_path / "minutes", tmp_path / "base", data, steps=0, minutes=0.02)
