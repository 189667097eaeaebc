"""Runs in a federation as its operator sees them: submitted to Flower, looked at, stopped, resumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from medfl.deploy.bundle import write_app
from medfl.deploy.folder import FederationFolder
from medfl.deploy.registry import enrolled
from medfl.deploy.superlink import CONNECTION, flwr, flwr_text
from medfl.errors import DeployError, RunError
from medfl.runs.durable import write_file
from medfl.runs.folder import is_held, new_run_name
from medfl.runs.history import read
from medfl.study import Study, read_study
from medfl.study.reading import Scalar

APP = "app"  # in the folder of what was submitted: the study as it was given to Flower
_SUBMITTED = "submitted"  # folder of the federation, with one folder for each run
_FLOWER = "flower.json"


@dataclass(frozen=True)
class Submitted:
    """A run that was given to Flower.

    Parameters
    ----------
    name : str
        Of the run and its folder.
    study : Study
        What is run.
    run : Path
        The run folder; it is there once the server's process has begun.
    flower : str
        Flower's number of it, the last one where it was resumed.
    """

    name: str
    study: Study
    run: Path
    flower: str


def submit(folder: FederationFolder, study: Path, overrides: Mapping[str, Scalar]) -> Submitted:
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
    names = _taking_part(folder)
    name = new_run_name()
    app = folder.path / _SUBMITTED / name / APP
    read = write_app(study, overrides, app)
    return _start(folder, name, read, names, resume=False)


def resume(folder: FederationFolder, name: str) -> Submitted:
    """Go on with a run after its last complete round: the same study, the same folder, another number at Flower.

    Raises
    ------
    RunError
        ``RUN-MISSING`` when there is no such run, ``RUN-BUSY`` when it is going on.
    DeployError
        As `submit` does.
    """
    before = find(folder, name)
    if not is_over(status(folder, before)):
        if not has_died(before):
            what = f"the run {before.name} is going on."
            raise RunError("RUN-BUSY", what, f"Follow it with 'medfl status {before.name} --follow'.")
        flwr(folder, "stop", before.flower, CONNECTION, "--format", "json")  # Flower itself finds out after a minute
    return _start(folder, before.name, before.study, _taking_part(folder), resume=before.run.is_dir())


def find(folder: FederationFolder, name: str) -> Submitted:
    """Return a run that was submitted, by its name or the beginning of it; the newest when none is given.

    Raises
    ------
    RunError
        ``RUN-MISSING``.
    """
    places = sorted((folder.path / _SUBMITTED).glob(f"{name}*/{_FLOWER}"))
    if not places or (name and len(places) > 1):
        what = f"{len(places)} runs are meant by {name!r}." if name else "nothing was run in this federation yet."
        raise RunError("RUN-MISSING", what, "See the runs there are: medfl runs FEDERATION/runs.")
    told = json.loads(places[-1].read_bytes())
    name = places[-1].parent.name
    study = _study_of(folder, name)
    return Submitted(name, study, folder.runs / study.name / name, str(told["run-id"]))


def status(folder: FederationFolder, run: Submitted) -> str:
    """Return what Flower says of a run: "pending", "starting", "running", "finished:completed", ":failed" or ":stopped"."""
    runs = flwr(folder, "ls", CONNECTION, "--run-id", run.flower, "--format", "json")["runs"]
    return str(runs[0]["status"]) if runs else "finished:failed"


def is_over(told: str) -> bool:
    """Say whether a status of Flower's is one that stays."""
    return told.startswith("finished")


def has_died(run: Submitted, begun: int = 0) -> bool:
    """Say whether the server's process of a run is gone: it wrote something, and no longer holds the run.

    Parameters
    ----------
    run : Submitted
        The run.
    begun : int
        Events of its history that are from before it was resumed.
    """
    return len(read(run.run)) > begun and not is_held(run.run)


def stop(folder: FederationFolder, run: Submitted) -> bool:
    """Stop a run; sites notice at the next batch. False when it was over already. It can be resumed."""
    if is_over(status(folder, run)):
        return False
    flwr(folder, "stop", run.flower, CONNECTION, "--format", "json")
    return True


def log_of(folder: FederationFolder, run: Submitted) -> str:
    """Return what Flower logged of a run on the server."""
    return flwr_text(folder, "log", run.flower, CONNECTION, "--show")


def _start(folder: FederationFolder, name: str, study: Study, names: list[str], *, resume: bool) -> Submitted:
    place = folder.path / _SUBMITTED / name
    own = {"server.run": name, "server.resume": resume, "server.enrolled": ",".join(names)}
    words = " ".join(f"{key}={json.dumps(value)}" for key, value in own.items())
    told = flwr(folder, "run", str(place / APP), CONNECTION, "--format", "json", "-c", words)
    number = str(told["run-id"])
    write_file(place / _FLOWER, json.dumps({"run-id": number}).encode())
    return Submitted(name, study, folder.runs / study.name / name, number)


def _taking_part(folder: FederationFolder) -> list[str]:
    names = [site.name for site in enrolled(folder) if site.state() in ("valid", "expiring")]
    if not names:
        raise DeployError("NOBODY-ENROLLED", "no hospital belongs to this federation.", "medfl server enrol NAME.request.json")
    return names


def _study_of(folder: FederationFolder, name: str) -> Study:
    return read_study(folder.path / _SUBMITTED / name / APP)
