"""A run is found by its folder or the beginning of its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from medfl.errors import RunError
from medfl.runs.finding import find_named_run, find_run
from medfl.runs.history import HISTORY_FILE, History


def make_run(folder: Path, status: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "study.json").write_text("{}")
    History(folder / HISTORY_FILE).append({"event": "start"})
    if status:
        History(folder / HISTORY_FILE).append({"event": "end", "status": status})
    return folder


def test_a_run_is_found_where_commands_put_it(tmp_path: Path) -> None:
    one = make_run(tmp_path / "runs" / "nodule" / "2026-a")
    other = make_run(tmp_path / "sweeps" / "nodule" / "2027" / "runs" / "nodule" / "fedavg-seed-1")
    assert find_run("2026", tmp_path) == one
    assert find_run("fedavg", tmp_path) == other
    assert find_run("runs/nodule/2026-a/", tmp_path) == one
    assert find_run(str(other), tmp_path) == other


def test_without_a_name_it_is_one_that_is_not_completed(tmp_path: Path) -> None:
    killed = make_run(tmp_path / "runs" / "nodule" / "a")
    make_run(tmp_path / "runs" / "nodule" / "b", "completed")
    assert find_run("", tmp_path) == killed


@pytest.mark.parametrize("name", ["2026", "2028", "elsewhere/2026-a", ""])
def test_no_run_or_several_are_refused(name: str, tmp_path: Path) -> None:
    for run in ("2026-a", "2026-b"):
        make_run(tmp_path / "runs" / "nodule" / run, "completed")
    with pytest.raises(RunError, match=r"\[RUN-MISSING\]"):
        find_run(name, tmp_path)


def test_a_run_is_named_by_its_folder_or_the_beginning_of_its_name_there_or_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "runs" / "nodule" / "2026-a")
    monkeypatch.chdir(tmp_path)
    for named in (run, run.with_name("2026"), Path("2026")):
        assert find_named_run(named).resolve() == run
    with pytest.raises(RunError, match="0 runs in this folder"):
        find_named_run(run.with_name("2019"))
