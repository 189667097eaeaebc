"""Which arms of which seeds can be compared: those with scores of the same hospitals, and what is left out beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

import numpy as np

from medfl.evaluation.arm_runs import ArmRun
from medfl.evaluation.bootstrap import PatientScores
from medfl.evaluation.patient_results import Patient
from medfl.system.text import join_words, plural


def keep_complete(runs: Sequence[ArmRun]) -> tuple[list[ArmRun], list[str]]:
    """Keep the runs with scores of every hospital, on the patients that all of these have, in the same order.

    The hospitals are those where any federated arm was tested, as all others are compared with these. A run that lacks one,
    because a model failed there, would take its patients from every arm; so it is left out itself.

    Parameters
    ----------
    runs : sequence of ArmRun
        Arms of all seeds.

    Returns
    -------
    kept : list of ArmRun
    left_out : list of str
        One sentence for each arm of a seed, and each hospital's patients, that are left out.
    """
    federated = [run for run in runs if run.arm == "federated"] or runs
    hospitals = {hospital for run in federated for hospital in _hospitals_of(run)}
    kept, left_out = [], []
    for run in runs:
        if lacking := sorted({hospital for test in run.tests for hospital in hospitals - _names(test)}):
            some = "of some models " if any(hospital in _hospitals_of(run) for hospital in lacking) else ""
            what = f"no scores {some}on the test patients of {join_words(lacking)}"
            left_out.append(f"{run.title}, seed {run.seed}, is left out: it has {what}.")
        else:
            kept.append(run)
    if not kept:
        return [], left_out
    common = set.intersection(*(set(test.patients) for run in kept for test in run.tests))
    left_out += _missing_patients(kept, common)
    order = sorted(common)
    return [_take(run, order) for run in kept], left_out


def _missing_patients(kept: Sequence[ArmRun], common: Set[Patient]) -> Iterator[str]:
    missing = {patient for run in kept for test in run.tests for patient in test.patients} - common
    for hospital, count in sorted(Counter(hospital for hospital, _ in missing).items()):
        without = dict.fromkeys(
            f"{run.title} (seed {run.seed})"
            for run in kept
            if any(patient[0] == hospital and patient not in test.patients for test in run.tests for patient in missing)
        )
        told = f"{plural(count, 'test patient')} of {hospital} {'is' if count == 1 else 'are'} left out of all arms"
        yield f"{told}: without scores in {join_words(list(without))}."


def _hospitals_of(run: ArmRun) -> set[str]:
    return set.union(*(_names(test) for test in run.tests))


def _names(test: PatientScores) -> set[str]:
    return {hospital for hospital, _ in test.patients}


def _take(run: ArmRun, patients: Sequence[Patient]) -> ArmRun:
    test, *more = (_take_of(each, patients) for each in run.tests)
    return replace(run, test=test, more_tests=tuple(more))


def _take_of(test: PatientScores, patients: Sequence[Patient]) -> PatientScores:
    place = {patient: k for k, patient in enumerate(test.patients)}
    return test.take(np.array([place[patient] for patient in patients], dtype=np.int64))
