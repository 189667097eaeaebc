"""Runs of a federation for its operator, with a fake of Flower that records commands and gives prepared answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from medfl.api.start_weights import fit_start, write_start
from medfl.clients.networks.network_builders import build_network
from medfl.deploy import control
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.identity import make_key, read_request, write_request
from medfl.deploy.site_registry import enrol
from medfl.errors import ConfigError, DeployError, RunError
from medfl.messages.run_signing import SUBMITTED_VARIABLE, find_submitted
from medfl.runs.run_folder import Run
from medfl.study import Server, StudyApp, read_study
from tests.deploy.local_server import make_federation


class FakeFlower:
    """Gives the answers that it is set to give, and records its commands."""

    def __init__(self) -> None:
        self.commands: list[tuple[str, ...]] = []
        self.status = "running"
        self.known: list[str] = []  # ids of runs
        self.raises: BaseException | None = None  # after it accepted a run

    def __call__(self, folder: FederationFolder, *arguments: str) -> dict[str, Any]:
        self.commands.append(arguments)
        run_id = str(100 + len(self.commands))
        if arguments[0] == "run":
            self.known.append(run_id)
            if self.raises is not None:
                raise self.raises
        runs = [{"run-id": known, "fab-name": "nodule", "status": self.status} for known in self.known]
        return {"success": True, "run-id": run_id, "runs": runs}

    def commands_of(self, command: str) -> list[str]:
        return [" ".join(arguments) for arguments in self.commands if arguments[0] == command]


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> FakeFlower:
    fake = FakeFlower()
    monkeypatch.setattr(control, "run_flwr", fake)
    return fake


@pytest.fixture
def federation(tmp_path: Path) -> FederationFolder:
    folder = make_federation(tmp_path / "federation")
    for name in ("a", "b"):
        make_key(tmp_path / name)
        write_request(tmp_path / name, name, tmp_path / f"{name}.json")
        enrol(folder, read_request(tmp_path / f"{name}.json"))
    return folder


@pytest.fixture
def started(federation: FederationFolder, nodule_study: Path, flower: FakeFlower) -> Callable[[], control.SubmittedRun]:
    """Return a function that submits a study and writes the first event of its run, as the run's process would."""

    def start() -> control.SubmittedRun:
        submitted = control.submit(federation, nodule_study, {})
        run = Run.create(federation.runs, StudyApp(submitted.study, server=Server(run=submitted.name)))
        run.history.append(run.start_event())
        return submitted

    return start


def test_what_is_submitted_is_what_hospitals_approve_with_the_names_of_the_enrolled(
    federation: FederationFolder, nodule_study: Path, flower: FakeFlower
) -> None:
    submitted = control.submit(federation, nodule_study, {"rounds": 7})
    (arguments,) = flower.commands_of("run")
    assert f'server.run="{submitted.name}"' in arguments
    assert 'server.enrolled="a,b"' in arguments
    assert "server.resume=false" in arguments
    app = federation.path / "submitted" / submitted.name / "app"
    assert read_study(app).approved_hash() == read_study(nodule_study, {"rounds": 7}).approved_hash()
    assert "simulation.data" not in (app / "pyproject.toml").read_text()


def test_a_study_that_cannot_be_run_is_not_submitted(
    federation: FederationFolder, nodule_study: Path, flower: FakeFlower
) -> None:
    wrong = {"strategy.name": "fedproxx", "rounds": 0, "simulation.arms": "local"}
    with pytest.raises(ConfigError) as caught:
        control.submit(federation, nodule_study, wrong)
    assert {problem.key for problem in caught.value.problems} == wrong.keys()
    assert not flower.commands_of("run")


def test_a_study_that_hospitals_approved_for_fewer_of_them_is_not_submitted(
    federation: FederationFolder, nodule_study: Path, flower: FakeFlower
) -> None:
    few = {"arms": "local", "strategy.max-sites": 1}
    with pytest.raises(ConfigError, match=r"2 hospitals take part, and the study is approved for 1.*Write max-sites = 2"):
        control.submit(federation, nodule_study, few)
    control.submit(federation, nodule_study, few | {"strategy.sites": 1})
    assert len(flower.commands_of("run")) == 1


