"""What the schedule of a study leaves of the learning rate in a round, and how many of a hospital's own rounds it makes."""

from __future__ import annotations

from medfl.clients.training.schedules import lr_factor, study_progress
from medfl.study import Study

_POINTS = 4  # of a round, in which its learning rate may change


def round_rate(study: Study, server_round: int) -> float:
    """Return the mean factor on the learning rate in a round; a number beyond the study counts as its nearest round."""
    number = min(max(server_round, 1), study.rounds)
    points = (study_progress(number, point, _POINTS, study.rounds) for point in range(_POINTS))
    return sum(lr_factor(study.schedule, progress, study.rounds) for progress in points) / _POINTS


def count_own_rounds(study: Study, begin: int, end: int, rate: float) -> float:
    """Return how many of a hospital's own rounds move a model as far as the study moves it, at least the rounds themselves.

    Parameters
    ----------
    study : Study
        Its schedule decides.
    begin, end : int
        Rounds of training that two models have seen, in any order; equal ones count as one round apart.
    rate : float
        `round_rate` of the hospital's own rounds, the largest; 0 before it has trained.
    """
    low, high = min(begin, end), max(begin, end, 1)
    low = min(low, high - 1)
    if not rate:
        return high - low
    return max(float(high - low), sum(round_rate(study, number) for number in range(low + 1, high + 1)) / rate)
