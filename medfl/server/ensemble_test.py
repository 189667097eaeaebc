"""Ensemble arm of a simulation: the models that the sites trained alone answer together, and nothing is trained."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import ArrayRecord

from medfl.messages import records
from medfl.runs import Event, checkpoint_files
from medfl.runs.run_folder import Run
from medfl.server.checkpoints import checkpoint_name
from medfl.server.federation import Federation
from medfl.server.local_training import LocalTraining
from medfl.server.test_results import part_external, test_results


class EnsembleTest:
    """Test of the mean of the class probabilities of all local models, on the test patients of every site.

    The models do not travel: the simulated sites read them in the folder of the run, one after the other, so that no process
    holds more than one. What a federation would send for it is recorded: each model to the server, and to all other sites.

    Parameters
    ----------
    federation : Federation
        The simulated sites.
    local : LocalTraining
        The arm that trained the models, once its training is over.
    """

    name = "ensemble"

    def __init__(self, federation: Federation, local: LocalTraining) -> None:
        self._federation, self._run, self._local = federation, federation.run, local
        self._is_tested = False

    def resume(self, events: Sequence[Event]) -> None:
        """Note whether the test is done already."""
        self._is_tested = any(event["event"] == "test" and event["arm"] == self.name for event in events)

    def train(self) -> None:
        """Train nothing."""

    def test(self) -> None:
        """Have every site ask all models for its test patients, once."""
        chosen = self._local.chosen_models()
        if self._is_tested or not chosen:
            return
        names = {site: checkpoint_name(self._local.name, site, best) for site, best in chosen.items()}
        extra = {records.ENSEMBLE: ",".join(names.values())}
        answers = self._federation.evaluate(ArrayRecord(), "test", self.name, 1, own_folder=True, extra=extra)
        own, external = part_external(self._run.study, answers)
        event = {"event": "test", "arm": self.name, "model": {"members": chosen}} | _count_bytes(self._run, names, len(own))
        self._run.history.append(event | test_results(self._run.study, own) | external)


def _count_bytes(run: Run, names: dict[str, str], sites: int) -> dict[str, int]:
    """Return the bytes that a federation would send: every model up once, and down to every site but its own."""
    sizes = (checkpoint_files.load(run.checkpoints, name).arrays.values() for name in names.values())
    size = sum(array.nbytes for arrays in sizes for array in arrays)
    return {"bytes-up": size, "bytes-down": size * (sites - 1)}
