"""Attacks of simulated sites, to see what each robust rule withstands. A real site never runs this code."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.clients.algorithms.client_algorithm import ClientAlgorithm
from medfl.clients.training.seeds import spawn_seed
from medfl.clients.training.task import TrainResult, TrainTask
from medfl.data.store.prepared_data import PreparedCase, PreparedData
from medfl.study import Simulation

Tensor = NDArray[Any]

_NOISE_STREAM = 200  # number of its stream of random numbers


def choose_attackers(simulation: Simulation, sites: Collection[str]) -> frozenset[str]:
    """Return the names of the sites that misbehave.

    Parameters
    ----------
    simulation : Simulation
        Gives ``attack`` and ``attackers``.
    sites : collection of str
        Names of all sites.

    Raises
    ------
    ConfigError
        When there are fewer sites, or none of a given name.

    Examples
    --------
    >>> sorted(choose_attackers(Simulation(attack="scale", attackers=2), ["cadiz", "aachen", "bergen"]))
    ['aachen', 'bergen']
    """
    if simulation.attack == "none":
        return frozenset()
    return simulation.choose_sites("attackers", sites)


def as_attacker(algorithm: ClientAlgorithm, simulation: Simulation, site: str, sites: Collection[str]) -> ClientAlgorithm:
    """Return the algorithm that a simulated site runs: the honest one, or one that attacks.

    Parameters
    ----------
    algorithm : ClientAlgorithm
        The honest one.
    simulation : Simulation
        Gives the attack, its strength and the attackers.
    site : str
        Name of this site.
    sites : collection of str
        Names of all sites.
    """
    return Attacker(algorithm, simulation) if site in choose_attackers(simulation, sites) else algorithm


class Attacker(ClientAlgorithm):
    """A client algorithm that trains honestly, but on false labels or with a falsified update.

    Records besides the model stay honest, and so do the metrics: an attacker reports a good loss.

    Parameters
    ----------
    algorithm : ClientAlgorithm
        The honest one.
    simulation : Simulation
        Gives ``attack`` and ``attack_strength``.
    """

    def __init__(self, algorithm: ClientAlgorithm, simulation: Simulation) -> None:
        self._algorithm, self._attack, self._strength = algorithm, simulation.attack, simulation.attack_strength

    def train(self, task: TrainTask) -> TrainResult:
        """Train for one round, and falsify the labels before or the update after it."""
        if self._attack == "label-flip":
            return self._algorithm.train(
                dataclasses.replace(task, prepared=flip_labels(task.prepared, len(task.study.task.classes)))
            )
        result = self._algorithm.train(task)
        attack, rng = UPDATE_ATTACKS[self._attack], np.random.default_rng(spawn_seed(task.seed, _NOISE_STREAM))
        arrays = {
            name: _apply_attack(task.received[name], trained, lambda delta: attack(delta, self._strength, rng))
            for name, trained in result.arrays.items()
        }
        return dataclasses.replace(result, arrays=arrays)


def sign_flip(delta: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Go in the opposite direction (Li et al. 2019, https://arxiv.org/abs/1811.03761, sign-flipping)."""
    return -strength * delta


def scale(delta: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Go in the right direction, much too far (model replacement: Bagdasaryan et al. 2020, https://arxiv.org/abs/1807.00459)."""
    return strength * delta


def gaussian(delta: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Replace the update by noise that is `strength` times as large (Blanchard et al. 2017, https://arxiv.org/abs/1703.02757)."""
    noise: Tensor = rng.standard_normal(delta.shape) * (strength * np.sqrt(np.mean(np.square(delta))))
    return noise


UpdateAttack = Callable[[Tensor, float, np.random.Generator], Tensor]

UPDATE_ATTACKS: Mapping[str, UpdateAttack] = {"sign-flip": sign_flip, "scale": scale, "gaussian": gaussian}


def flip_labels(prepared: PreparedData, classes: int) -> PreparedData:
    """Return a site whose training labels are mirrored: y becomes C - 1 - y (Fang et al. 2020, arxiv.org/abs/1911.11815).

    A background of class 0 changes places with the last structure. Other splits stay as they are.

    Parameters
    ----------
    prepared : PreparedData
        The site's cases.
    classes : int
        Number of classes C.
    """
    cases = tuple(_flip_label(case, classes - 1) if case.split == "train" else case for case in prepared.cases)
    return dataclasses.replace(prepared, cases=cases)


def _flip_label(case: PreparedCase, last: int) -> PreparedCase:
    label = case.require_label()
    mirrored = last - label if isinstance(label, int) else np.asarray(last - label, label.dtype)
    # patches stay centred on the former foreground: which voxels an attacker looks at matters little
    same = {part.name: getattr(case, part.name) for part in dataclasses.fields(PreparedCase)}
    return PreparedCase(**{**same, "label": mirrored})


def _apply_attack(received: Tensor, trained: Tensor, attack: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the received tensor plus a falsified update; integers and empty tensors stay as trained."""
    if trained.dtype.kind != "f" or not trained.size:
        return trained
    delta = trained.astype(np.float64) - received
    return np.asarray(received + attack(delta), trained.dtype)
