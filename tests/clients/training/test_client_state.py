"""State of a client: saved under its round, removed when it is no longer needed, and readable by its owner alone."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from medfl.clients.training.client_state import ClientState, state_folder
from medfl.errors import ExchangeError, RunError, TrainingError
from medfl.runs import checkpoint_files


def put(folder: Path, server_round: int, value: float, name: str = "control") -> None:
    ClientState(folder, server_round).save(name, {"w": np.array([value], np.float32)})


def got(folder: Path, server_round: int, name: str = "control", of_round: int | None = None) -> float | None:
    found = ClientState(folder, server_round).load(name, of_round=of_round)
    return None if found is None else float(found["w"][0])


def test_a_round_starts_from_the_last_one_before_it(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert got(folder, 1) is None
    put(folder, 1, 1.0)
    put(folder, 4, 4.0)  # rounds between in which the site was not asked
    assert (got(folder, 2), got(folder, 4), got(folder, 5), got(folder, 9)) == (1.0, 1.0, 4.0, 4.0)


def test_names_shapes_and_types_come_back(tmp_path: Path) -> None:
    tensors = {"b": np.array(3, np.int64), "a": np.zeros((2, 0), np.float16), "w": np.arange(3.0)}
    ClientState(tmp_path / "run", 1).save("x", tensors)
    back = ClientState(tmp_path / "run", 2).load("x")
    assert back is not None
    assert [(n, t.shape, t.dtype) for n, t in back.items()] == [(n, t.shape, t.dtype) for n, t in tensors.items()]


def test_a_repeated_round_starts_from_what_it_started_from_the_first_time(tmp_path: Path) -> None:
    for server_round in (1, 2, 3):
        put(tmp_path, server_round, server_round)
    assert got(tmp_path, 3) == 2.0
    put(tmp_path, 3, 30.0)
    assert (got(tmp_path, 3), got(tmp_path, 4)) == (2.0, 30.0)


def test_the_newest_is_kept_and_the_one_that_it_was_made_of(tmp_path: Path) -> None:
    for server_round in range(1, 6):
        put(tmp_path, server_round, server_round)
    put(tmp_path, 1, 7.0, name="other")
    assert checkpoint_files.list_names(tmp_path) == ["control-round-00004", "control-round-00005", "other-round-00001"]
    state = ClientState(tmp_path, 6)  # the server never got the reply of round 5
    assert state.load("control", of_round=4) is not None
    state.save("control", {"w": np.array([6.0])})
    assert checkpoint_files.list_names(tmp_path) == ["control-round-00004", "control-round-00006", "other-round-00001"]
    assert got(tmp_path, 6, of_round=4) == 4.0


def test_what_a_given_up_line_left_behind_is_removed(tmp_path: Path) -> None:
    for server_round in (1, 2, 3, 4):
        put(tmp_path, server_round, server_round)
    put(tmp_path, 4, 40.0)
    assert checkpoint_files.list_names(tmp_path) == ["control-round-00003", "control-round-00004"]
    put(tmp_path, 3, 30.0)
    assert checkpoint_files.list_names(tmp_path) == ["control-round-00003"]


@pytest.mark.parametrize("of_round", [1, 3, 4, 99, -1])
def test_a_round_that_is_gone_or_not_over_is_said_to_be_lost(of_round: int, tmp_path: Path) -> None:
    for server_round in (1, 2, 3):
        put(tmp_path, server_round, server_round)
    with pytest.raises(RunError, match="STATE-LOST"):
        got(tmp_path, 3, of_round=of_round)


def test_a_damaged_file_is_never_taken_for_what_was_saved(tmp_path: Path) -> None:
    put(tmp_path, 1, 1.0)
    (file,) = tmp_path.glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(RunError, match="CHECKPOINT-DAMAGED"):
        got(tmp_path, 2)


def test_state_that_is_not_finite_is_not_saved(tmp_path: Path) -> None:
    put(tmp_path, 1, 1.0)
    with pytest.raises(TrainingError, match="WEIGHTS-NONFINITE"):
        put(tmp_path, 2, np.nan)
    assert got(tmp_path, 3) == 1.0


def test_only_the_owner_may_look_and_forgetting_leaves_nothing(tmp_path: Path) -> None:
    folder = state_folder(tmp_path, "a" * 64, "2026-01-01-abc")
    put(folder, 1, 1.0)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    ClientState(folder, 1).clear()
    assert not folder.exists()
    ClientState(folder, 1).clear()


def test_a_disk_that_cannot_be_written_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="RUN-FOLDER"):
        put(tmp_path / "file" / "run", 1, 1.0)


@pytest.mark.parametrize(
    "run", ["", "..", "../other", "a/b", "a\\b", "/etc", ".hidden", "a..b", "x" * 101, "a\n", "ä", "a\x00"]
)
def test_a_name_of_a_run_that_is_a_path_is_refused(run: str, tmp_path: Path) -> None:
    with pytest.raises(ExchangeError, match="RUN-NAME"):
        state_folder(tmp_path, "a" * 64, run)


def test_each_study_and_each_run_has_its_own_folder_which_names_neither(tmp_path: Path) -> None:
    folders = [state_folder(tmp_path, study * 64, run) for study in "ab" for run in ("run-1", "run-2", "flower-7")]
    assert len(set(folders)) == 6
    assert all(folder.is_relative_to(tmp_path / "state") and "run" not in folder.name for folder in folders)


def close(folder: Path, server_round: int, **values: float) -> None:
    """Do a round of a site that keeps something under each of these names."""
    for name, value in values.items():
        put(folder, server_round, value, name=name)
    ClientState(folder, server_round).close_round()


def test_what_was_kept_and_is_missing_is_lost_and_what_was_never_kept_is_not(tmp_path: Path) -> None:
    ClientState(tmp_path, 1).check()  # the first round
    close(tmp_path, 1)
    ClientState(tmp_path, 2).check()  # it kept nothing
    for n in (2, 3, 4):
        close(tmp_path, n, ditto=n, **({"personal": 1.0} if n == 3 else {}))
    for n in (4, 5, 9):
        ClientState(tmp_path, n).check()
    for file in tmp_path.glob("personal-*"):
        file.unlink()
    with pytest.raises(RunError, match="STATE-LOST"):
        ClientState(tmp_path, 5).check()


def test_state_of_later_rounds_alone_is_lost_unless_the_first_round_is_done_again(tmp_path: Path) -> None:
    close(tmp_path, 2, ditto=1.0)
    ClientState(tmp_path, 1).check()
    ClientState(tmp_path, 2).check()
    for n in (3, 4):
        close(tmp_path, n, ditto=n)
    with pytest.raises(RunError, match="STATE-LOST"):
        ClientState(tmp_path, 3).check()


def test_rounds_that_failed_after_they_saved_something_are_no_loss(tmp_path: Path) -> None:
    close(tmp_path, 1, ditto=1.0)
    for n in (2, 3, 4):
        ClientState(tmp_path, n).load("ditto")
        put(tmp_path, n, n, name="ditto")
    ClientState(tmp_path, 5).check()
