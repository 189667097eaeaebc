"""Runs in a federation as its operator sees them: submitted to Flower, looked at, stopped, resumed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfl.deploy.bundle import write_app
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.site_registry import list_enrolled
from medfl.deploy.superlink import CONNECTION, run_flwr, run_flwr_text
from medfl.errors import DeployError, RunError
from medfl.runs.history import Event, read_history, start_indices
from medfl.runs.run_folder import STUDY_JSON, is_locked, new_run_name, run_status
from medfl.study import Study, read_study
from medfl.study.study_file import Scalar
from medfl.system.files import write_file
from medfl.system.locks import locked

APP_FOLDER = "app"  # in the folder of what was submitted: the study as it was given to Flower
_SUBMITTED_FOLDER = "submitted"  # folder of the federation, with one folder for each run
_FLOWER_FILE = "flower.json"  # what is noted of it there; without a number while Flower was asked and has not answered
_RELEASE_TIMEOUT = 30.0  # seconds for the process of a run that was stopped to end


@dataclass(frozen=True)
class SubmittedRun:
    """A run that was given to Flower.

    Parameters
    ----------
    name : str
        Of the run and its folder.
    study : Study
        What is run.
    run : Path
        The run folder; it is there once the server's process has begun.
    flower_run_id : str
        Flower's number of it, the last one where it was resumed; empty when Flower does not know it.
    earlier : int
        How often it had begun before that, by its history.
    """

    name: str
    study: Study
    run: Path
    flower_run_id: str
    earlier: int = 0

    def events(self) -> list[Event]:
        """Return its history from where it began the last time; empty as long as that beginning is not there."""
        events = read_history(self.run)
        begun = start_indices(events)
        return events[begun[-1] :] if len(begun) > self.earlier else []


def submit(folder: FederationFolder, study: Path, overrides: Mapping[str, Scalar]) -> SubmittedRun:
    """Give a study to the server of a federation.

    Parameters
    ----------
    folder : FederationFolder
        Of a server that runs.
    study : Path
        Folder of the study.
    overrides : mapping
        Dotted keys with other values; the hospitals must have approved the study with them.

    Raises
    ------
    ConfigError
        When the study is wrong.
    DeployError
        ``SERVER-DOWN``, ``NOBODY-ENROLLED``, ``FLOWER-SAYS-NO``.
    """
    names = _active_sites(folder)
    name = new_run_name()
    app = folder.path / _SUBMITTED_FOLDER / name / APP_FOLDER
    read = write_app(study, overrides, app)
    with _run_lock(folder, name):
        return _start(folder, name, read, names, resume=False, earlier=0)


def resume(folder: FederationFolder, name: str) -> SubmittedRun:
    """Go on with a run after its last complete round: the same study, the same folder, another number at Flower.

    Raises
    ------
    RunError
        ``RUN-MISSING`` when there is no such run, ``RUN-BUSY`` when it is going on, ``RUN-FINISHED`` when it is completed.
    DeployError
        As `submit` does.
    """
    with _run_lock(folder, find(folder, name).name):
        before = find(folder, name)
        if run_status(read_history(before.run)) == "completed":
            raise RunError("RUN-FINISHED", f"the run {before.name} is completed.", "Start a new one.")
        if not is_over(status(folder, before)):
            if not has_died(before):
                raise _busy_error(before.name)
            run_flwr(
                folder, "stop", before.flower_run_id, CONNECTION, "--format", "json"
            )  # Flower itself finds out after a minute
        _wait_until_released(before)
        there = (before.run / STUDY_JSON).is_file()
        return _start(
            folder,
            before.name,
            before.study,
            _active_sites(folder),
            resume=there,
            earlier=len(start_indices(read_history(before.run))),
        )


def find(folder: FederationFolder, name: str) -> SubmittedRun:
    """Return a run that was submitted, by its name or the beginning of it; the newest when none is given.

    Raises
    ------
    RunError
        ``RUN-MISSING``.
    """
    places = sorted((folder.path / _SUBMITTED_FOLDER).glob(f"{name}*/{_FLOWER_FILE}"))
    if not places or (name and len(places) > 1):
        what = f"{len(places)} runs are meant by {name!r}." if name else "nothing was run in this federation yet."
        raise RunError("RUN-MISSING", what, "See the runs there are: medfl runs FEDERATION/runs.")
    told = json.loads(places[-1].read_bytes())
    name = places[-1].parent.name
    study = read_study(folder.path / _SUBMITTED_FOLDER / name / APP_FOLDER)
    flower = str(told["run-id"]) or _find_lost_run_id(folder, study)
    return SubmittedRun(name, study, folder.runs / study.name / name, flower, int(told.get("earlier", 0)))


def status(folder: FederationFolder, run: SubmittedRun) -> str:
    """Return what Flower says of a run: "pending", "starting", "running", "finished:completed", ":failed" or ":stopped"."""
    if not run.flower_run_id:
        return "finished:failed"
    runs = run_flwr(folder, "ls", CONNECTION, "--run-id", run.flower_run_id, "--format", "json")["runs"]
    return str(runs[0]["status"]) if runs else "finished:failed"


def is_over(told: str) -> bool:
    """Say whether a status of Flower's is one that stays."""
    return told.startswith("finished")


