"""Simulated hospitals that misbehave, to see what each robust rule withstands. A real hospital never comes here."""

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
from medfl.errors import ConfigError, Problem
from medfl.study.sections import Simulation

Tensor = NDArray[Any]

_NOISE_STREAM = 200  # stream of random numbers of its own


def choose_attackers(simulation: Simulation, sites: Collection[str]) -> frozenset[str]:
    """Return the names of the sites that misbehave.

    Parameters
    ----------
    simulation : Simulation
        Its ``attack`` and ``attackers`` decide.
    sites : collection of str
        Names of all sites.

    Raises
    ------
    ConfigError
        When there are not so many sites, or none of a name.

    Examples
    --------
    >>> sorted(attackers_of(Simulation(attack="scale", attackers=2), ["cadiz", "aachen", "bergen"]))
    ['aachen', 'bergen']
    """
    if simulation.attack == "none":
        return frozenset()
    asked = simulation.attackers
    if len(asked) == 1 and asked[0].isdigit() and int(asked[0]) <= len(sites):
        return frozenset(sorted(sites)[: int(asked[0])])
    if not set(asked) <= set(sites):
        problem = f"came {','.join(asked)!r}, allowed: a number up to {len(sites)}, or names of {', '.join(sorted(sites))}."
        raise ConfigError([Problem("pyproject.toml", "simulation.attackers", problem)])
    return frozenset(asked)


def as_attacker(algorithm: ClientAlgorithm, simulation: Simulation, site: str, sites: Collection[str]) -> ClientAlgorithm:
    """Return the half that a simulated site uses: its own, or one that attacks.

    Parameters
    ----------
    algorithm : ClientAlgorithm
        The honest one.
    simulation : Simulation
        Says which attack, by whom, and how strong.
    site : str
        Name of the site at hand.
    sites : collection of str
        Names of all sites.
    """
    return Attacker(algorithm, simulation) if site in choose_attackers(simulation, sites) else algorithm


class Attacker(ClientAlgorithm):
    """Train as the honest half does, and spoil either the labels that it learns from or the update that it made.

    What an algorithm sends beside the model stays honest, and so do the metrics: an attacker tells a fine loss.

    Parameters
    ----------
    algorithm : ClientAlgorithm
        The honest one.
    simulation : Simulation
        Its ``attack`` and ``attack_strength`` decide.
    """

    def __init__(self, algorithm: ClientAlgorithm, simulation: Simulation) -> None:
        self._algorithm, self._attack, self._strength = algorithm, simulation.attack, simulation.attack_strength

    def train(self, task: TrainTask) -> TrainResult:
        """Do the work of one training message, badly."""
        if self._attack == "label-flip":
            return self._algorithm.train(
                dataclasses.replace(task, prepared=flip_labels(task.prepared, len(task.study.task.classes)))
            )
        update = self._algorithm.train(task)
        spoil, rng = UPDATE_ATTACKS[self._attack], np.random.default_rng(spawn_seed(task.seed, _NOISE_STREAM))
        arrays = {
            name: _apply_attack(task.received[name], trained, lambda delta: spoil(delta, self._strength, rng))
            for name, trained in update.arrays.items()
        }
        return dataclasses.replace(update, arrays=arrays)


def sign_flip(delta: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Go the opposite way (Li et al. 2019, https://arxiv.org/abs/1811.03761, sign-flipping)."""
    return -strength * delta


def scale(delta: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Go the right way, much too far (model replacement: Bagdasaryan et al. 2020, https://arxiv.org/abs/1807.00459)."""
    return strength * delta


def gaussian(delta: Tensor, strength: float, rng: np.random.Generator) -> Tensor:
    """Go nowhere: noise `strength` times as large as the update (Blanchard et al. 2017, https://arxiv.org/abs/1703.02757)."""
    noise: Tensor = rng.standard_normal(delta.shape) * (strength * np.sqrt(np.mean(np.square(delta))))
    return noise


UpdateAttack = Callable[[Tensor, float, np.random.Generator], Tensor]

UPDATE_ATTACKS: Mapping[str, UpdateAttack] = {"sign-flip": sign_flip, "scale": scale, "gaussian": gaussian}


def flip_labels(prepared: PreparedData, classes: int) -> PreparedData:
    """Return a site whose training labels are mirrored: y becomes C - 1 - y (Fang et al. 2020, arxiv.org/abs/1911.11815).

    With a background that is class 0, it changes places with the last structure. Other splits stay as they are.

    Parameters
    ----------
    prepared : Prepared
        The site's cases.
    classes : int
        Number of classes C.
    """
    cases = tuple(_flip_label(case, classes - 1) if case.split == "train" else case for case in prepared.cases)
    return dataclasses.replace(prepared, cases=cases)


def _flip_label(case: PreparedCase, last: int) -> PreparedCase:
    label = case.label
    mirrored = last - label if isinstance(label, int) else np.asarray(last - label, label.dtype)
    # patches stay centred on what was foreground: which voxels an attacker looks at matters little
    same = {part.name: getattr(case, part.name) for part in dataclasses.fields(PreparedCase)}
    return PreparedCase(**{**same, "label": mirrored})


def _apply_attack(received: Tensor, trained: Tensor, spoil: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the received tensor moved by a spoilt update; counters, and tensors without an element, stay as trained."""
    if trained.dtype.kind != "f" or not trained.size:
        return trained
    delta = trained.astype(np.float64) - received
    return np.asarray(received + spoil(delta), trained.dtype)
