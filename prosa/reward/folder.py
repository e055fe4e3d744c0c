"""A reward model as a folder: the `...ForSequenceClassification` that transformers, TRL and vLLM open.

Beside their files stand `reward.json` (what the score means) and, for several heads, `heads.safetensors`. Only
safetensors and JSON are ever read, and our own folders are verified by their manifest.
"""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from prosa.errors import CheckpointError, ModelFileRefused, StorageError, TokenizerError
from prosa.model import load_settings, save_model
from prosa.reward.batches import check_pad
from prosa.reward.model import RewardModel
from prosa.rundir import commit_folder, is_complete, read_manifest, staging_folder, storage_errors, verify_folder
from prosa.tokenizer import Tokenizer

_WEIGHTS, _HEADS, _REWARD = "model.safetensors", "heads.safetensors", "reward.json"
_FILE_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class RewardFacts:
    """What a score means: how it was normalised, and the temperature T of P(better) = sigmoid(difference / T)."""

    temperature: float = 1.0
    normalisation: Mapping[str, Any] = field(default_factory=dict)
    tie: float = 0.0


def save_reward_model(folder: Path, model: RewardModel, tokenizer: Tokenizer, facts: RewardFacts | None = None) -> None:
    """Writes the folder durably, replacing an older one of that name.

    Raises CheckpointError if a weight is not finite, TokenizerError if padding looks like an end.
    """
    check_pad(tokenizer)
    if not torch.isfinite(model.score.weight).all():
        raise CheckpointError(f"score.weight holds NaN or infinity, so the model is not saved to `{folder}`")
    facts = facts or RewardFacts(tie=float(model.tie.detach()))
    staged = staging_folder(folder)
    try:
        # The trunk's own folder, to which the head is then added.
        save_model(staged, model.trunk, tokenizer)
        with storage_errors(staged):
            _add_head(staged, model, tokenizer, facts)
        heads = {"settings": model.settings.model_dump(mode="json"), "n_members": model.n_members}
        commit_folder(staged, folder, {"kind": "reward model", "tokenizer": tokenizer.hash, **heads})
    except SafetensorError as error:
        raise StorageError(f"cannot write `{folder}`: {error}", hint="make room on the disk, then save again") from None
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def load_reward_model(
    folder: Path,
    *,
    device: torch.device | str = "cpu",
    report: Callable[[str], None] = warnings.warn,
) -> RewardModel:
    """The reward model of a folder, ours or another program's sequence classifier with one label, in eval mode.

    Raises ModelFileRefused for a damaged folder, an unknown family, or tensors that are not exactly the model's.
    """
    if is_complete(folder):
        try:
            verify_folder(folder)
        except CheckpointError as error:
            raise ModelFileRefused(error.args[0], hint="restore the folder from a copy or train it again") from None
    settings = load_settings(folder, report=report)
    tensors = _read_tensors(folder / _WEIGHTS)
    has_heads = (folder / _HEADS).is_file()
    score = _read_tensors(folder / _HEADS).get("score.weight") if has_heads else tensors.get("score.weight")
    if score is None or score.ndim != 2 or (not has_heads and len(score) != 1):
        raise ModelFileRefused(
            f"`{folder}` has no head with one score", hint="give a reward model, not a language model or a classifier"
        )
    # A language model's own head, which some programs leave in the file, plays no part.
    for name in ("lm_head.weight", "score.weight"):
        tensors.pop(name, None)
    with torch.device("meta"):
        expected = {name: tensor.shape for name, tensor in RewardModel(settings).trunk.state_dict().items()}
    if {name: tensor.shape for name, tensor in tensors.items()} != expected or score.shape[1] != settings.d_model:
        raise ModelFileRefused(f"`{folder / _WEIGHTS}` does not hold the tensors that config.json means")
    model = RewardModel(settings, len(score))
    model.trunk.load_state_dict(tensors)
    with torch.no_grad():
        model.score.weight.copy_(score)
        model.tie.fill_(read_facts(folder).tie)
    return model.to(device).eval()


def read_facts(folder: Path) -> RewardFacts:
    """What the folder says of its scores; of another program's folder nothing is known."""
    path = folder / _REWARD
    if not path.is_file():
        return RewardFacts()
    try:
        if path.stat().st_size > _FILE_LIMIT_BYTES:
            raise ValueError("too large")
        values = json.loads(path.read_bytes())
        facts = RewardFacts(float(values["temperature"]), dict(values["normalisation"]), float(values["tie"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ModelFileRefused(f"`{path}` is damaged: {error}") from None
    return facts


def check_reward_tokenizer(folder: Path, tokenizer: Tokenizer) -> None:
    """TokenizerError if the model of a folder of ours was made with another tokenizer."""
    if not is_complete(folder):
        return
    made_with = read_manifest(folder)["description"].get("tokenizer")
    if made_with not in (None, tokenizer.hash):
        raise TokenizerError(
            f"`{folder}` was trained with another tokenizer ({str(made_with)[:12]}, not {tokenizer.hash[:12]})",
            hint="use the tokenizer in that folder",
        )


def _add_head(staged: Path, model: RewardModel, tokenizer: Tokenizer, facts: RewardFacts) -> None:
    """Turns a language model's folder into a sequence classifier's."""
    weight = model.score.weight.detach().cpu()
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.trunk.state_dict().items()}
    save_file(tensors | {"score.weight": weight.mean(0, keepdim=True)}, staged / _WEIGHTS, metadata={"format": "pt"})
    if model.n_members > 1:
        save_file({"score.weight": weight.contiguous()}, staged / _HEADS)
    path = staged / "config.json"
    config = json.loads(path.read_bytes())
    (architecture,) = config["architectures"]
    config["architectures"] = [architecture.replace("ForCausalLM", "ForSequenceClassification")]
    config |= {"num_labels": 1, "id2label": {"0": "reward"}, "label2id": {"reward": 0}}
    # They read the score at the last id that is not this one.
    config["pad_token_id"] = tokenizer.pad_id
    _write_json(path, config)
    (staged / "generation_config.json").unlink()
    _end_at_the_answer(staged / "tokenizer_config.json")
    _write_json(
        staged / _REWARD,
        {"temperature": facts.temperature, "normalisation": dict(facts.normalisation), "tie": facts.tie},
    )


def _end_at_the_answer(path: Path) -> None:
    """Makes the chat template for other programs end at `<|im_end|>`, where the score is read, not at the line after.

    Ours reads no template.
    """
    config = json.loads(path.read_bytes())
    template: str = config["chat_template"]
    end = "<|im_end|>\\n' }}"
    assert template.count(end) == 1, "the chat template is not the one this was written for"
    last = "<|im_end|>' }}{% if not loop.last or add_generation_prompt %}{{ '\\n' }}{% endif %}"
    config["chat_template"] = template.replace(end, last)
    _write_json(path, config)


def _read_tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ModelFileRefused(f"`{path}` is not there", hint="a reward model lies in one safetensors file")
    try:
        tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
    except (SafetensorError, OSError) as error:
        raise ModelFileRefused(f"`{path}` cannot be read: {error}", hint="copy the file again") from None
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ModelFileRefused(f"`{path}`: {name[:80]} holds NaN or infinity")
    return tensors


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")
