import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import save as to_bytes

from prosa.checkpoint import (
    check_fingerprint,
    list_steps,
    load_checkpoint,
    load_newest,
    prune_checkpoints,
    save_checkpoint,
)
from prosa.errors import CheckpointError, DriftRefused, StorageError
from prosa.rundir import commit_folder, read_manifest, staging_folder

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool]


def refuse(line: str) -> None:
    raise AssertionError(line)


def save(checkpoints: Path, step: int, **tensors: dict[str, torch.Tensor]) -> Path:
    return save_checkpoint(checkpoints, step, tensors=tensors, state={"n": step}, fingerprint={"torch": "2"})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@settings(max_examples=25, derandomize=True, deadline=None)
@given(
    shapes=st.lists(st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=3)), min_size=0, max_size=6)
)
def test_every_tensor_comes_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, shapes: list[tuple[torch.dtype, list[int]]]
) -> None:
    tensors = {f"t{i}": (torch.randn(shape) * 100).to(dtype) for i, (dtype, shape) in enumerate(shapes)}
    folder = tmp_path_factory.mktemp("any")
    save(folder, 3, model=tensors, optimizer={})
    loaded = load_newest(folder, report=refuse)
    assert loaded is not None and loaded.step == 3
    assert loaded.tensors["optimizer"] == {}
    assert loaded.tensors["model"].keys() == tensors.keys()
    for name, tensor in tensors.items():
        found = loaded.tensors["model"][name]
        assert found.dtype == tensor.dtype and found.shape == tensor.shape and torch.equal(found, tensor)


def test_an_independent_reader_agrees(tmp_path: Path) -> None:
    tensors = {"w": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(5)}
    folder = save(tmp_path, 1, model=tensors)
    found = load_numpy(folder / "model.safetensors")
    assert np.array_equal(found["w"], [[0, 1, 2], [3, 4, 5]]) and found["step"] == 5
    assert json.loads((folder / "state.json").read_bytes()) == {
        "step": 1,
        "state": {"n": 1},
        "fingerprint": {"torch": "2"},
    }
    assert read_manifest(folder)["description"] == {"kind": "checkpoint", "step": 1, "groups": ["model"]}


