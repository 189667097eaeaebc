"""Simulated hospitals that misbehave, to see what each robust rule withstands. A real hospital never comes here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.clients.algorithms.base import Half
from medfl.clients.training.loop import stream
from medfl.clients.training.task import Update, Work
from medfl.data.store.stored import Prepared, StoredCase
from medfl.errors import ConfigError, Problem
from medfl.study.sections import Simulation

Tensor = NDArray[Any]

_NOISE = 200  # stream of random numbers of its own


def attackers_of(simulation: Simulation, sites: Collection[str]) -> frozenset[str]:
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


def misled(half: Half, simulation: Simulation, site: str, sites: Collection[str]) -> Half:
    """Return the half that a simulated site uses: its own, or one that attacks.

    Parameters
    ----------
    half : Half
        The honest one.
    simulation : Simulation
        Says which attack, by whom, and how strong.
    site : str
        Name of the site at hand.
    sites : collection of str
        Names of all sites.
    """
    return Attacker(half, simulation) if site in attackers_of(simulation, sites) else half


class Attacker(Half):
    """Train as the honest half does, and spoil either the labels that it learns from or the update that it made.

    What an algorithm sends beside the model stays honest, and so do the metrics: an attacker tells a fine loss.

    Parameters
    ----------
    half : Half
        The honest one.
    simulation : Simulation
        Its ``attack`` and ``attack_strength`` decide.
    """

    def __init__(self, half: Half, simulation: Simulation) -> None:
        self._half, self._attack, self._strength = half, simulation.attack, simulation.attack_strength

    def train(self, work: Work) -> Update:
        """Do the work of one training message, badly."""
        if self._attack == "label-flip":
            return self._half.train(dataclasses.replace(work, prepared=flipped(work.prepared, len(work.study.task.classes))))
        update = self._half.train(work)
        spoil, rng = UPDATES[self._attack], np.random.default_rng(stream(work.seed, _NOISE))
        arrays = {
            name: _moved(work.received[name], trained, lambda delta: spoil(delta, self._strength, rng))
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


Spoil = Callable[[Tensor, float, np.random.Generator], Tensor]

UPDATES: Mapping[str, Spoil] = {"sign-flip": sign_flip, "scale": scale, "gaussian": gaussian}


def flipped(prepared: Prepared, classes: int) -> Prepared:
    """Return a site whose training labels are mirrored: y becomes C - 1 - y (Fang et al. 2020, arxiv.org/abs/1911.11815).

    With a background that is class 0, it changes places with the last structure. Other splits stay as they are.

    Parameters
    ----------
    prepared : Prepared
        The site's cases.
    classes : int
        Number of classes C.
    """
    cases = tuple(_flip(case, classes - 1) if case.split == "train" else case for case in prepared.cases)
    return dataclasses.replace(prepared, cases=cases)


def _flip(case: StoredCase, last: int) -> StoredCase:
    label = case.label
    mirrored = last - label if isinstance(label, int) else np.asarray(last - label, label.dtype)
    # patches stay centred on what was foreground: which voxels an attacker looks at matters little
    same = {part.name: getattr(case, part.name) for part in dataclasses.fields(StoredCase)}
    return StoredCase(**{**same, "label": mirrored})


def _moved(received: Tensor, trained: Tensor, spoil: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the received tensor moved by a spoilt update; counters, and tensors without an element, stay as trained."""
    if trained.dtype.kind != "f" or not trained.size:
        return trained
    delta = trained.astype(np.float64) - received
    return np.asarray(received + spoil(delta), trained.dtype)
