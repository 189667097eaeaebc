"""Run of a study: every arm is trained, its best model is chosen on validation patients, and tested once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, cast

from flwr.app import ArrayRecord

from medfl.runs import Event
from medfl.server.ensemble_test import EnsembleTest
from medfl.server.federated_training import FederatedTraining
from medfl.server.federation import Federation
from medfl.server.fine_tuned_training import FineTunedTraining
from medfl.server.local_training import LocalTraining
from medfl.server.pooled_training import PooledTraining
from medfl.study.arms import ARM_NEEDS


class Arm(Protocol):
    """An arm of a run, as `medfl.server.training.ArmTrainer` has it."""

    def resume(self, events: Sequence[Event]) -> None:
        """Go back to where a run stood when it broke off."""

    def train(self) -> None:
        """Train the models, and choose them."""

    def test(self) -> None:
        """Have the chosen models tested, once."""


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
    built: dict[str, Arm] = {}

    def fine_tuned() -> Arm:
        shared = cast(FederatedTraining, built[FederatedTraining.name]).best_model()
        return FineTunedTraining(federation, ArrayRecord({name: shared.get(name, array) for name, array in whole.items()}))

    builders: dict[str, Callable[[], Arm]] = {
        FederatedTraining.name: lambda: FederatedTraining(federation, initial),
        LocalTraining.name: lambda: LocalTraining(federation, whole),
        PooledTraining.name: lambda: PooledTraining(federation, whole),
        EnsembleTest.name: lambda: EnsembleTest(federation, cast(LocalTraining, built[LocalTraining.name])),
        FineTunedTraining.name: fine_tuned,
    }
    best_round = 0
    for name in sorted(federation.study.arms, key=ARM_NEEDS.__contains__):  # an arm comes after the one that it begins with
        arm = built[name] = builders[name]()
        arm.resume(past)
        arm.train()
        if isinstance(arm, FederatedTraining):
            arm.save_best()
            best_round = arm.best_round
    for arm in built.values():
        arm.test()
    return best_round
