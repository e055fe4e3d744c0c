"""R5 and R6: a cut file or a single flipped bit is found before use, named and set aside; the one before is used."""

import random
import shutil
from pathlib import Path

import pytest

from prosa.errors import CheckpointError
from prosa.rundir import commit_folder, staging_folder, verify_folder
from tests.faults.report import RecordProperty
from tests.faults.saving import load, names, save

FILES = ["manifest.json", "model.safetensors", "optimizer.safetensors", "state.json"]


def assert_found(checkpoints: Path, file: Path) -> None:
    """Loading finds `file` damaged, says so, sets its folder aside and falls back; all is put back afterwards."""
    reports: list[str] = []
    found = load(checkpoints, reports.append)
    assert found is not None and found.step == 1
    assert len(reports) == 1 and file.name in reports[0]
    (aside,) = [name for name in names(checkpoints) if name.startswith(".corrupt-step-00000002-")]
    assert aside in reports[0]
    (checkpoints / aside).rename(checkpoints / "step-00000002")


@pytest.mark.parametrize("name", FILES)
def test_truncated(tmp_path: Path, name: str, record_property: RecordProperty) -> None:
    save(tmp_path, 1)
    path = save(tmp_path, 2) / name
    whole = path.read_bytes()
    lengths = sorted(random.Random(name).sample(range(len(whole)), min(200, len(whole))))
    for length in lengths:
        path.write_bytes(whole[:length])
        assert_found(tmp_path, path)
    path.write_bytes(whole + b"\0")
    assert_found(tmp_path, path)
    path.unlink()
    assert_found(tmp_path, path)
    record_property("R5", len(lengths) + 2)


def flip_bits(tmp_path: Path, n_flips: int, seed: int) -> None:
    save(tmp_path, 1)
    folder = save(tmp_path, 2)
    assert names(folder) == FILES
    whole = {name: (folder / name).read_bytes() for name in FILES}
    # Half over all bits alike, half over the files alike, so that small files get their share.
    chance = random.Random(seed)
    every_byte = [(name, index) for name, data in whole.items() for index in range(len(data))]
    for trial in range(n_flips):
        name, index = chance.choice(every_byte)
        if trial % 2:
            name = chance.choice(FILES)
            index = chance.randrange(len(whole[name]))
        data = bytearray(whole[name])
        data[index] ^= 1 << chance.randrange(8)
        (folder / name).write_bytes(data)
        assert_found(tmp_path, folder / name)
        (folder / name).write_bytes(whole[name])
    found = load(tmp_path, lambda line: None)
    assert found is not None and found.step == 2


def test_flipped_bits(tmp_path: Path, record_property: RecordProperty) -> None:
    flip_bits(tmp_path, 1000, seed=6)
    record_property("R6", 1000)


@pytest.mark.torture
def test_flipped_bits_torture(tmp_path: Path, record_property: RecordProperty) -> None:
    flip_bits(tmp_path, 20_000, seed=66)
    record_property("R6", 20_000)


def test_every_bit_of_the_manifest(tmp_path: Path, record_property: RecordProperty) -> None:
    # One bit makes 1e-05 of 1E-05 and \\u00e9 of \\u00E9: the same value in another spelling.
    commit_folder(staging_folder(tmp_path / "x"), tmp_path / "x", {"rate": 1e-05, "name": "José"})
    path = tmp_path / "x" / "manifest.json"
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        data = bytearray(whole)
        data[bit // 8] ^= 1 << bit % 8
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"manifest\.json"):
            verify_folder(path.parent)
    record_property("R6", 8 * len(whole))


def test_missing_manifest_and_no_other_checkpoint(tmp_path: Path) -> None:
    (save(tmp_path, 1) / "manifest.json").unlink()
    reports: list[str] = []
    for _ in range(2):
        # Also the second time: a run that lost all its checkpoints must not quietly begin anew.
        with pytest.raises(CheckpointError, match=r"no checkpoint can be used.*\.corrupt-step-00000001") as caught:
            load(tmp_path, reports.append)
        assert "delete these folders" in caught.value.hint
    assert len(reports) == 1
    for name in names(tmp_path):
        shutil.rmtree(tmp_path / name)
    assert load(tmp_path, reports.append) is None


def test_swapped_files_of_two_checkpoints(tmp_path: Path) -> None:
    first, second = save(tmp_path, 1), save(tmp_path, 2)
    shutil.copy(first / "model.safetensors", second / "model.safetensors")
    assert_found(tmp_path, second / "model.safetensors")
