"""Earlier runs of a sweep that is resumed, to be used or to go on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from medfl.data.store.prepare import prepare
from medfl.errors import MedflError, RunError
from medfl.runs.run_folder import Run, current_status
from medfl.server.simulated_data import TrainedData
from medfl.simulation.simulated_run import SimulatedRun
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
    data : TrainedData
        What it was trained on.
    """

    path: Path
    config: dict[str, Any]
    status: str
    data: TrainedData


def earlier_runs(runs: Path) -> list[EarlierRun]:
    """Return the runs of a sweep that can be read."""
    earlier = []
    for file in sorted(runs.glob("*/*/study.json")):
        with suppress(RunError):  # a damaged run does not count
            run = Run.open(file.parent)
            events = run.history.read()
            status, data = current_status(run.path, events), TrainedData.from_history(events)
            earlier.append(EarlierRun(run.path, comparable_config(run.app), status, data))
    return earlier


class PresentData:
    """Data of the hospitals of a sweep as it is now; images that are new are prepared, as any run of the sweep would do."""

    def __init__(self) -> None:
        self._digests: dict[int, dict[str, str]] = {}  # by site, by the seed that decides the splits

    def matches(self, data: TrainedData, simulation: SimulatedRun) -> bool:
        """Return whether an earlier run was trained on what a planned one would be trained on."""
        if not data.hospitals:  # it was trained on nothing
            return True
        seed = simulation.study.seed_of_splits
        if seed not in self._digests:
            self._digests[seed] = dict(_read_digests(simulation))
        return (
            data.hospitals == {site.name for site in simulation.sites} and data.digests.items() <= self._digests[seed].items()
        )


def _read_digests(simulation: SimulatedRun) -> Iterator[tuple[str, str]]:
    for site in simulation.sites:
        with suppress(MedflError):  # the run itself says what is wrong there
            yield site.name, prepare(site, simulation.study).digest


def comparable_config(app: StudyApp) -> dict[str, Any]:
    """Return what decides the numbers of a run: not where prepared data lies, what is scored apart, nor the server's part."""
    simulation = app.simulation.model_dump(mode="json", exclude={"store", "subgroups"})
    return {"study": app.study.model_dump(mode="json"), "simulation": simulation}
