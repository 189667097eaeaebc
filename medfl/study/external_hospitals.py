"""External hospitals: they take no part in training nor in the choice of a model, and every arm is tested on them at the end.

A score over hospitals that took part says little of others, whose scanners and patients no round has seen (external validation,
TRIPOD+AI 2024, item 12). All usable patients of an external hospital are test patients.
"""

from __future__ import annotations

from collections.abc import Collection

from medfl.errors import ConfigError, Problem
from medfl.study.study import Study
from medfl.study.study_file import STUDY_FILE
from medfl.system.text import join_words, plural


def check_external(study: Study, names: Collection[str]) -> None:
    """Check the external hospitals of a study against the hospitals of a simulation.

    Parameters
    ----------
    study : Study
        Names the external hospitals.
    names : collection of str
        Names of all hospitals in the data.

    Raises
    ------
    ConfigError
        When one is not in the data, or too few hospitals are left to train.
    """
    external = set(study.evaluation.external)
    if unknown := sorted(external - set(names)):
        what = f"there is no hospital {join_words(list(map(repr, unknown)), 'or')} in the data."
        raise _refuse(what, f"Name some of these: {join_words(sorted(names))}.")
    left = len(set(names) - external)
    if external and not left:
        raise _refuse("all hospitals of the data are external, so that none is left to train.", "Name fewer.")
    if external and left < (needed := max(study.strategy.quorum, study.strategy.sites)):
        what = f"{plural(left, 'hospital is', 'hospitals are')} left to train, and the study asks for {needed}."
        raise _refuse(what, "Name fewer, or lower strategy.quorum and strategy.sites.")


def _refuse(what: str, fix: str) -> ConfigError:
    return ConfigError([Problem(STUDY_FILE, "evaluation.external", what, fix)])
