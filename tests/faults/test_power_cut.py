"""R3: whatever a power cut loses of what was not yet synced, a verified checkpoint is there and the run goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import prosa.durable
from prosa.checkpoint import prune_checkpoints
from prosa.rundir import remove_stale, write_durably
from tests.faults.crash_states import CrashState, crash_states
from tests.faults.report import RecordProperty
from tests.faults.saving import load, names, refuse_report, save

SCENARIOS = [((), 1), ((1,), 2), ((1, 2), 3), ((1, 2), 2)]


def states_of_a_save(tmp_path: Path, before: tuple[int, ...], step: int, limit: int) -> list[CrashState]:
    run = tmp_path / "run"
    run.mkdir()
    for earlier in before:
        save(run / "checkpoints", earlier)

    def work() -> None:
        save(run / "checkpoints", step)
        prune_checkpoints(run / "checkpoints", 2)

    return crash_states(run, work, limit=limit, seed=step)


def check_states(tmp_path: Path, states: list[CrashState], before: tuple[int, ...], step: int) -> None:
    last = max(state.time for state in states)
    for state in states:
        folder = tmp_path / "state"
        folder.mkdir()
        state.write_to(folder)
        checkpoints = folder / "checkpoints"
        found = load(checkpoints, refuse_report)
        allowed = {step} if state.time == last else {max(before, default=0), step}
        assert (found.step if found else 0) in allowed
        remove_stale(folder)
        save(checkpoints, step + 1)
        after = load(checkpoints, refuse_report)
        assert after is not None and after.step == step + 1
        assert all(name.startswith("step-") for name in names(checkpoints))
        shutil.rmtree(folder)


@pytest.mark.parametrize(("before", "step"), SCENARIOS)
def test_power_cut_while_saving(
    tmp_path: Path, before: tuple[int, ...], step: int, record_property: RecordProperty
) -> None:
    states = states_of_a_save(tmp_path, before, step, limit=200)
    assert len(states) >= 150
    check_states(tmp_path, states, before, step)
    record_property("R3", len(states))


@pytest.mark.torture
@pytest.mark.parametrize(("before", "step"), SCENARIOS)
def test_power_cut_while_saving_all_states(
    tmp_path: Path, before: tuple[int, ...], step: int, record_property: RecordProperty
) -> None:
    states = states_of_a_save(tmp_path, before, step, limit=10**9)
    check_states(tmp_path, states, before, step)
    record_property("R3", len(states))


@pytest.mark.parametrize("forgotten", ["sync_file", "sync_folder"])
def test_a_protocol_that_forgets_to_sync_is_found_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forgotten: str
) -> None:
    forget: Callable[[Path], None] = lambda path: None  # noqa: E731
    monkeypatch.setattr(prosa.durable, forgotten, forget)
    states = states_of_a_save(tmp_path, (1,), 2, limit=300)
    with pytest.raises(AssertionError):
        check_states(tmp_path, states, (1,), 2)


def test_power_cut_while_replacing_a_file(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    write_durably(run / "lineage.json", b"old old")
    states = crash_states(run, lambda: write_durably(run / "lineage.json", b"new new!"), limit=10**9, seed=0)
    assert len(states) == 6
    last = max(state.time for state in states)
    # The new bytes may be there before the last fsync as well, but then they count as of the last instant.
    found = {(state.time == last, state.files["lineage.json"]) for state in states}
    assert found == {(False, b"old old"), (True, b"new new!")}
