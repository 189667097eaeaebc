"""Finding a simulated run by its folder or the beginning of its name."""

from __future__ import annotations

import glob
from pathlib import Path

from medfl.errors import RunError
from medfl.runs.history import read_history
from medfl.runs.run_folder import STUDY_JSON, run_status

_PLACES = ("runs/*", "sweeps/*/*/runs/*")  # where commands put runs unless they are told another folder


def find_run(name: str, start: Path = Path()) -> Path:
    """Return the folder of a run.

    Parameters
    ----------
    name : str
        The folder, or the beginning of its name in one of the folders in which commands put runs; empty for the newest run
        that is not completed.
    start : Path
        Folder that has those folders.

    Raises
    ------
    RunError
        ``RUN-MISSING`` when there is none, or several are meant.
    """
    if name and (start / name / STUDY_JSON).is_file():
        return start / name
    if "/" in name.rstrip("/"):
        raise RunError("RUN-MISSING", f"{name!r} is not the folder of a run.", "List the runs with 'medfl runs'.")
    folders = [file.parent for place in _PLACES for file in start.glob(f"{place}/{name}*/{STUDY_JSON}")]
    if name and len(folders) == 1:
        return folders[0]
    if name:
        what = f"{len(folders)} runs here have a name that begins with {name!r}."
        raise RunError("RUN-MISSING", what, "Give the folder of the run, such as runs/STUDY/RUN: 'medfl runs' lists them.")
    open_runs = [folder for folder in folders if run_status(read_history(folder)) != "completed"]
    if not open_runs:
        raise RunError("RUN-MISSING", "there is no run here that is not completed.", "Give the folder of a run.")
    return max(open_runs, key=lambda folder: (folder / STUDY_JSON).stat().st_mtime)


def find_named_run(path: Path) -> Path:
    """Return the folder of a run that a command names: its folder, or the beginning of its name.

    Parameters
    ----------
    path : Path
        The folder of the run; a folder and the beginning of its name in it, ``runs/heart/20260131``; or the beginning alone,
        for a run in one of the folders in which commands put runs.

    Raises
    ------
    RunError
        ``RUN-MISSING`` when there is none, or several are meant.
    """
    if path.exists():
        return path
    if len(path.parts) == 1:
        return find_run(path.name)
    found = [file.parent for file in path.parent.glob(f"{glob.escape(path.name)}*/{STUDY_JSON}")]
    if len(found) != 1:
        what = f"{len(found)} runs in this folder have a name that begins with {path.name!r}."
        raise RunError("RUN-MISSING", what, "Give the whole folder of the run: 'medfl runs' lists them.")
    return found[0]
