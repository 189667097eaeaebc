"""The rounds of a study: every arm is trained, its best model is chosen on validation patients, and tested once."""

from __future__ import annotations

from collections.abc import Sequence

from flwr.app import ArrayRecord

from medfl.runs import Event
from medfl.server.federation import Federation
from medfl.server.training import ArmTrainer


def run_study(
    federation: Federation, initial: ArrayRecord, whole: ArrayRecord | None = None, past: Sequence[Event] = ()
) -> int:
    """Train and test every arm that the study names.

    Parameters
    ----------
    federation : Federation
        The sites that joined.
    initial : ArrayRecord
        The model that every arm starts from.
    whole : ArrayRecord, optional
        The same with the layers that stay at the sites, if some do: a hospital that trains alone sends them, too.

    past : sequence of dict
        History of the run, when it goes on with one that broke off.

    Returns
    -------
    int
        Round of the chosen federated model, 0 if the study has no federated arm.
    """
    starts = {"federated": initial, "local": initial if whole is None else whole}
    arms = [ArmTrainer(name, federation, starts[name]) for name in federation.study.simulation.arms]
    best = 0
    for arm in arms:
        arm.resume(past)
        arm.train()
        if arm.name == "federated":
            arm.save_best()
            best = arm.best_round
    for arm in arms:
        arm.test()
    return best
