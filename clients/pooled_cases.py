"""The arm ``pooled``: one simulated site trains on the training cases of all, as if they lay in one place."""

from __future__ import annotations

import dataclasses
from itertools import chain

from flwr.app import ConfigRecord

from medfl.clients import node_cache
from medfl.clients.simulated_cases import simulated_cases
from medfl.clients.training.seeds import derive_seed
from medfl.clients.training.task import TrainTask
from medfl.data.store.prepared_data import PreparedData
from medfl.errors import ExchangeError, PolicyError
from medfl.messages import records
from medfl.study import Simulation

POOLED_ARM = "pooled"


def pool_cases(task: TrainTask, config: ConfigRecord, simulation: Simulation | None) -> TrainTask:
    """Return the task with the training cases of all sites that the message names, in the order of their names.

    Parameters
    ----------
    task : TrainTask
        The work of one of the sites. Which one does not matter: the result depends on the cases, the study and the round.
    config : ConfigRecord
        Configuration of the message.
    simulation : Simulation, optional
        Says where the cases of the other sites lie; a hospital has none.

    Raises
    ------
    PolicyError
        ``ARM-FOREIGN`` at a hospital, which has no cases but its own.
    ExchangeError
        ``CONFIG-TYPE`` when the message names no sites of the simulation.
    """
    if simulation is None:
        raise PolicyError("ARM-FOREIGN", "the server asks to pool the patients of hospitals, which leave none.")
    sites = {site.name: site for site in node_cache.simulated_sites(simulation)}
    names = sorted(filter(None, str(config.get(records.POOLED, "")).split(",")))
    if not names or not set(names) <= sites.keys():
        raise ExchangeError("CONFIG-TYPE", f"{records.POOLED} names no sites of the simulation.", "Name those that joined.")
    parts = [simulated_cases(task.study, sites[name], node_cache.load_cases(task.study, sites[name])) for name in names]
    counted = [part.get_split("train") for part in parts]
    pooled = PreparedData(POOLED_ARM, tuple(chain.from_iterable(counted)), (), all(part.patient_ids for part in parts))
    seed = derive_seed(task.study.seed, POOLED_ARM, task.server_round)
    return dataclasses.replace(task, prepared=pooled, seed=seed, pooled_counts=tuple(filter(None, map(len, counted))))
