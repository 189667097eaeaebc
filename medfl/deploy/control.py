"""Runs of a federation, for its operator: submit, find, watch, stop and resume them."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from medfl.deploy.bundle import write_app
from medfl.deploy.federation_folder import FederationFolder
from medfl.deploy.run_keys import make_run_key
from medfl.deploy.site_registry import list_enrolled
from medfl.deploy.superlink import CONNECTION, run_flwr, run_flwr_text
from medfl.errors import DeployError, RunError
from medfl.runs.history import Event, read_history, start_indices
from medfl.runs.model_library import find_start_file, hash_file
from medfl.runs.run_folder import STUDY_JSON, is_locked, new_run_name, run_status
from medfl.study import Study, read_app, read_recorded_study
from medfl.study.study_file import Scalar, study_folder
from medfl.system.files import translate_disk_errors, write_file
from medfl.system.locks import locked

APP_FOLDER = "app"  # in the folder of a submitted run: the study as it was given to Flower
_FLOWER_FILE = "flower.json"  # holds Flower's run id; empty as long as Flower has not answered
_START = "start"  # beside it: the file of the start weights, if the study has some
_RELEASE_TIMEOUT = 30.0  # seconds that the process of a stopped run may take to end


@dataclass(frozen=True)
class SubmittedRun:
    """A run that was submitted to Flower.

    Parameters
    ----------
    name : str
        Name of the run and of its folder.
    study : Study
        What is run.
    run : Path
        The run folder; it exists once the run's process has started on the server.
    flower_run_id : str
        Flower's id of the run, the latest one when it was resumed; empty when Flower does not know the run.
    earlier : int
        Number of times that it had started before, by its history.
    is_current : bool
        Whether its bundle is one of this version of medfl; hospitals refuse one of an earlier version.
    """

    name: str
    study: Study
    run: Path
    flower_run_id: str
    earlier: int = 0
    is_current: bool = True

    def events(self) -> list[Event]:
        """Return the history since the latest start; empty until that start is recorded."""
        events = read_history(self.run)
        starts = start_indices(events)
        return events[starts[-1] :] if len(starts) > self.earlier else []


def submit(folder: FederationFolder, study: Path, overrides: Mapping[str, Scalar]) -> SubmittedRun:
    """Submit a study to the server of a federation.

    Parameters
    ----------
    folder : FederationFolder
        Folder of a running server.
    study : Path
        Folder of the study.
    overrides : mapping
        Dotted keys of the study with other values; the hospitals must have approved the study with them.

    Raises
    ------
    ConfigError
        When the study is wrong, or is for fewer hospitals than are enrolled.
    DeployError
        ``SERVER-DOWN``, ``NOBODY-ENROLLED``, ``FLOWER-SAYS-NO``.
    """
    names = _active_sites(folder)
    name = new_run_name()
    app = folder.submitted / name / APP_FOLDER
    wanted = read_app(study, overrides).study
    wanted.check_sites(wanted.strategy.sites or len(names))  # here, and not first when every hospital has joined
    submitted = write_app(study, overrides, app)
    if submitted.start.is_given:
        _copy_start(submitted, study_folder(study), app.parent)
    with _run_lock(folder, name):
        return _start(folder, name, submitted, names, resume=False, earlier=0)


def resume(folder: FederationFolder, name: str) -> SubmittedRun:
    """Resume a run after its last complete round: same study, same folder, a new id at Flower.

    Raises
    ------
    RunError
        ``RUN-MISSING`` when there is no such run, ``RUN-BUSY`` while it is running, ``RUN-FINISHED`` when it is completed,
        ``RUN-EARLIER`` when an earlier medfl submitted it.
    DeployError
        For the same reasons as in `submit`.
    """
    with _run_lock(folder, find(folder, name).name):
        before = find(folder, name)
        if run_status(read_history(before.run)) == "completed":
            raise RunError("RUN-FINISHED", f"the run {before.name} is completed.", "Start a new one.")
        is_running = not is_over(status(folder, before))
        if is_running and not has_died(before):
            raise _busy_error(before.name)
        if not before.is_current:
            raise _earlier_error(before.name)
        if is_running:
            # Flower itself would notice only after a minute
            run_flwr(folder, "stop", before.flower_run_id, CONNECTION, "--format", "json")
        _wait_until_released(before)
        has_started = (before.run / STUDY_JSON).is_file()
        return _start(
            folder,
            before.name,
            before.study,
            _active_sites(folder),
            resume=has_started,
            earlier=len(start_indices(read_history(before.run))),
        )


def find(folder: FederationFolder, name: str) -> SubmittedRun:
    """Return the submitted run with this name, or whose name begins so; the newest run for an empty name.

    Raises
    ------
    RunError
        ``RUN-MISSING``.
    """
    matches = sorted((folder.submitted).glob(f"{name}*/{_FLOWER_FILE}"))
    if not matches or (name and len(matches) > 1):
        what = f"{len(matches)} runs match {name!r}." if name else "nothing has been run in this federation yet."
        raise RunError("RUN-MISSING", what, "List the runs: medfl runs FEDERATION/runs.")
    record = json.loads(matches[-1].read_bytes())
    name = matches[-1].parent.name
    study, is_current = read_recorded_study(folder.submitted / name / APP_FOLDER)
    flower_run_id = str(record["run-id"]) or _find_lost_run_id(folder, study)
    run = folder.runs / study.name / name
    return SubmittedRun(name, study, run, flower_run_id, int(record.get("earlier", 0)), is_current)


def status(folder: FederationFolder, run: SubmittedRun) -> str:
    """Return Flower's status of a run: "pending", "starting", "running", "finished:completed", ":failed" or ":stopped"."""
    if not run.flower_run_id:
        return "finished:failed"
    runs = run_flwr(folder, "ls", CONNECTION, "--run-id", run.flower_run_id, "--format", "json")["runs"]
    return str(runs[0]["status"]) if runs else "finished:failed"