def test_views_and_tied_weights(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    parameter = torch.nn.Parameter(torch.ones(2))
    tensors = {
        "whole": whole,
        "tied": whole,
        "transposed": whole.t(),
        "part": whole[1:3],
        "row": whole[0],
        "expanded": torch.ones(1).expand(5),
        "parameter": parameter,
    }
    save(tmp_path, 1, model=tensors)
    loaded = load_newest(tmp_path, report=refuse)
    assert loaded is not None
    for name, tensor in tensors.items():
        assert torch.equal(loaded.tensors["model"][name], tensor)
    loaded.tensors["model"]["whole"].zero_()
    assert torch.equal(loaded.tensors["model"]["tied"], whole)


def test_what_is_loaded_is_no_map_of_the_file(tmp_path: Path) -> None:
    weights = torch.randn(100_000)
    path = save(tmp_path, 1, model={"a": weights}) / "model.safetensors"
    loaded = load_newest(tmp_path, report=refuse)
    with path.open("r+b") as file:
        file.write(bytes(path.stat().st_size))
    assert loaded is not None and torch.equal(loaded.tensors["model"]["a"], weights)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_non_finite_numbers_are_never_saved(tmp_path: Path, bad: float) -> None:
    save(tmp_path, 1, model={"a": torch.ones(2)})
    for dtype in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        tensor = torch.ones(3, 5, dtype=dtype)
        tensor[2, 4] = bad
        with pytest.raises(CheckpointError, match=r"step 2: tensor `optimizer/m` holds NaN or infinity"):
            save(tmp_path, 2, model={"a": torch.ones(2)}, optimizer={"m": tensor})
    with pytest.raises(CheckpointError, match=r"step 2: tensor `model/scale`"):
        save(tmp_path, 2, model={"scale": torch.tensor(bad)})
    for state in ({"loss": bad}, {"sums": [1.0, {"x": bad}]}):
        with pytest.raises(CheckpointError, match=r"step 2: `state\.(loss|sums\.1\.x)` is"):
            save_checkpoint(tmp_path, 2, tensors={}, state=state, fingerprint={})
    assert names(tmp_path) == ["step-00000001"]


def test_largest_finite_numbers_are_saved(tmp_path: Path) -> None:
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        limits = torch.finfo(dtype)
        save(tmp_path, 1, model={"a": torch.tensor([limits.max, limits.min, limits.tiny], dtype=dtype)})


def test_steps_prune_and_order(tmp_path: Path) -> None:
    assert list_steps(tmp_path / "none") == [] and load_newest(tmp_path / "none", report=refuse) is None
    prune_checkpoints(tmp_path / "none", 1)
    for step in (5, 100, 20, 123_456_789):
        save(tmp_path, step, model={"a": torch.tensor([float(step)])})
    (tmp_path / "step-notes").mkdir()
    (tmp_path / "step-00000999").write_bytes(b"a file")
    assert list_steps(tmp_path) == [5, 20, 100, 123_456_789]
    prune_checkpoints(tmp_path, 3)
    assert list_steps(tmp_path) == [20, 100, 123_456_789]
    prune_checkpoints(tmp_path, 1)
    assert list_steps(tmp_path) == [123_456_789]
    assert names(tmp_path) == ["step-00000999", "step-123456789", "step-notes"]


def test_saving_a_step_again(tmp_path: Path) -> None:
    save(tmp_path, 1, model={"a": torch.zeros(1)})
    save(tmp_path, 1, model={"a": torch.ones(1)})
    assert names(tmp_path) == ["step-00000001"]
    loaded = load_newest(tmp_path, report=refuse)
    assert loaded is not None and loaded.tensors["model"]["a"] == 1


def test_the_newer_of_two_copies_of_a_step(tmp_path: Path) -> None:
    """As a kill leaves them that comes after the new copy's rename and before the old one's removal."""
    old = save(tmp_path, 1, model={"a": torch.zeros(1)})
    old = old.rename(tmp_path / "step-00000001.replaced")
    new = save(tmp_path, 1, model={"a": torch.ones(1)})
    loaded = load_newest(tmp_path, report=refuse)
    assert loaded is not None and loaded.folder == new and loaded.tensors["model"]["a"] == 1
    (new / "state.json").unlink()
    reports: list[str] = []
    loaded = load_newest(tmp_path, report=reports.append)
    assert loaded is not None and loaded.folder == old and len(reports) == 1
    save(tmp_path, 2, model={})
    prune_checkpoints(tmp_path, 1)
    assert [name for name in names(tmp_path) if not name.startswith(".corrupt")] == ["step-00000002"]


def test_a_refused_disk_while_writing_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors import SafetensorError

    def full(*args: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    save(tmp_path, 1, model={})
    monkeypatch.setattr("prosa.checkpoint.save_file", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        save(tmp_path, 2, model={"a": torch.ones(1)})
    assert "make room" in caught.value.hint
    assert names(tmp_path) == ["step-00000001"]


def commit_tensors(folder: Path, data: bytes) -> Path:
    """A checkpoint with a right manifest over a file of tensors that no Prosa would write."""
    temporary = staging_folder(folder)
    (temporary / "model.safetensors").write_bytes(data)
    (temporary / "state.json").write_text('{"step": 1, "state": {}, "fingerprint": {}}')
    commit_folder(temporary, folder, {"kind": "checkpoint", "step": 1, "groups": ["model"]})
    return folder


def with_header(header: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a safetensors file"),
        (b"\xff" * 8, "declares a header"),
        ((9 << 20).to_bytes(8, "little") + b"{", "declares a header of 9437184 bytes"),
        (b"\x80\x02]q\x00.", "declares a header|not a safetensors file"),
        (with_header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}, b"\0" * 4), "not a safetensors"),
        (with_header({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 1 << 42]}}, b"\0" * 4), "not a s"),
        (with_header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 8), "not a safetensors"),
        (to_bytes({"a": torch.ones(2)})[:-1], "not a safetensors file"),
        (
            with_header(
                {
                    "a": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]},
                    "b": {"dtype": "U8", "shape": [4], "data_offsets": [2, 6]},
                },
                b"\0" * 6,
            ),
            "not a safetensors file",
        ),
    ],
)
def test_files_that_lie_about_their_size(tmp_path: Path, data: bytes, message: str) -> None:
    folder = commit_tensors(tmp_path / "step-00000001", data)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(folder)


def test_other_folders_are_no_checkpoints(tmp_path: Path) -> None:
    temporary = staging_folder(tmp_path / "step-00000001")
    commit_folder(temporary, tmp_path / "step-00000001", {"kind": "corpus"})
    with pytest.raises(CheckpointError, match="not a checkpoint but 'corpus'"):
        load_checkpoint(tmp_path / "step-00000001")


# Fingerprint

SAVED = {"torch": "2.13.0", "config": {"steps": 10, "betas": [0.9, 0.95]}, "tokenizer": "abc", "threads": 2}


def test_the_same_fingerprint() -> None:
    assert check_fingerprint(SAVED, SAVED) == []
    assert check_fingerprint(SAVED, {**SAVED, "config": {"steps": 10, "betas": (0.9, 0.95)}}) == []


def test_drift_is_refused_and_named() -> None:
    current = {**SAVED, "torch": "2.14.0", "config": {"steps": 20, "betas": [0.9, 0.95]}, "threads": 4}
    with pytest.raises(DriftRefused) as caught:
        check_fingerprint(SAVED, current, allow_drift=["threads"])
    assert caught.value.args[0].splitlines()[1:] == ["  config.steps: 10 -> 20", "  torch: 2.13.0 -> 2.14.0"]
    assert "--allow-drift config.steps --allow-drift torch" in caught.value.hint
    assert caught.value.exit_code == 78
    allowed = check_fingerprint(SAVED, current, allow_drift=["threads", "config", "torch"])
    assert allowed == ["config.steps: 10 -> 20", "threads: 2 -> 4", "torch: 2.13.0 -> 2.14.0"]


def test_allowing_a_key_allows_no_longer_one() -> None:
    with pytest.raises(DriftRefused):
        check_fingerprint({"torch_threads": 1}, {"torch_threads": 2}, allow_drift=["torch"])
