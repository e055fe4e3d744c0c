"""A training state goes in; a verified folder comes out, from which training continues bit for bit.

One safetensors file per group of tensors and one JSON file for the rest, committed as a whole (prosa.rundir), verified
on load, and set aside loudly when damaged. Nothing here can execute code from a file.
"""

import json
import math
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from prosa.config import diff_values
from prosa.errors import CheckpointError, DriftRefused, StorageError
from prosa.rundir import (
    commit_folder,
    fault_point,
    remove_folder,
    staging_folder,
    storage_errors,
    verify_folder,
)

_STEP = re.compile(r"step-(\d{8,12})(\.replaced)?")
_HEADER_LIMIT_BYTES = 8 * 1024 * 1024
_STATE = "state.json"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state after `step` optimizer steps; `tensors` maps group -> name -> tensor on the CPU."""

    step: int
    folder: Path
    tensors: dict[str, dict[str, Tensor]]
    state: dict[str, Any]
    fingerprint: dict[str, Any]


def save_checkpoint(
    checkpoints: Path,
    step: int,
    *,
    tensors: Mapping[str, Mapping[str, Tensor]],
    state: Mapping[str, Any],
    fingerprint: Mapping[str, Any],
) -> Path:
    """Commits `checkpoints/step-N/` and returns it; until the last rename the folder does not exist.

    tensors: one file per group ("model" -> model.safetensors). Raises CheckpointError if a number is not finite (then
    nothing is written) and StorageError if the disk refuses (then nothing is left behind).
    """
    content = _state_bytes({"step": step, "state": dict(state), "fingerprint": dict(fingerprint)})
    for group, named in tensors.items():
        for name, tensor in named.items():
            _refuse_non_finite(f"{group}/{name}", tensor, step)
    final = checkpoints / f"step-{step:08d}"
    temporary = staging_folder(final)
    try:
        for group, named in tensors.items():
            _write_tensors(temporary / f"{group}.safetensors", named)
        with storage_errors(temporary):
            fault_point("write", temporary / _STATE)
            (temporary / _STATE).write_bytes(content)
        replaced = _set_aside(final)
        commit_folder(temporary, final, {"kind": "checkpoint", "step": step, "groups": sorted(tensors)})
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    if replaced is not None:
        remove_folder(replaced)
    return final


def load_newest(checkpoints: Path, *, report: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that verifies, or None if none was ever saved.

    A damaged one is renamed `.corrupt-step-N-NONCE`, `report` is told, and the one before it is tried. Raises
    CheckpointError if there were checkpoints and none of them can be used.
    """
    for folder in reversed(_candidates(checkpoints)):
        try:
            return load_checkpoint(folder)
        except CheckpointError as error:
            quarantine = folder.with_name(f".corrupt-{folder.name}-{secrets.token_hex(4)}")
            try:
                folder.rename(quarantine)
                place = f"set aside as `{quarantine}`"
            except OSError as problem:
                place = f"it could not be set aside ({problem.strerror})"
            report(f"damaged checkpoint: {error.args[0]}; {place}; trying the one before it")
    corrupt = sorted(path.name for path in checkpoints.glob(".corrupt-step-*"))
    if corrupt:
        raise CheckpointError(
            f"`{checkpoints}`: no checkpoint can be used, {len(corrupt)} damaged: {', '.join(corrupt)}",
            hint="put back a good copy, or delete these folders to train from the beginning",
        )
    return None


