"""How long the runs of a sweep will take, told before they are started."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from medfl.data.cohort import read_cohort
from medfl.data.splits import assign_splits
from medfl.errors import MedflError
from medfl.runs.history import Event, is_complete_round, read_history
from medfl.simulation.embedded_engine import default_workers
from medfl.simulation.sweep_runner import PlannedRun, Sweep
from medfl.site import Site
from medfl.study import Study
from medfl.study.algorithms import ALGORITHMS


@dataclass(frozen=True)
class RunTime:
    """Time that the runs of a sweep will take that are not completed.

    Parameters
    ----------
    seconds : float, optional
        About how long; None where it is not known.
    basis : {"runs", "step", ""}
        What tells it: completed runs of the sweep, or a step that was measured, without preparing, loading and scoring.
    count : int
        Number of those runs, or of the steps that are to be taken.
    """

    seconds: float | None
    basis: Literal["runs", "step", ""] = ""
    count: int = 0


def estimate_time(sweep: Sweep, workers: int = 0) -> RunTime:
    """Estimate how long the runs will take that are not completed.

    Parameters
    ----------
    sweep : Sweep
        The runs.
    workers : int
        Hospitals that train at the same time; 0: as many as the machine has cores for.
    """
    waiting = [planned for planned in sweep.runs if planned.finished is None]
    if not waiting:
        return RunTime(0.0, "runs", len(sweep.runs))
    done = [(planned, read_history(planned.finished)) for planned in sweep.runs if planned.finished]
    if rounds := sum(planned.rounds for planned, _ in done):
        per_round = sum(_seconds_of(events) for _, events in done) / rounds
        return RunTime(per_round * sum(map(_rounds_left, waiting)), "runs", len(done))
    try:
        return _measure(waiting, workers)
    except MedflError:  # of the data or the device: the run itself says what is wrong
        return RunTime(None)


def _measure(waiting: Sequence[PlannedRun], workers: int) -> RunTime:
    from medfl.clients.training.batches import count_steps
    from medfl.clients.training.step_time import measure_step

    sites, study = waiting[0].simulation.sites, waiting[0].simulation.study
    seconds = measure_step(study, sites[0])
    if seconds is None:
        return RunTime(None)
    counts = [count for site in sites if (count := _count_training_cases(site, study))]
    steps, parallel = count_steps(study, *counts), workers or default_workers(len(sites), study.training.threads)
    counted = [(arm, _count_steps(each, arm, steps)) for each in waiting for arm in each.simulation.study.arms]
    at_once = max(1, min(parallel, len(counts)))
    in_turn = sum(count / (1 if arm == "pooled" else at_once) for arm, count in counted)  # one place is one process
    return RunTime(seconds * in_turn, "step", round(sum(count for _, count in counted)))


def _count_steps(planned: PlannedRun, arm: str, steps: int) -> float:
    """Return the optimizer steps of an arm, of which FedAvg takes `steps` in a round at all sites together."""
    study = planned.simulation.study
    algorithm = ALGORITHMS.get(study.strategy.name) if arm == "federated" else None
    factor = algorithm.factor(len(planned.simulation.sites)) if algorithm else 1.0
    return steps * factor * study.rounds_of(arm)


def _count_training_cases(site: Site, study: Study) -> int:
    return list(assign_splits(read_cohort(site, study).cases, study, site.name).values()).count("train")


def _rounds_left(planned: PlannedRun) -> int:
    """Return the rounds that a run has still to do; one that broke off has done some."""
    done = [event for event in read_history(planned.simulation.run) if event["event"] == "round" and is_complete_round(event)]
    return max(0, planned.rounds - len(done))


def _seconds_of(events: Iterable[Event]) -> float:
    """Return how long a run took: to its end, or, where it was resumed, its rounds at least."""
    timed = [event for event in events if "seconds" in event]
    rounds = sum(float(event["seconds"]) for event in timed if event["event"] == "round")
    return max([rounds, *(float(event["seconds"]) for event in timed if event["event"] == "end")])
