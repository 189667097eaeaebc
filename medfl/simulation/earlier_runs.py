"""Earlier runs of a sweep that is resumed, to be used or to go on."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from medfl.errors import RunError
from medfl.runs.run_folder import Run, current_status
from medfl.study import StudyApp


class EarlierRun(NamedTuple):
    """A run of a sweep.

    Parameters
    ----------
    path : Path
        Its folder.
    config : dict
        What decides its numbers, see `comparable_config`.
    status : str
        As in `medfl.runs.run_folder.current_status`.
    """

    path: Path
    config: dict[str, Any]
    status: str


def earlier_runs(runs: Path) -> list[EarlierRun]:
    """Return the runs of a sweep that can be read."""
    earlier = []
    for file in sorted(runs.glob("*/*/study.json")):
        with suppress(RunError):  # a damaged run does not count
            run = Run.open(file.parent)
            earlier.append(EarlierRun(run.path, comparable_config(run.app), current_status(run.path, run.history.read())))
    return earlier


def comparable_config(app: StudyApp) -> dict[str, Any]:
    """Return the part of a configuration that decides the numbers of a run: not where prepared data lies, nor the server's."""
    return {"study": app.study.model_dump(mode="json"), "simulation": app.simulation.model_dump(mode="json", exclude={"store"})}
