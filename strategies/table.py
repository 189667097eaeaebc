"""The strategies that a study may name."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points

from medfl.errors import ConfigError, Problem
from medfl.records import EVAL_PATIENTS, TRAIN_PATIENTS, TRAIN_SAMPLES
from medfl.settings import guess
from medfl.strategies.fedavg import FedAvg
from medfl.study import Study

Factory = Callable[[Study], FedAvg]

ENTRY_POINTS = "medfl.strategies"  # group in which an installed package offers a Factory of its own

_WEIGHTS = {"patients": TRAIN_PATIENTS, "samples": TRAIN_SAMPLES, "equal": ""}


def _fedavg(study: Study) -> FedAvg:
    chosen = study.strategy
    return FedAvg(
        weighted_by=_WEIGHTS[chosen.weights],
        evaluate_weighted_by=EVAL_PATIENTS,
        quorum=chosen.quorum,
        wait=chosen.wait,
        fraction=chosen.fraction,
        seed=study.seed,
    )


STRATEGIES: dict[str, Factory] = {"fedavg": _fedavg}


def build_strategy(study: Study) -> FedAvg:
    """Make the strategy that a study names.

    Parameters
    ----------
    study : Study
        Its table ``strategy`` decides.

    Returns
    -------
    FedAvg
        Set its ``site_names`` once the sites are known.

    Raises
    ------
    ConfigError
        When the name is neither in the table nor an installed entry point of the group ``medfl.strategies``, or the entry
        point makes something else than a `FedAvg`.
    """
    name = study.strategy.name
    offered = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in STRATEGIES:
        return STRATEGIES[name](study)
    if name not in offered:
        valid = {*STRATEGIES, *offered}
        what = f"came {name!r}, allowed: {', '.join(sorted(valid))}."
        raise ConfigError([Problem("pyproject.toml", "strategy.name", what, guess(name, valid))])
    strategy = offered[name].load()(study)
    if not isinstance(strategy, FedAvg):
        what = f"the entry point {name!r} made a {type(strategy).__name__}, expected a medfl.strategies.fedavg.FedAvg."
        raise ConfigError([Problem("pyproject.toml", "strategy.name", what)])
    return strategy
