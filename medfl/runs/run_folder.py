"""Run folders: ``<out>/<study>/<time>-<id>/``, one for each run, never reused by another."""

from __future__ import annotations

import json
import os
import platform
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from medfl.errors import RunError
from medfl.runs.history import HISTORY_FILE, RESUME_EVENT, Event, History
from medfl.study import Study, StudyApp
from medfl.study.study_json import app_from_json, app_to_json
from medfl.system.distributions import package_version
from medfl.system.files import sync_folder, translate_disk_errors, write_file
from medfl.system.locks import take_lock

STUDY_JSON = "study.json"
CHECKPOINTS_FOLDER = "checkpoints"  # of single rounds; `best` and `final` are in the folder of the run itself
_LOCK_FILE = ".lock"
_LOCK_TIMEOUT = 1.0  # seconds: `is_locked` holds the lock for an instant
PACKAGES = ("medfl", "flwr", "torch", "monai", "numpy", "nibabel", "pydicom")  # on whose versions the bits of a result depend


@dataclass(frozen=True)
class Run:
    """Folder of one run, and what it runs.

    Parameters
    ----------
    path : Path
        The folder.
    app : StudyApp
        The study, and how it is simulated and served, as it was when the run began, with every override.
    versions : dict of str to str
        Versions of the software with which the run began, or of a resumed one with which it goes on.
    began_with : dict of str to str
        Of a resumed run, the versions with which it began.
    """

    path: Path
    app: StudyApp
    versions: dict[str, str]
    began_with: dict[str, str] = field(default_factory=dict)

    @property
    def study(self) -> Study:
        """The study that is run."""
        return self.app.study

    @classmethod
    def create(cls, out: Path, app: StudyApp) -> Run:
        """Make a new folder for a run of a study.

        Parameters
        ----------
        out : Path
            Folder of all runs; made when it is missing.
        app : StudyApp
            What will be run; ``server.run`` names the folder.

        Raises
        ------
        RunError
            ``RUN-FOLDER`` when it cannot be written or exists already, ``DISK-FULL`` when no space is left.
        """
        started, versions = datetime.now(UTC), software_versions()
        about = {
            "started": started.isoformat(timespec="seconds"),
            "hash": app.study.approved_hash(),
            "versions": versions,
            **app_to_json(app),
        }
        path = out / app.study.name / (app.server.run or new_run_name())
        with translate_disk_errors("the folder of the run"):
            interrupted = not (path / STUDY_JSON).exists()  # a crash may have come before that was written
            (path / CHECKPOINTS_FOLDER).mkdir(parents=True, exist_ok=interrupted)
            for folder in (path.parent, out):
                sync_folder(folder)
            write_file(path / STUDY_JSON, json.dumps(about, indent=1).encode())
        return cls(path, app, versions)

    @classmethod
    def resume(cls, out: Path, app: StudyApp) -> Run:
        """Open the folder of an interrupted run, to go on with it.

        Parameters
        ----------
        out : Path
            Folder of all runs.
        app : StudyApp
            The study; ``server.run`` names the run.

        Raises
        ------
        RunError
            ``RUN-MISSING`` when there is no such run, ``RUN-OTHER-STUDY`` when it belongs to another study, ``RUN-FINISHED``
            when nothing is left to do.
        """
        run = cls.open(out / app.study.name / app.server.run)
        if run.study.approved_hash() != app.study.approved_hash():
            fix = "Resume it with the study that it began with, or start a new run."
            raise RunError("RUN-OTHER-STUDY", f"the run {run.path.name} belongs to another study.", fix)
        if run_status(run.history.read()) == "completed":
            raise RunError("RUN-FINISHED", f"the run {run.path.name} is completed.", "Start a new one.")
        return replace(run, app=app, began_with=run.versions, versions=software_versions())

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Lock the run, so that no second server writes to it; a process that dies releases it.

        Raises
        ------
        RunError
            ``RUN-BUSY``.
        """
        with (self.path / _LOCK_FILE).open("a") as lock:
            end = time.monotonic() + _LOCK_TIMEOUT
            while not take_lock(lock):
                if time.monotonic() >= end:
                    raise busy_error(self.app, self.path.name)
                time.sleep(0.02)
            yield

    @classmethod
    def open(cls, path: Path) -> Run:
        """Open the folder of an earlier run.

        Raises
        ------
        RunError
            ``RUN-MISSING`` when this is not a run folder, ``RUN-DAMAGED`` when its study.json cannot be read.
        """
        about = read_metadata(path)
        try:
            app = app_from_json(about)
        except (KeyError, ValidationError):
            raise _damaged_error() from None
        return cls(path, app, {str(k): str(v) for k, v in about.get("versions", {}).items()})

    def start_event(self) -> dict[str, Any]:
        """Return the first event of the history."""
        study = self.study
        about = {"study": study.name, "hash": study.approved_hash(), "seed": study.seed, "arms": study.arms}
        machine = {"processors": os.cpu_count() or 1, "kind": platform.machine()}
        return {"event": "start", **about, "versions": self.versions, "machine": machine} | self._hospitals()

    def resume_event(self) -> dict[str, Any]:
        """Return the event with which a run goes on, with the present software and machine: they may explain other bits."""
        machine = {"processors": os.cpu_count() or 1, "kind": platform.machine()}
        changed = describe_changes(self.began_with, self.versions)
        return {"event": RESUME_EVENT, "versions": self.versions, **machine, "changed": changed} | self._hospitals()

    def _hospitals(self) -> dict[str, Any]:
        """Return the names of the simulated hospitals, also of those that cannot join; nothing of real ones."""
        return {"hospitals": list(self.app.simulated_sites)} if self.app.simulated_sites else {}

    @property
    def history(self) -> History:
        """The events of the run."""
        return History(self.path / HISTORY_FILE)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints of single rounds; ``best`` and ``final`` are in the folder of the run itself."""
        return self.path / CHECKPOINTS_FOLDER

    def site_folder(self, site: str) -> Path:
        """Return the folder in which a simulated site writes what is not meant for the server."""
        return self.path / "sites" / site