def load_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in `folder`, verified; CheckpointError names the file and what is wrong with it."""
    description = verify_folder(folder)
    if description.get("kind") != "checkpoint":
        raise CheckpointError(f"`{folder}` is not a checkpoint but {description.get('kind', 'another folder')!r}")
    saved = json.loads((folder / _STATE).read_bytes())
    tensors = {group: _read_tensors(folder / f"{group}.safetensors") for group in description["groups"]}
    return Checkpoint(saved["step"], folder, tensors, saved["state"], saved["fingerprint"])


def list_steps(checkpoints: Path) -> list[int]:
    """The steps that have a checkpoint, ascending; nothing is verified."""
    return sorted({_step_of(folder) for folder in _candidates(checkpoints)})


def prune_checkpoints(checkpoints: Path, keep: int) -> None:
    """Removes all but the newest `keep` checkpoints, and only after the newest was read again and verified.

    Raises CheckpointError, having removed nothing, if the newest does not verify.
    """
    assert keep >= 1
    candidates = _candidates(checkpoints)
    if len(candidates) <= keep:
        return
    verify_folder(candidates[-1])
    for folder in candidates[:-keep]:
        remove_folder(folder)


def check_fingerprint(
    saved: Mapping[str, Any], current: Mapping[str, Any], *, allow_drift: Sequence[str] = ()
) -> list[str]:
    """The allowed differences between what a run was made with and what it would go on with, as readable lines.

    Raises DriftRefused with one line per difference that `allow_drift` (dotted keys or sections) does not name.
    """
    refused: list[str] = []
    allowed: list[str] = []
    # Through JSON, as the saved one went: a tuple is then equal to the list it became.
    for line in diff_values(saved, json.loads(json.dumps(current))):
        key = line.partition(":")[0]
        is_allowed = any(key == name or key.startswith(f"{name}.") for name in allow_drift)
        (allowed if is_allowed else refused).append(line)
    if refused:
        keys = sorted({line.partition(":")[0] for line in refused})
        raise DriftRefused(
            "this run was made with other inputs than the present ones:\n" + "\n".join(f"  {line}" for line in refused),
            hint="use the old inputs, start a new run, or accept with " + " ".join(f"--allow-drift {k}" for k in keys),
        )
    return allowed


def _candidates(checkpoints: Path) -> list[Path]:
    """Folders with a checkpoint's name, oldest first; of the same step, one about to be replaced comes first."""
    if not checkpoints.is_dir():
        return []
    folders = [path for path in checkpoints.iterdir() if _STEP.fullmatch(path.name) and path.is_dir()]
    return sorted(folders, key=lambda path: (_step_of(path), not path.name.endswith(".replaced")))


def _step_of(folder: Path) -> int:
    match = _STEP.fullmatch(folder.name)
    assert match is not None
    return int(match[1])


def _set_aside(final: Path) -> Path | None:
    """Frees the name of a step that is saved again, keeping the old one loadable until the new one is there."""
    if not final.exists():
        return None
    replaced = final.with_name(f"{final.name}.replaced")
    if replaced.exists():
        remove_folder(replaced)
    with storage_errors(final):
        fault_point("rename", final, replaced)
        return final.rename(replaced)


def _state_bytes(state: Mapping[str, Any]) -> bytes:
    for key, value in _leaves(state):
        if isinstance(value, float) and not math.isfinite(value):
            raise CheckpointError(f"step {state['step']}: `{key}` is {value}; a non-finite number is never saved")
    return json.dumps(state, ensure_ascii=False, allow_nan=False, indent=1).encode()


def _leaves(value: Any, key: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        return [leaf for name, item in value.items() for leaf in _leaves(item, f"{key}.{name}".lstrip("."))]
    if isinstance(value, list | tuple):
        return [leaf for index, item in enumerate(value) for leaf in _leaves(item, f"{key}.{index}")]
    return [(key, value)]


def _refuse_non_finite(name: str, tensor: Tensor, step: int) -> None:
    if not tensor.is_floating_point() or tensor.numel() == 0:
        return
    # One pass without temporaries: NaN reaches both ends.
    low, high = torch.aminmax(tensor.detach())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise CheckpointError(f"step {step}: tensor `{name}` holds NaN or infinity; a non-finite number is never saved")


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    seen: set[int] = set()
    for name, tensor in plain.items():
        # safetensors refuses two names for one memory (tied weights): the second gets its own copy.
        if tensor.numel() and tensor.untyped_storage().data_ptr() in seen:
            plain[name] = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
    try:
        with storage_errors(path):
            fault_point("write", path)
            save_file(plain, path)
    except SafetensorError as error:
        raise StorageError(f"cannot write `{path}`: {error}", hint="make room on the disk, then go on") from None


def _read_tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file; safetensors checks that shape x type is the size in the file, without gaps or overlaps."""
    with path.open("rb") as file:
        header_bytes = int.from_bytes(file.read(8), "little")
    if header_bytes > _HEADER_LIMIT_BYTES:
        raise CheckpointError(
            f"`{path}` declares a header of {header_bytes} bytes, at most {_HEADER_LIMIT_BYTES} allowed"
        )
    try:
        # Copies: the tensors read are a map of the file, which may be pruned, and Windows cannot remove mapped files.
        return {name: tensor.clone() for name, tensor in load_file(path).items()}
    except SafetensorError as error:
        raise CheckpointError(f"`{path}` is not a safetensors file: {error}") from None
