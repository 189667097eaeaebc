"""Runs as the operator of a server handles them. Flower is played: what it is asked is noted, what it answers is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from medfl.deploy import control
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.identity import make_key, read_request, write_request
from medfl.deploy.site_registry import enrol
from medfl.errors import DeployError, RunError
from medfl.runs.run_folder import Run
from medfl.study import read_study
from tests.deploy.serving import make_federation


class Flower:
    """Says what it is told to say, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.status = "running"
        self.known: list[str] = []  # numbers of runs
        self.breaks_off: BaseException | None = None  # after it took a run

    def __call__(self, folder: FederationFolder, *words: str) -> dict[str, Any]:
        self.asked.append(words)
        number = str(100 + len(self.asked))
        if words[0] == "run":
            self.known.append(number)
            if self.breaks_off is not None:
                raise self.breaks_off
        runs = [{"run-id": known, "fab-name": "nodule", "status": self.status} for known in self.known]
        return {"success": True, "run-id": number, "runs": runs}

    def words_of(self, command: str) -> list[str]:
        return [" ".join(words) for words in self.asked if words[0] == command]


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> Flower:
    played = Flower()
    monkeypatch.setattr(control, "run_flwr", played)
    return played


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    folder = make_federation(tmp_path / "federation")
    for name in ("a", "b"):
        make_key(tmp_path / name)
        write_request(tmp_path / name, name, tmp_path / f"{name}.json")
        enrol(folder, read_request(tmp_path / f"{name}.json"))
    return folder


@pytest.fixture
def begun(federation: FederationFolder, nodule_study: Path, flower: Flower) -> Callable[[], control.SubmittedRun]:
    """Return a function that submits a study and writes the first event of its run, as the server's process would."""

    def begin() -> control.SubmittedRun:
        submitted = control.submit(federation, nodule_study, {})
        server = submitted.study.server.model_copy(update={"run": submitted.name})
        run = Run.create(federation.runs, submitted.study.model_copy(update={"server": server}))
        run.history.append(run.start_event())
        return submitted

    return begin


def test_what_is_submitted_is_what_hospitals_approve_with_the_names_of_those_who_belong(
    federation: FederationFolder, nodule_study: Path, flower: Flower
) -> None:
    submitted = control.submit(federation, nodule_study, {"rounds": 7})
    (words,) = flower.words_of("run")
    assert f'server.run="{submitted.name}"' in words
    assert 'server.enrolled="a,b"' in words
    assert "server.resume=false" in words
    app = federation.path / "submitted" / submitted.name / "app"
    assert read_study(app).approved_hash() == read_study(nodule_study, {"rounds": 7}).approved_hash()
    assert "simulation.data" not in (app / "pyproject.toml").read_text()


def test_a_federation_of_nobody_runs_nothing(tmp_path: Path, nodule_study: Path, flower: Flower) -> None:
    with pytest.raises(DeployError, match="NOBODY-ENROLLED"):
        control.submit(make_federation(tmp_path / "empty"), nodule_study, {})
    assert flower.asked == []