def is_over(flower_status: str) -> bool:
    """Return whether a status of Flower's is final."""
    return flower_status.startswith("finished")


def has_died(run: SubmittedRun) -> bool:
    """Return whether the run's process on the server is gone: it had started, and no longer holds the run's lock."""
    return bool(run.events()) and not is_locked(run.run)


def stop(folder: FederationFolder, run: SubmittedRun) -> bool:
    """Stop a run, which can be resumed; sites notice at the next batch. Return False when it was over already."""
    if is_over(status(folder, run)):
        return False
    run_flwr(folder, "stop", run.flower_run_id, CONNECTION, "--format", "json")
    return True


def read_log(folder: FederationFolder, run: SubmittedRun) -> str:
    """Return Flower's log of a run on the server.

    Raises
    ------
    DeployError
        For the same reasons as in `medfl.deploy.superlink.run_flwr`.
    """
    return run_flwr_text(folder, "log", run.flower_run_id, CONNECTION, "--show")


def _copy_start(study: Study, folder: Path, submitted: Path) -> None:
    """Keep the file of the start weights with the run, which may be resumed when the study's folder has changed."""
    path = find_start_file(study.start, folder)
    copy = submitted / f"{_START}{path.suffix}"
    with translate_disk_errors("the folder of the submitted run", "give the same command again"):
        shutil.copyfile(path, copy)
    if hash_file(copy) != study.start.sha256:
        copy.unlink()
        what = "the file of the start weights is not the one that the study names: its SHA-256 is another one."
        raise RunError("START-HASH", what, "Get the right file, or name this one: medfl study start STUDY MODEL")


def _start(folder: FederationFolder, name: str, study: Study, names: list[str], *, resume: bool, earlier: int) -> SubmittedRun:
    submitted = folder.submitted / name
    record = submitted / _FLOWER_FILE
    before = record.read_bytes() if record.exists() else b""
    make_run_key(folder, submitted, name, study.approved_hash(), names)  # first: without one, the record stays as it was
    write_file(record, json.dumps({"run-id": "", "earlier": earlier}).encode())  # so that it is found if this process dies now
    start = next((path.name for path in submitted.glob(f"{_START}.*")), "")
    server_keys = {"server.run": name, "server.resume": resume, "server.enrolled": ",".join(names), "server.start": start}
    overrides = " ".join(f"{key}={json.dumps(value)}" for key, value in server_keys.items())
    try:
        answer = run_flwr(folder, "run", str(submitted / APP_FOLDER), CONNECTION, "--format", "json", "-c", overrides)
    except DeployError as error:
        if error.code != "SERVER-SLOW":  # a slow server may have accepted the run
            write_file(record, before) if before else record.unlink()
        raise
    run_id = str(answer["run-id"])
    write_file(record, json.dumps({"run-id": run_id, "earlier": earlier}).encode())
    return SubmittedRun(name, study, folder.runs / study.name / name, run_id, earlier)


@contextmanager
def _run_lock(folder: FederationFolder, name: str) -> Iterator[None]:
    """Let only one command at a time start a run."""
    with locked(folder.submitted / name / ".lock"):
        yield


def _wait_until_released(run: SubmittedRun) -> None:
    """Wait until the process of a finished run has released the run folder."""
    deadline = time.monotonic() + _RELEASE_TIMEOUT
    while is_locked(run.run):
        if time.monotonic() >= deadline:
            raise _busy_error(run.name)
        time.sleep(0.2)


def _find_lost_run_id(folder: FederationFolder, study: Study) -> str:
    """Return the id of a run that Flower accepted just before the command died: a running one that is not on record."""
    recorded = {str(json.loads(path.read_bytes())["run-id"]) for path in (folder.submitted).glob(f"*/{_FLOWER_FILE}")}
    runs = run_flwr(folder, "ls", CONNECTION, "--format", "json")["runs"]
    running = [str(run["run-id"]) for run in runs if run["fab-name"] == study.name and not is_over(str(run["status"]))]
    lost = [run_id for run_id in running if run_id not in recorded]
    return lost[0] if len(lost) == 1 else ""


def _busy_error(name: str) -> RunError:
    return RunError("RUN-BUSY", f"the run {name} is running.", f"Follow it with 'medfl status {name} --follow'.")


def _earlier_error(name: str) -> RunError:
    what = f"the run {name} was submitted by an earlier medfl, and hospitals refuse its bundle now."
    fix = "Start a new run with 'medfl run', in whose study keys are where this version wants them; approvals still hold."
    return RunError("RUN-EARLIER", what, fix)


def _active_sites(folder: FederationFolder) -> list[str]:
    names = [site.name for site in list_enrolled(folder) if site.state() in ("valid", "expiring")]
    if not names:
        raise DeployError("NOBODY-ENROLLED", "no hospital belongs to this federation.", "medfl server enrol NAME.request.json")
    return names
