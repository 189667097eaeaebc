"""Splits into training, validation and test, by patient: nobody is in two of them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal

from medfl.data.cases import Case, Split
from medfl.errors import DataError
from medfl.study import Study


def assign_splits(cases: Sequence[Case], study: Study, site: str) -> dict[str, Split]:
    """Assign every case of one site to a split, by patient.

    Patients are taken in the keyed order of their ids: first the test share, then the validation share, the rest trains. In
    classification this is done within each class, so that every split sees every class that has enough patients. A site whose
    index names splits keeps them. All patients of an external hospital (`evaluation.external`) are test patients.

    Parameters
    ----------
    cases : sequence of Case
        All usable cases of the site.
    study : Study
        Gives the shares.
    site : str
        Name of the site, by which it may be external.

    Returns
    -------
    dict of str to str
        ``"train"``, ``"validation"`` or ``"test"`` for the name of each case.

    Raises
    ------
    DataError
        ``SPLIT-LEAK`` when a patient is in two splits, whom `medfl.data.cohort.read_cohort` leaves out; ``SPLIT-MISSING``
        when the index names splits for only some of the cases.
    """
    if site in study.evaluation.external:
        return {case.name: "test" for case in cases}
    patients: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        patients[case.patient].append(case)
    given = [case for case in cases if case.split]
    by_patient = _check_given_splits(patients, all(case.split for case in cases)) if given else _draw_splits(patients, study)
    return {case.name: by_patient[case.patient] for case in cases}


def needed_split(study: Study, site: str) -> Literal["train", "test"]:
    """Return the split without which a site can do nothing: training, or the test of an external hospital."""
    return "test" if site in study.evaluation.external else "train"


def find_torn_patients(cases: Sequence[Case]) -> set[str]:
    """Return the pseudonyms of the patients whom an index puts into more than one split."""
    splits: dict[str, set[str]] = defaultdict(set)
    for case in cases:
        splits[case.patient].add(case.split)
    return {patient for patient, theirs in splits.items() if len(theirs) > 1}


def torn_patient_error(patients: int) -> DataError:
    """Return the error of patients whom an index puts into more than one split: none of their cases can be used."""
    what = f"{patients} patient(s), of whom this is one, are in more than one split of the index; they are left out."
    return DataError("SPLIT-LEAK", what, "One patient must be in one split; remove the column 'split' to let medfl split.")


def _check_given_splits(patients: Mapping[str, Sequence[Case]], complete: bool) -> dict[str, Split]:
    if not complete:
        fix = "Fill the column 'split' in every row, or remove it to let medfl split by patient."
        raise DataError("SPLIT-MISSING", "the index names a split for some cases only.", fix)
    if torn := find_torn_patients([case for theirs in patients.values() for case in theirs]):
        raise torn_patient_error(len(torn))
    return {patient: theirs[0].split for patient, theirs in patients.items()}


def _draw_splits(patients: Mapping[str, Sequence[Case]], study: Study) -> dict[str, Split]:
    by_class = study.task.kind == "classification"
    strata: dict[int, list[str]] = defaultdict(list)
    for patient, theirs in patients.items():
        strata[_stratum(theirs) if by_class else 0].append(patient)
    result: dict[str, Split] = {}
    for members in strata.values():
        members.sort(key=lambda patient: (patients[patient][0].split_order, patient))
        test, validation = _split_sizes(len(members), study, every_split=by_class)
        for rank, patient in enumerate(members):
            result[patient] = "test" if rank < test else "validation" if rank < test + validation else "train"
    return result


def _stratum(cases: Sequence[Case]) -> int:
    """Return the most frequent class of a patient, the lowest of equals."""
    counts = Counter(case.label for case in cases if isinstance(case.label, int))
    return min(counts, key=lambda label: (-counts[label], label), default=-1)


def _split_sizes(patients: int, study: Study, *, every_split: bool) -> tuple[int, int]:
    shares = (study.splits.test, study.splits.validation)
    test, validation = (math.floor(share * patients + 0.5 + 1e-9) for share in shares)  # half goes up
    if every_split and patients > sum(share > 0 for share in shares):
        test, validation = max(test, int(shares[0] > 0)), max(validation, int(shares[1] > 0))
    while test + validation > max(patients - 1, 0):
        if validation >= test:
            validation -= 1
        else:
            test -= 1
    return test, validation
