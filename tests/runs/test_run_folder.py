"""Each run gets a new folder, its study can be read back unchanged, and a list of runs survives damage."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path

import pytest

from medfl.api.events import RunEvent
from medfl.errors import RunError
from medfl.runs import Run, list_runs
from medfl.runs.run_folder import is_locked
from medfl.study import Server, Simulation, Study, StudyApp
from tests.studies import as_before_arms_moved


@pytest.fixture
def app() -> StudyApp:
    study = Study.model_validate(
        {
            "name": "brain",
            "rounds": 2,
            "task": {"kind": "segmentation", "dimension": 3, "modality": "MR", "classes": "background,tumour"},
            "network": {"name": "unet", "channels": "8,16"},
            "loss": {"name": "dice-ce"},
            "preprocessing": {"spacing": "1,1,2"},
        }
    )
    return StudyApp(study)


@pytest.mark.parametrize(
    ("began", "said"),
    [
        ({}, ""),
        ({"python": "3.1.7"}, "python 3.1, now 3."),
        ({"platform": "Other-1"}, "platform Other-1, now "),
        ({"unknown": "1"}, ""),
    ],
)
def test_a_run_that_goes_on_with_other_software_says_so(
    began: dict[str, str], said: str, tmp_path: Path, app: StudyApp
) -> None:
    app = StudyApp(app.study, server=Server(run="run"))
    file = Run.create(tmp_path, app).path / "study.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps(about | {"versions": about["versions"] | began}))
    event = Run.resume(tmp_path, app).resume_event() | {"time": "2026-01-01T00:00:00+00:00"}
    assert said in event["changed"]
    assert bool(event["changed"]) == bool(said)
    assert str(RunEvent.from_history(event)).startswith("the run goes on; the last bits" if said else "the run goes on")


def test_create_writes_everything_a_reader_needs(tmp_path: Path, app: StudyApp) -> None:
    run = Run.create(tmp_path / "runs", app)
    assert run.path.parent == tmp_path / "runs" / "brain"
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{6}", run.path.name)
    about = json.loads((run.path / "study.json").read_text())
    assert about["hash"] == app.study.approved_hash()
    assert about["study"]["training"]["local-epochs"] == 1
    assert {"medfl", "flwr", "torch", "monai", "numpy", "nibabel", "pydicom", "python", "platform"} <= set(about["versions"])


def test_a_study_is_read_back_unchanged(tmp_path: Path, app: StudyApp) -> None:
    run = Run.create(tmp_path, app)
    again = Run.open(run.path)
    assert again == run
    assert again.study.approved_hash() == app.study.approved_hash()


def test_two_runs_never_share_a_folder(tmp_path: Path, app: StudyApp) -> None:
    assert Run.create(tmp_path, app).path != Run.create(tmp_path, app).path


def test_a_folder_that_cannot_be_written_is_reported(tmp_path: Path, app: StudyApp) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError) as caught:
        Run.create(tmp_path / "file", app)
    assert caught.value.code == "RUN-FOLDER"


def test_a_folder_that_is_not_a_run_is_reported(tmp_path: Path) -> None:
    with pytest.raises(RunError) as caught:
        Run.open(tmp_path / "nothing")
    assert caught.value.code == "RUN-MISSING"
    (tmp_path / "study.json").write_text('{"study": {"name": 3}}')
    with pytest.raises(RunError) as caught:
        Run.open(tmp_path)
    assert caught.value.code == "RUN-DAMAGED"


def test_a_run_that_an_earlier_version_left_opens_with_all_its_settings(tmp_path: Path, app: StudyApp) -> None:
    app = StudyApp(app.study.model_copy(update={"arms": ("local",)}), Simulation(previews=5), Server(run="old"))
    run = Run.create(tmp_path, app)
    record = run.path / "study.json"
    record.write_text(json.dumps(as_before_arms_moved(json.loads(record.read_text()))))
    assert Run.open(run.path).app == app
    assert Run.resume(tmp_path, app).study == app.study


def test_a_list_shows_status_rounds_score_and_sites(tmp_path: Path, app: StudyApp) -> None:
    completed, damaged, killed = (Run.create(tmp_path, app) for _ in range(3))
    for event in (
        {"event": "start"},
        {"event": "joined", "site": "north"},
        {"event": "joined", "site": "south"},
        {"event": "round", "arm": "federated", "round": 1, "score": 0.25},
        {"event": "round", "arm": "federated", "round": 2, "score": 0.5},
        {"event": "scored", "arm": "federated", "round": 2, "score": float("nan")},
        {"event": "round", "arm": "local", "round": 1, "score": 0.9},
        {"event": "end", "status": "completed"},
    ):
        completed.history.append(event)
    (damaged.path / "study.json").write_text("{")
    killed.history.append({"event": "start"})
    summaries = {summary.path: summary for summary in list_runs(tmp_path)}
    assert len(summaries) == 3
    done, broken, interrupted = (summaries[run.path] for run in (completed, damaged, killed))
    assert (done.status, done.rounds, done.score, done.sites) == ("completed", 2, 0.5, 2)
    assert broken.status == "damaged"
    assert (interrupted.status, interrupted.rounds, interrupted.score) == ("interrupted", 0, None)


def test_a_resumed_run_is_interrupted_until_it_ends_again(tmp_path: Path, app: StudyApp) -> None:
    run = Run.create(tmp_path, app)
    for event in ({"event": "start"}, {"event": "end", "status": "failed"}, {"event": "start"}):
        run.history.append(event)
    assert list_runs(tmp_path)[0].status == "interrupted"
    with run.lock():
        assert list_runs(tmp_path)[0].status == "running"


def test_no_folder_means_no_runs(tmp_path: Path) -> None:
    assert list_runs(tmp_path / "nothing") == []


def test_a_folder_that_a_crash_left_without_its_study_is_used(tmp_path: Path, app: StudyApp) -> None:
    app = StudyApp(app.study, server=Server(run="run"))
    (tmp_path / "brain" / "run" / "checkpoints").mkdir(parents=True)
    assert Run.open(Run.create(tmp_path, app).path).study.name == "brain"
    with pytest.raises(RunError, match="RUN-FOLDER"):
        Run.create(tmp_path, app)


def test_looking_whether_a_run_is_locked_keeps_nobody_from_locking_it(tmp_path: Path, app: StudyApp) -> None:
    run, over = Run.create(tmp_path, app), threading.Event()

    def look() -> None:
        while not over.is_set():
            is_locked(run.path)

    watchers = [threading.Thread(target=look) for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    try:
        for _ in range(30):
            with run.lock():
                assert is_locked(run.path)
    finally:
        over.set()
        for watcher in watchers:
            watcher.join()
    assert not is_locked(run.path)
