"""How fast the model of a study may move in a round, as far as the study tells, beside what a hospital's own steps move it."""

from __future__ import annotations

import math
from typing import NamedTuple

from medfl.schema import read_section
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS

_LARGE_HOSPITAL = 200  # steps of an epoch at a large hospital, in studies that count in epochs
_ADAPTIVE = ("fedadam", "fedyogi", "fedadagrad")
_CORRECTED = 8.0  # of FedDyn, in its first rounds
_FIRST_CORRECTION = 2.5  # largest step of Adam at the server beside its learning rate, in the first rounds


class Pace(NamedTuple):
    """What the study tells about the speed of its model.

    Parameters
    ----------
    factor : float
        By how much the server, and hospitals with more images, may move the model further than one hospital's training.
    server_step : float
        Further movement of each weight in a round, whatever the hospitals' updates: the step of an adaptive server.
    blind_step : float
        Movement of each weight that a hospital expects as long as it has not trained itself.
    path_length : float
        Sum of the learning rates of a round of this hospital, with momentum.
    """

    factor: float
    server_step: float
    blind_step: float
    path_length: float


def expect_pace(study: Study, arm: str, steps: int = 0, rounds: int = 0, rate: float = 1.0) -> Pace:
    """Return the speed that a study makes possible.

    Parameters
    ----------
    study : Study
        Its optimizers and its strategy decide.
    arm : str
        Arm of the comparison; a hospital that trains alone has no strategy.
    steps : int
        Steps of this hospital's own rounds, as far as it knows them.
    rounds : int
        Rounds of training that the model may have seen.
    rate : float
        What the schedule leaves of the learning rate, for the length of the path.
    """
    training, local = study.training, study.optimizer
    usual = training.local_steps or training.local_epochs * _LARGE_HOSPITAL
    full = local.learning_rate / (1.0 - local.momentum if local.name == "sgd" else 1.0)
    blind, path = full * usual, full * rate * (steps or usual)
    if arm == "local":
        return Pace(1.0, 0.0, blind, path)
    more = math.sqrt(max(1.0, usual / steps)) if steps else 1.0  # steps go partly to and fro
    return Pace(_server_factor(study, rounds) * more, _server_step(study), blind, path)


def _server_factor(study: Study, rounds: int) -> float:
    if study.strategy.name == "cyclic":  # a round is training at one hospital after the other
        return float(study.max_sites)
    if study.strategy.name == "feddyn":  # adds what all earlier rounds have changed, until the sites oppose it
        return max(_CORRECTED, float(rounds))
    factor = 1.0 if study.strategy.name in _ADAPTIVE else max(1.0, _option(study, "server_learning_rate"))
    return factor / (1.0 - _option(study, "momentum"))


def _server_step(study: Study) -> float:
    return _option(study, "server_learning_rate") * _FIRST_CORRECTION if study.strategy.name in _ADAPTIVE else 0.0


def _option(study: Study, key: str) -> float:
    """Return an option of the strategy, 0 where it has none of that name or it is no number."""
    known = ALGORITHMS.get(study.strategy.name)
    given = dict(study.strategy.options)
    values = read_section(known.options, given, "pyproject.toml").model_dump() if known else given
    value = values.get(key, 0.0)
    return float(value) if isinstance(value, int | float) else 0.0
