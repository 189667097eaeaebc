"""The learning rate as a function of the progress of the whole study."""

from __future__ import annotations

import math

from medfl.study.sections import Schedule


def study_progress(server_round: int, step: int, steps: int, rounds: int) -> float:
    """Return the progress of a study in the middle of an optimizer step, from 0 to 1, counted across rounds.

    Parameters
    ----------
    server_round : int
        Number of the round, from 1.
    step, steps : int
        Step of this round, from 0, and their number.
    rounds : int
        Rounds of the study.

    Examples
    --------
    >>> study_progress(server_round=2, step=0, steps=1, rounds=4)
    0.375
    """
    return (server_round - 1 + (step + 0.5) / steps) / rounds


def lr_factor(schedule: Schedule, progress: float, rounds: int) -> float:
    """Return the factor on the learning rate.

    Parameters
    ----------
    schedule : Schedule
        The table ``schedule`` of the study. Its warm-up rises linearly from 0 to 1; then ``polynomial`` falls as
        (1 - p) ^ power and ``cosine`` as (1 + cos(pi p)) / 2 (Loshchilov and Hutter 2017), where p is the progress after the
        warm-up.
    progress : float
        0 to 1, of the whole study.
    rounds : int
        Rounds of the study; the warm-up is given in rounds.

    Examples
    --------
    >>> lr_factor(Schedule(name="polynomial", power=1.0), progress=0.25, rounds=4)
    0.75
    """
    warm = min(schedule.warmup_rounds / rounds, 1.0)
    if progress < warm:
        return progress / warm
    done = min((progress - warm) / (1.0 - warm), 1.0) if warm < 1.0 else 0.0
    if schedule.name == "polynomial":
        return float((1.0 - done) ** schedule.power)
    if schedule.name == "cosine":
        return (1.0 + math.cos(math.pi * done)) / 2.0
    return 1.0