def is_locked(path: Path) -> bool:
    """Return whether a process is running a run: it holds the lock until it ends or dies."""
    try:
        with (path / _LOCK_FILE).open("a") as lock:
            return not take_lock(lock, shared=True)
    except FileNotFoundError:
        return False


def new_run_name() -> str:
    """Return a new name for the folder of a run: the time in UTC, and six random hexadecimal digits."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def runs_root() -> Path:
    """Return the folder of runs of studies that name none: ``MEDFL_RUNS``, or else a folder in the user's home."""
    return Path(os.environ.get("MEDFL_RUNS") or Path.home() / "medfl-runs")


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the study.json of a run folder, without checking its study.

    Raises
    ------
    RunError
        ``RUN-MISSING`` or ``RUN-DAMAGED``.
    """
    try:
        about = json.loads((path / STUDY_JSON).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise RunError(
            "RUN-MISSING", f"{path.name!r} is not the folder of a run.", "List the runs with 'medfl runs'."
        ) from None
    except (OSError, ValueError):
        raise _damaged_error() from None
    if not isinstance(about, dict):
        raise _damaged_error()
    return about


def software_versions() -> dict[str, str]:
    """Return the versions of Python, of the machine's system, and of every package that decides a result."""
    versions = {package: package_version(package) for package in PACKAGES}
    return {**versions, "python": platform.python_version(), "platform": platform.platform(terse=True)}


def describe_changes(before: dict[str, str], now: dict[str, str]) -> str:
    """Return in words which versions are not those of before, empty if none; of Python, the first two numbers count.

    Examples
    --------
    >>> describe_changes({"python": "3.11.9", "torch": "2.8"}, {"python": "3.12.1", "torch": "2.8"})
    'python 3.11, now 3.12'
    """

    def shorten(key: str, version: str) -> str:
        return ".".join(version.split(".")[:2]) if key == "python" else version

    pairs = {key: (shorten(key, before[key]), shorten(key, now[key])) for key in before if key in now}
    return "; ".join(f"{key} {old}, now {new}" for key, (old, new) in pairs.items() if old != new)


def run_status(events: list[Event]) -> str:
    """Return the status with which a run ended, or "unfinished" when no end follows its last start."""
    last = next((e for e in reversed(events) if e["event"] in ("start", RESUME_EVENT, "end")), None)
    return str(last.get("status", "failed")) if last is not None and last["event"] == "end" else "unfinished"


def current_status(path: Path, events: list[Event]) -> str:
    """Return how a run stands: as in `run_status`, but "running" or "interrupted" for one without an end."""
    status = run_status(events)
    return status if status != "unfinished" else "running" if is_locked(path) else "interrupted"


def busy_error(app: StudyApp, name: str) -> RunError:
    """Return the error of a run that another process is running."""
    stop = "press Ctrl-C where it runs" if app.is_simulation else f"stop it: medfl stop {name}"
    return RunError("RUN-BUSY", f"the run {name} is running.", f"Wait until it ends, or {stop}.")


def _damaged_error() -> RunError:
    return RunError("RUN-DAMAGED", "the study.json of this run cannot be read.", "Put back a copy, or start a new run.")
