"""What the runs of a sweep have in common: the settings of each, with a budget of local steps that is matched to FedAvg's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from medfl.errors import ConfigError, Problem
from medfl.simulation.simulated_run import SimulatedRun
from medfl.simulation.strategy_specs import LOCAL, StrategySpec
from medfl.strategies.strategy_registry import build_strategy
from medfl.study import Study, study_from_run_config
from medfl.study.algorithms import ALGORITHMS
from medfl.study.study_file import Scalar


def matched_rounds(spec: StrategySpec, rounds: int, sites: int) -> int:
    """Return the number of rounds in which a strategy takes as many steps as FedAvg in `rounds` rounds, rounded.

    Examples
    --------
    Ditto trains two models:

    >>> [ditto], _ = parse_strategy_specs(["ditto"])
    >>> matched_rounds(ditto, 10, sites=4)
    5
    """
    algorithm = ALGORITHMS.get(spec.name)
    return max(1, round(rounds / (algorithm.factor(sites) if algorithm else 1.0)))


def check_seeds(study: Study, seeds: Sequence[int]) -> list[Problem]:
    """Return what is wrong with the seeds of a sweep."""
    start = study.start
    if not start.is_given or "new" not in (start.head, start.missing) or set(seeds) <= {study.seed}:
        return []
    what = "layers that the start weights lack are drawn from the seed, and the study holds the digest for one seed."
    return [Problem("--seeds", "start", what, "Compare with the study's own seed.")]


def config_of(base: SimulatedRun, spec: StrategySpec, seed: int) -> dict[str, Scalar]:
    """Return the run configuration of one run, without options that the study gives to another strategy."""
    keep_options = spec.name in (LOCAL, base.study.strategy.name)
    config = {key: v for key, v in base.run_config.items() if keep_options or not key.startswith("strategy.options.")}
    rounds = matched_rounds(spec, base.study.rounds, len(base.sites))
    return config | {"arms": "federated", **spec.overrides, "seed": seed, "rounds": rounds}


def check_specs(base: SimulatedRun, specs: Sequence[StrategySpec]) -> Iterator[Problem]:
    """Yield every problem that the study or the table of strategies has with a specification."""
    for spec in specs:
        try:
            study = study_from_run_config(config_of(base, spec, base.study.seed))
            if spec.name != LOCAL:
                build_strategy(study, study.quorum(enrolled=0))
        except ConfigError as error:
            yield from (_as_strategy_problem(spec, problem) for problem in error.problems)


def _as_strategy_problem(spec: StrategySpec, problem: Problem) -> Problem:
    where = "" if problem.key in ("(whole file)", "strategy.name") else f"{problem.key}: "
    return Problem("--strategies", spec.text, where + problem.what, problem.fix)