def has_died(run: SubmittedRun) -> bool:
    """Say whether the server's process of a run is gone: it began, and no longer holds the run."""
    return bool(run.events()) and not is_locked(run.run)


def stop(folder: FederationFolder, run: SubmittedRun) -> bool:
    """Stop a run; sites notice at the next batch. False when it was over already. It can be resumed."""
    if is_over(status(folder, run)):
        return False
    run_flwr(folder, "stop", run.flower_run_id, CONNECTION, "--format", "json")
    return True


def read_log(folder: FederationFolder, run: SubmittedRun) -> str:
    """Return what Flower logged of a run on the server.

    Raises
    ------
    DeployError
        As `medfl.deploy.superlink.run_flwr` does.
    """
    return run_flwr_text(folder, "log", run.flower_run_id, CONNECTION, "--show")


def _start(folder: FederationFolder, name: str, study: Study, names: list[str], *, resume: bool, earlier: int) -> SubmittedRun:
    place = folder.path / _SUBMITTED_FOLDER / name
    noted = place / _FLOWER_FILE
    before = noted.read_bytes() if noted.exists() else b""
    write_file(noted, json.dumps({"run-id": "", "earlier": earlier}).encode())  # it is found again when this process dies now
    own = {"server.run": name, "server.resume": resume, "server.enrolled": ",".join(names)}
    words = " ".join(f"{key}={json.dumps(value)}" for key, value in own.items())
    try:
        told = run_flwr(folder, "run", str(place / APP_FOLDER), CONNECTION, "--format", "json", "-c", words)
    except DeployError as error:
        if error.code != "SERVER-SLOW":  # then it may have been taken
            write_file(noted, before) if before else noted.unlink()
        raise
    number = str(told["run-id"])
    write_file(noted, json.dumps({"run-id": number, "earlier": earlier}).encode())
    return SubmittedRun(name, study, folder.runs / study.name / name, number, earlier)


@contextmanager
def _run_lock(folder: FederationFolder, name: str) -> Iterator[None]:
    """Let one command at a time start a run."""
    with locked(folder.path / _SUBMITTED_FOLDER / name / ".lock"):
        yield


def _wait_until_released(run: SubmittedRun) -> None:
    """Wait until the process of a run that is over has written its last word."""
    end = time.monotonic() + _RELEASE_TIMEOUT
    while is_locked(run.run):
        if time.monotonic() >= end:
            raise _busy_error(run.name)
        time.sleep(0.2)


def _find_lost_run_id(folder: FederationFolder, study: Study) -> str:
    """Return the number of a run that Flower took just before the command died: one that goes on and that nobody noted."""
    noted = {
        str(json.loads(path.read_bytes())["run-id"]) for path in (folder.path / _SUBMITTED_FOLDER).glob(f"*/{_FLOWER_FILE}")
    }
    runs = run_flwr(folder, "ls", CONNECTION, "--format", "json")["runs"]
    going_on = [str(run["run-id"]) for run in runs if run["fab-name"] == study.name and not is_over(str(run["status"]))]
    lost = [number for number in going_on if number not in noted]
    return lost[0] if len(lost) == 1 else ""


def _busy_error(name: str) -> RunError:
    return RunError("RUN-BUSY", f"the run {name} is going on.", f"Follow it with 'medfl status {name} --follow'.")


def _active_sites(folder: FederationFolder) -> list[str]:
    names = [site.name for site in list_enrolled(folder) if site.state() in ("valid", "expiring")]
    if not names:
        raise DeployError("NOBODY-ENROLLED", "no hospital belongs to this federation.", "medfl server enrol NAME.request.json")
    return names
