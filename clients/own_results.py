"""Where a site leaves its own results of a test: a simulated one in the folder of the run, a hospital in its own store."""

from __future__ import annotations

from pathlib import Path

from flwr.app import ConfigRecord

from medfl.clients.session import OwnResults
from medfl.clients.training.task import TrainTask
from medfl.messages import records
from medfl.runs import own_tests
from medfl.study import Simulation

_HOSPITAL_PREVIEWS = 3  # example images, where the policy of the hospital allows images at all


def own_results(task: TrainTask, split: str, config: ConfigRecord, simulation: Simulation | None) -> OwnResults | None:
    """Return what a site leaves of its own of an evaluation; None where it leaves nothing.

    Parameters
    ----------
    task : TrainTask
        The work.
    split : {"validation", "test"}
        Split whose patients are scored.
    config : ConfigRecord
        What the server says: of a run on this machine, its folder. A hospital takes no path from a server, and keeps the
        results of each test of the shared model.
    simulation : Simulation, optional
        How the site is simulated; a hospital has none.
    """
    if simulation is not None:
        folder = str(config.get(records.RUN_FOLDER, ""))
        own = Path(folder, "sites", task.site.name)
        if task.arm != "federated":  # scores by patient alone, of a local model under the name of its owner
            own = own / task.arm / str(config.get(records.OWNER, ""))
        return OwnResults(own, simulation.previews if task.arm == "federated" else 0) if folder else None
    if split != "test" or task.arm != "federated":
        return None
    test = task.state.folder / own_tests.TEST_FOLDER
    return OwnResults(test, _HOSPITAL_PREVIEWS, own_tests.describe_test(task.study, str(config.get(records.RUN, ""))))
