"""Names of the strategies that a study may have where it is run: medfl's own, and those of other installed packages."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from medfl.errors import Problem
from medfl.errors.validation import did_you_mean
from medfl.study.algorithms import ALGORITHMS
from medfl.study.study_file import STUDY_FILE

ENTRY_POINTS = "medfl.strategies"  # group in which an installed package offers a StrategyFactory


def offered_strategies() -> dict[str, EntryPoint]:
    """Return the entry points of the strategies that other installed packages offer, by name."""
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def strategy_problems(name: object) -> tuple[Problem, ...]:
    """Return why no strategy of this name can be run here; nothing when it can, or when it is no name at all."""
    if not isinstance(name, str) or name in ALGORITHMS or name in (offered := offered_strategies()):
        return ()
    valid = {*ALGORITHMS, *offered}
    what = f"came {name!r}, allowed: {', '.join(sorted(valid))}."
    return (Problem(STUDY_FILE, "strategy.name", what, did_you_mean(name, valid)),)
