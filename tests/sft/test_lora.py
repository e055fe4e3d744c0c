import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from prosa.device import torch_stream
from prosa.errors import ConfigError, ModelFileRefused
from prosa.sft import LoraSettings, add_lora, load_adapter, merge_lora, save_adapter
from tests.model.tiny import hf_twin, random_ids, tiny_model

torch.set_num_threads(1)
SETTINGS = LoraSettings(rank=4, alpha=6)


def adapted(seed=0, settings=SETTINGS, **changes):
    """A model whose adapters change a lot."""
    model = tiny_model(seed, **changes)
    add_lora(model, settings, seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch_stream(seed, name)))
    return model


@torch.no_grad()
def logits(model):
    return model.eval()(random_ids(tiny_model(), 2, 20))


def test_new_adapters_change_nothing():
    model = tiny_model()
    before = logits(model)
    add_lora(model, SETTINGS)
    assert torch.equal(logits(model), before)


@pytest.mark.parametrize("family", ["qwen3", "qwen2", "llama"])
def test_merged_equals_unmerged(family):
    sizes = {"d_head": 16} if family == "llama" else {}
    model, plain = adapted(family=family, **sizes), logits(tiny_model(family=family, **sizes))
    before = logits(model)
    assert (before - plain).abs().max() > 0.1
    merge_lora(model)
    assert set(model.state_dict()) == set(tiny_model(family=family, **sizes).state_dict())
    assert (logits(model) - before).abs().max() < 1e-5 * max(1.0, float(before.abs().max()))
    assert all(p.requires_grad for p in model.parameters())


def test_a_layer_with_an_adapter_is_the_papers_formula():
    model = adapted(settings=LoraSettings(rank=3, alpha=5, targets=("v_proj",)))
    layer = model.get_submodule("model.layers.1.self_attn.v_proj")
    x = torch.randn(7, 64, generator=torch_stream(0, "x"))
    w, a, b = (layer.get_submodule(name).weight.double() for name in ("base_layer", "lora_A", "lora_B"))
    expected = x.double() @ (w + 5 / 3 * b @ a).T
    assert (layer(x).double() - expected).abs().max() < 1e-5


def test_only_adapters_are_trained_and_their_dropout_is_on_in_training_alone():
    model = adapted(settings=LoraSettings(rank=4, dropout=0.5, targets=("q_proj", "down_proj")))
    assert {name.rpartition(".lora_")[2] for name, p in model.named_parameters() if p.requires_grad} == {
        "A.weight", "B.weight"
    }  # fmt: skip
    assert sum(p.requires_grad for p in model.parameters()) == 2 * 2 * 2
    ids = random_ids(tiny_model(), 1, 9)
    assert torch.equal(model.eval()(ids), model(ids))
    assert not torch.equal(model.train()(ids), model(ids))


def test_unknown_targets_are_named():
    with pytest.raises(ConfigError, match="k_porj"):
        add_lora(tiny_model(), LoraSettings(rank=2, targets=("q_proj", "k_porj")))
    with pytest.raises(ConfigError):
        add_lora(tiny_model(), LoraSettings(rank=2, targets=()))


def test_saved_adapters_come_back(tmp_path):
    model = adapted()
    save_adapter(tmp_path / "adapter", model, trained_on="runs/vila/base")
    again = tiny_model()
    load_adapter(tmp_path / "adapter", again)
    assert torch.equal(logits(again), logits(model))
    assert {p.requires_grad for n, p in again.named_parameters() if "lora_" not in n} == {False}
    save_adapter(tmp_path / "adapter", again)
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (4, 6, "LORA")


def change_config(folder, **changes):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True}, {"peft_type": "IA3"}, {"r": 0}, {"r": 5}, {"modules_to_save": ["lm_head"]}, {"bias": "all"},
        {"rank_pattern": {"q_proj": 2}}, {"init_lora_weights": "pissa"}, {"something_new": 3}, {"lora_alpha": None},
    ],
    ids=str,
)  # fmt: skip
def test_what_would_compute_something_else_is_refused(tmp_path, changes):
    save_adapter(tmp_path / "adapter", adapted())
    change_config(tmp_path / "adapter", **changes)
    with pytest.raises(ModelFileRefused):
        load_adapter(tmp_path / "adapter", tiny_model())


@pytest.mark.parametrize("damage", ["missing", "unknown layer", "other tensor", "nan", "shape", "truncated", "no file"])
def test_damaged_or_foreign_adapters_are_refused_and_the_model_is_left_alone(tmp_path, damage):
    save_adapter(tmp_path / "adapter", adapted())
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    tensors = load_file(path)
    name = next(iter(tensors))
    match damage:
        case "missing":
            del tensors[name]
        case "unknown layer":
            tensors[name.replace("layers.", "layers.7")] = tensors.pop(name)
        case "other tensor":
            tensors["base_model.model.lm_head.weight"] = torch.zeros(3)
        case "nan":
            tensors[name][0, 0] = float("nan")
        case "shape":
            tensors[name] = tensors[name][:, :-1].contiguous()
    save_file(tensors, path)
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-8])
    if damage == "no file":
        path.unlink()
    model = tiny_model()
    with pytest.raises(ModelFileRefused):
        load_adapter(tmp_path / "adapter", model)
    assert torch.equal(logits(model), logits(tiny_model())) and all(p.requires_grad for p in model.parameters())


# With peft itself, where it is installed. It reads an attribute that transformers will drop.
their_warning = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")


@their_warning
@torch.no_grad()
def test_peft_reads_ours(tmp_path):
    peft = pytest.importorskip("peft")
    model = adapted()
    save_adapter(tmp_path / "adapter", model)
    theirs = peft.PeftModel.from_pretrained(hf_twin(tiny_model()), tmp_path / "adapter").eval()
    assert (theirs(random_ids(tiny_model(), 2, 20)).logits - logits(model)).abs().max() < 1e-4


@their_warning
@torch.no_grad()
@pytest.mark.parametrize("rslora", [False, True])
def test_we_read_pefts(tmp_path, rslora):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        r=4, lora_alpha=6, target_modules=["q_proj", "up_proj"], use_rslora=rslora, task_type="CAUSAL_LM"
    )
    theirs = peft.get_peft_model(hf_twin(tiny_model()), config).eval()
    for name, parameter in theirs.named_parameters():
        if "lora_B" in name:
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=torch_stream(0, name)))
    theirs.save_pretrained(tmp_path / "adapter")
    model = tiny_model()
    load_adapter(tmp_path / "adapter", model)
    expected = theirs(random_ids(model, 2, 20)).logits
    assert (expected - logits(tiny_model())).abs().max() > 0.1
    assert (logits(model) - expected).abs().max() < 1e-4
