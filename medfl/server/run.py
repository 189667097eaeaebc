"""Run of a study: every arm is trained, its best model is chosen on validation patients, and tested once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from flwr.app import ArrayRecord

from medfl.runs import Event
from medfl.server.federated_training import FederatedTraining
from medfl.server.federation import Federation
from medfl.server.local_training import LocalTraining
from medfl.server.pooled_training import PooledTraining
from medfl.server.training import ArmTrainer


def run_study(federation: Federation, initial: ArrayRecord, full: ArrayRecord | None = None, past: Sequence[Event] = ()) -> int:
    """Train and test every arm that the study names.

    Parameters
    ----------
    federation : Federation
        The sites that joined.
    initial : ArrayRecord
        The model that every arm starts from.
    full : ArrayRecord, optional
        The same model with the layers that stay at the sites, if some do: the arms without a federation exchange those too.
    past : sequence of dict
        History of the run, when it is resumed.

    Returns
    -------
    int
        Round of the chosen federated model, 0 if the study has no federated arm.
    """
    whole = initial if full is None else full
    builders: dict[str, Callable[[], ArmTrainer]] = {
        FederatedTraining.name: lambda: FederatedTraining(federation, initial),
        LocalTraining.name: lambda: LocalTraining(federation, whole),
        PooledTraining.name: lambda: PooledTraining(federation, whole),
    }
    arms = [builders[name]() for name in federation.study.arms]
    best_round = 0
    for arm in arms:
        arm.resume(past)
        arm.train()
        if isinstance(arm, FederatedTraining):
            arm.save_best()
            best_round = arm.best_round
    for arm in arms:
        arm.test()
    return best_round
