"""The arm ``ensemble``: the models that the sites of a simulation trained alone answer together."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from flwr.app import ConfigRecord

from medfl.clients import session
from medfl.clients.training.local_layers import with_initial_layers
from medfl.clients.training.task import TrainTask
from medfl.errors import ExchangeError, PolicyError
from medfl.messages import records
from medfl.messages.models import Tensors
from medfl.messages.records import Metrics
from medfl.runs import checkpoint_files
from medfl.runs.run_folder import CHECKPOINTS_FOLDER
from medfl.study import Simulation

ENSEMBLE_ARM = "ensemble"


def score_ensemble(
    task: TrainTask, config: ConfigRecord, simulation: Simulation | None, split: str, own: session.OwnResults | None
) -> Metrics:
    """Score the mean of the models that the message names, which lie in the folder of the run.

    Parameters
    ----------
    task : TrainTask
        The work; it holds no model.
    config : ConfigRecord
        Configuration of the message.
    simulation : Simulation, optional
        A hospital has none, and there are no models of others there.
    split, own
        As for `medfl.clients.session.evaluate`.

    Raises
    ------
    PolicyError
        ``ARM-FOREIGN`` at a hospital.
    ExchangeError
        ``CONFIG-TYPE`` when the message names no models of the run.
    RunError
        ``CHECKPOINT-DAMAGED``.
    """
    if simulation is None:
        raise PolicyError("ARM-FOREIGN", "the server asks for the models of other hospitals, which are not here.")
    folder = Path(str(config.get(records.RUN_FOLDER, "")), CHECKPOINTS_FOLDER)
    names = [name for name in str(config.get(records.ENSEMBLE, "")).split(",") if name]
    if not names or not set(names) <= set(checkpoint_files.list_names(folder)):
        raise ExchangeError("CONFIG-TYPE", f"{records.ENSEMBLE} names no models of the run.", "Name those of the arm 'local'.")

    def models() -> Iterator[Tensors]:
        for name in names:
            received = checkpoint_files.load(folder, name).arrays
            yield with_initial_layers(dataclasses.replace(task, received=received)).received

    return session.evaluate_mean(task.study, task.site, task.prepared, task.net, models, split, own)