def test_a_run_is_found_by_the_beginning_of_its_name_and_the_newest_without_one(
    federation: FederationFolder, nodule_study: Path, flower: Flower, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(RunError, match="nothing has been run"):
        control.find(federation, "")
    for name in ("20260101T000000Z-aaaaaa", "20260102T000000Z-bbbbbb"):
        monkeypatch.setattr(control, "new_run_name", lambda name=name: name)
        control.submit(federation, nodule_study, {})
    assert control.find(federation, "").name == "20260102T000000Z-bbbbbb"
    assert control.find(federation, "20260101").name == "20260101T000000Z-aaaaaa"
    with pytest.raises(RunError, match="2 runs match"):
        control.find(federation, "2026")


def test_a_run_goes_on_under_its_name_with_another_number(
    federation: FederationFolder, begun: Callable[[], control.SubmittedRun], flower: Flower
) -> None:
    first = begun()
    flower.status = "finished:failed"
    again = control.resume(federation, first.name)
    assert again.name == first.name
    assert again.flower_run_id != first.flower_run_id
    assert "server.resume=true" in flower.words_of("run")[-1]
    noted = json.loads((federation.path / "submitted" / first.name / "flower.json").read_text())
    assert noted == {"run-id": again.flower_run_id, "earlier": 1}


def test_a_run_that_goes_on_is_not_started_twice(
    federation: FederationFolder, begun: Callable[[], control.SubmittedRun], flower: Flower
) -> None:
    first = begun()
    with Run.open(first.run).lock(), pytest.raises(RunError, match="RUN-BUSY"):
        control.resume(federation, first.name)
    assert len(flower.words_of("run")) == 1


def test_a_run_whose_process_died_is_stopped_at_flower_and_goes_on_at_once(
    federation: FederationFolder, begun: Callable[[], control.SubmittedRun], flower: Flower
) -> None:
    first = begun()
    assert control.has_died(first)
    control.resume(federation, first.name)
    assert flower.words_of("stop") == [f"stop {first.flower_run_id} fed --format json"]
    assert len(flower.words_of("run")) == 2


def test_what_is_over_is_not_stopped_again(
    federation: FederationFolder, begun: Callable[[], control.SubmittedRun], flower: Flower
) -> None:
    first = begun()
    assert control.stop(federation, first) is True
    flower.status = "finished:completed"
    assert control.stop(federation, first) is False
    assert len(flower.words_of("stop")) == 1


def test_a_run_is_found_that_flower_took_just_before_the_command_died(
    federation: FederationFolder, nodule_study: Path, flower: Flower
) -> None:
    control.submit(federation, nodule_study, {})
    flower.breaks_off = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        control.submit(federation, nodule_study, {"rounds": 7})

    def again(run: control.SubmittedRun) -> control.SubmittedRun:
        return control.find(federation, run.name)

    found = [control.find(federation, place.name) for place in (federation.path / "submitted").iterdir()]
    assert sorted(run.flower_run_id for run in found) == flower.known
    assert {run.study.rounds: run.flower_run_id for run in found}[7] == flower.known[1]
    flower.status = "finished:completed"  # then nothing is lost by not knowing it
    assert {run.study.rounds: run.flower_run_id for run in map(again, found)}[7] == ""


def test_what_flower_refused_is_no_run(federation: FederationFolder, nodule_study: Path, flower: Flower) -> None:
    first = control.submit(federation, nodule_study, {})
    flower.breaks_off = DeployError("FLOWER-SAYS-NO", "Flower refused.")
    with pytest.raises(DeployError, match="FLOWER-SAYS-NO"):
        control.submit(federation, nodule_study, {"rounds": 7})
    assert control.find(federation, "").name == first.name


def test_a_run_that_was_stopped_goes_on_when_its_process_has_written_its_last_word(
    federation: FederationFolder, begun: Callable[[], control.SubmittedRun], flower: Flower, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, run = (submitted := begun()), Run.open(submitted.run)
    flower.status = "finished:stopped"
    monkeypatch.setattr(control, "_RELEASE_TIMEOUT", 0.3)
    with run.lock(), pytest.raises(RunError, match="RUN-BUSY"):
        control.resume(federation, first.name)
    run.history.append({"event": "end", "status": "stopped"})
    again = control.resume(federation, first.name)
    assert first.events()[-1]["event"] == "end"
    assert again.events() == control.find(federation, first.name).events() == []  # the end before is not its own
    run.history.append(run.resume_event())
    run.history.append({"event": "end", "status": "failed"})
    assert [e["event"] for e in control.find(federation, first.name).events()] == ["resume", "end"]


def test_a_run_that_died_before_its_study_was_on_the_disk_begins_anew(
    federation: FederationFolder, nodule_study: Path, flower: Flower
) -> None:
    first = control.submit(federation, nodule_study, {})
    (first.run / "checkpoints").mkdir(parents=True)
    flower.status = "finished:failed"
    control.resume(federation, first.name)
    assert "server.resume=false" in flower.words_of("run")[-1]