def test_a_federation_without_sites_runs_nothing(tmp_path: Path, nodule_study: Path, flower: FakeFlower) -> None:
    with pytest.raises(DeployError, match="NOBODY-ENROLLED"):
        control.submit(make_federation(tmp_path / "empty"), nodule_study, {})
    assert flower.commands == []


def test_a_run_is_found_by_the_beginning_of_its_name_and_the_newest_without_a_name(
    federation: FederationFolder, nodule_study: Path, flower: FakeFlower, monkeypatch: pytest.MonkeyPatch
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


def test_a_resumed_run_has_the_same_name_and_a_new_id(
    federation: FederationFolder, started: Callable[[], control.SubmittedRun], flower: FakeFlower
) -> None:
    first = started()
    flower.status = "finished:failed"
    again = control.resume(federation, first.name)
    assert again.name == first.name
    assert again.flower_run_id != first.flower_run_id
    assert "server.resume=true" in flower.commands_of("run")[-1]
    record = json.loads((federation.path / "submitted" / first.name / "flower.json").read_text())
    assert record == {"run-id": again.flower_run_id, "earlier": 1}


@pytest.fixture
def submitted_before(
    federation: FederationFolder, started: Callable[[], control.SubmittedRun]
) -> Callable[[], control.SubmittedRun]:
    """Return a function that submits a study as an earlier medfl wrote it, in whose file `arms` stood elsewhere."""

    def start() -> control.SubmittedRun:
        submitted = started()
        file = federation.path / "submitted" / submitted.name / "app" / "pyproject.toml"
        text = file.read_text().replace('arms = "federated"\n', "")
        file.write_text(f'{text}\n[tool.flwr.app.config.simulation]\narms = "federated"\n')
        return submitted

    return start


def test_a_run_that_an_earlier_medfl_submitted_is_found_watched_and_stopped(
    federation: FederationFolder,
    submitted_before: Callable[[], control.SubmittedRun],
    flower: FakeFlower,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = submitted_before()
    found = control.find(federation, "")
    assert (found.study, found.run, found.flower_run_id) == (first.study, first.run, first.flower_run_id)
    monkeypatch.setattr(control, "run_flwr_text", lambda folder, *arguments: " ".join(arguments))
    assert control.status(federation, found) == "running"
    assert f"log {first.flower_run_id}" in control.read_log(federation, found)
    assert control.stop(federation, found) is True


def test_a_run_that_an_earlier_medfl_submitted_is_not_resumed_and_its_operator_learns_what_to_do(
    federation: FederationFolder, submitted_before: Callable[[], control.SubmittedRun], flower: FakeFlower
) -> None:
    first = submitted_before()
    flower.status = "finished:failed"
    with pytest.raises(RunError, match=r"RUN-EARLIER.*'medfl run'.*approvals still hold"):
        control.resume(federation, first.name)
    assert len(flower.commands_of("run")) == 1


def test_a_running_run_is_not_started_twice(
    federation: FederationFolder, started: Callable[[], control.SubmittedRun], flower: FakeFlower
) -> None:
    first = started()
    with Run.open(first.run).lock(), pytest.raises(RunError, match="RUN-BUSY"):
        control.resume(federation, first.name)
    assert len(flower.commands_of("run")) == 1


def test_a_run_whose_process_died_is_stopped_at_flower_and_resumed_at_once(
    federation: FederationFolder, started: Callable[[], control.SubmittedRun], flower: FakeFlower
) -> None:
    first = started()
    assert control.has_died(first)
    control.resume(federation, first.name)
    assert flower.commands_of("stop") == [f"stop {first.flower_run_id} fed --format json"]
    assert len(flower.commands_of("run")) == 2


def test_a_finished_run_is_not_stopped_again(
    federation: FederationFolder, started: Callable[[], control.SubmittedRun], flower: FakeFlower
) -> None:
    first = started()
    assert control.stop(federation, first) is True
    flower.status = "finished:completed"
    assert control.stop(federation, first) is False
    assert len(flower.commands_of("stop")) == 1


def test_a_run_that_flower_accepted_just_before_the_command_died_is_found(
    federation: FederationFolder, nodule_study: Path, flower: FakeFlower
) -> None:
    control.submit(federation, nodule_study, {})
    flower.raises = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        control.submit(federation, nodule_study, {"rounds": 7})

    def again(run: control.SubmittedRun) -> control.SubmittedRun:
        return control.find(federation, run.name)

    found = [control.find(federation, folder.name) for folder in (federation.path / "submitted").iterdir()]
    assert sorted(run.flower_run_id for run in found) == flower.known
    assert {run.study.rounds: run.flower_run_id for run in found}[7] == flower.known[1]
    flower.status = "finished:completed"  # then nothing is lost by not knowing it
    assert {run.study.rounds: run.flower_run_id for run in map(again, found)}[7] == ""


def test_a_run_for_which_no_key_can_be_made_keeps_what_was_known_of_it(
    federation: FederationFolder, flower: FakeFlower, started: Callable[[], control.SubmittedRun]
) -> None:
    run = started()
    key = federation.server_key.read_bytes()
    flower.status = "finished:failed"
    federation.server_key.write_bytes(b"")
    with pytest.raises(DeployError, match="KEY-DAMAGED"):
        control.resume(federation, run.name)
    assert control.find(federation, run.name).flower_run_id == run.flower_run_id
    federation.server_key.write_bytes(key)
    assert control.resume(federation, run.name).name == run.name


def test_a_run_that_flower_refused_leaves_no_record(
    federation: FederationFolder, nodule_study: Path, flower: FakeFlower
) -> None:
    first = control.submit(federation, nodule_study, {})
    flower.raises = DeployError("FLOWER-SAYS-NO", "Flower refused.")
    with pytest.raises(DeployError, match="FLOWER-SAYS-NO"):
        control.submit(federation, nodule_study, {"rounds": 7})
    assert control.find(federation, "").name == first.name


def test_a_stopped_run_is_resumed_once_its_process_has_ended(
    federation: FederationFolder,
    started: Callable[[], control.SubmittedRun],
    flower: FakeFlower,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, run = (submitted := started()), Run.open(submitted.run)
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


def test_a_run_that_died_before_its_study_was_written_starts_again(
    federation: FederationFolder, nodule_study: Path, flower: FakeFlower
) -> None:
    first = control.submit(federation, nodule_study, {})
    (first.run / "checkpoints").mkdir(parents=True)
    flower.status = "finished:failed"
    control.resume(federation, first.name)
    assert "server.resume=false" in flower.commands_of("run")[-1]


@pytest.fixture
def started_study(nodule_study: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Return the folder of a study that begins with weights beside it."""
    monkeypatch.setenv("MEDFL_MODELS", str(tmp_path / "library"))
    torch.save(build_network(read_study(nodule_study)).state_dict(), nodule_study / "w.pt")
    write_start(nodule_study, fit_start(nodule_study, "w.pt", {}))
    return nodule_study


def test_hospitals_do_not_learn_where_the_start_weights_lie(
    federation: FederationFolder, started_study: Path, flower: FakeFlower, monkeypatch: pytest.MonkeyPatch
) -> None:
    submitted = control.submit(federation, started_study, {})
    (command,) = flower.commands_of("run")
    assert 'server.start="start.pt"' in command
    monkeypatch.setenv(SUBMITTED_VARIABLE, str(federation.submitted))
    path = find_submitted(submitted.name, "start.pt")
    assert path is not None
    assert path.read_bytes() == (started_study / "w.pt").read_bytes()


def test_other_start_weights_than_the_study_names_are_not_submitted(
    federation: FederationFolder, started_study: Path, flower: FakeFlower
) -> None:
    with (started_study / "w.pt").open("ab") as file:
        file.write(b"more")
    with pytest.raises(RunError, match="START-HASH"):
        control.submit(federation, started_study, {})
    assert not flower.commands_of("run")
    assert not list(federation.submitted.rglob("start.*"))
