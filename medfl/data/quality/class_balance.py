"""Balance of classes: how many cases and patients each has, in all and in each split, and which are too small."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from medfl.data.findings import Finding
from medfl.data.layouts.table_description import ValueCount
from medfl.data.quality.facts import CaseFacts
from medfl.study import Study
from medfl.study.task import Task
from medfl.system.text import plural

SPLITS = ("train", "validation", "test")
_WORK = {"train": "learned", "validation": "validated", "test": "tested"}
CLASS_FEW = "CLASS-FEW"


@dataclass(frozen=True)
class ClassCount:
    """Cases and patients of a class.

    Parameters
    ----------
    name : str
        The class.
    cases, patients : int
        Usable cases in which it occurs, and their patients.
    by_split : mapping of str to int
        Its patients in each split.
    """

    name: str
    cases: int
    patients: int
    by_split: Mapping[str, int]


def count_classes(cases: Iterable[CaseFacts], task: Task | None) -> tuple[ClassCount, ...]:
    """Return the balance of the classes of a task, without the background of masks; nothing where no label was read."""
    usable = [case for case in cases if case.usable and case.amounts]
    if task is None or not usable:
        return ()
    first = 1 if task.kind == "segmentation" else 0
    return tuple(_count_class(index, name, usable) for index, name in enumerate(task.classes) if index >= first)


def _count_class(index: int, name: str, cases: Sequence[CaseFacts]) -> ClassCount:
    holding = [case for case in cases if any(index == one for one, _ in case.amounts)]
    by_split = {split: len({case.patient for case in holding if case.split == split}) for split in SPLITS}
    return ClassCount(name, len(holding), len({case.patient for case in holding}), by_split)


def find_small_classes(classes: Iterable[ClassCount], study: Study) -> tuple[Finding, ...]:
    """Return a warning for each class that has cases, but no patient in some split.

    They are for the site's own eyes: how few patients a class has may be what the policy keeps here.

    Parameters
    ----------
    classes : iterable of ClassCount
        Balance of the usable cases. A class without any case is ``LBL-NO-CLASS``.
    study : Study
        Says which splits there are.
    """
    classes, wanted = tuple(classes), _list_splits(study)
    used = {split for count in classes for split, patients in count.by_split.items() if patients}
    findings = []
    for count in classes:
        lacking = [split for split in wanted if not count.by_split[split]]
        if count.patients >= len(wanted):
            # enough of them: that the validation has none, or the site no test, is not their fault
            lacking = [split for split in lacking if split in used and split != "validation"]
        if count.cases and lacking:
            findings.append(small_class_warning(count.name, count.cases, count.patients, lacking))
    return tuple(findings)


def find_empty_splits(cases: Iterable[CaseFacts], study: Study) -> tuple[Finding, ...]:
    """Return a warning for each split of a study that no usable case is in, where a table gives the splits.

    Parameters
    ----------
    cases : iterable of CaseFacts
        Cases with the splits that the table gives.
    study : Study
        Says which splits there are.
    """
    used = {case.split for case in cases if case.usable}
    lacking = [split for split in _list_splits(study) if split not in used] if used else []
    fix = "Put patients into it in the column 'split', or remove the column to let medfl split; if it is meant so, leave it."
    what = "the column 'split' puts no case into {}: nothing can be {} here."
    return tuple(Finding.warning("SPLIT-EMPTY", what.format(split, _WORK[split]), fix) for split in lacking)


def _list_splits(study: Study) -> list[str]:
    """Return the splits that a study has."""
    shares = {"train": 1.0, "validation": study.splits.validation, "test": study.splits.test}
    return [split for split in SPLITS if shares[split] > 0]


def find_small_values(values: Iterable[ValueCount]) -> tuple[Finding, ...]:
    """Return a warning for each class of a table with fewer patients (or rows, if it names none) than there are splits."""
    few = [one for one in values if (one.patients or one.rows) < len(SPLITS)]
    return tuple(small_class_warning(one.value, one.rows, one.patients) for one in few)


def small_class_warning(name: str, cases: int, patients: int, lacking: Sequence[str] = ()) -> Finding:
    """Return the warning about a class, with the splits that have none of it where they are known."""
    held = plural(cases, "case") + (f" of {plural(patients, 'patient')}" if patients else "")
    work = " or ".join(_WORK[split] for split in lacking)
    so = f"here it cannot be {work}" if lacking else "too few for each split to have one"
    fix = "Add patients of this class, or join it with another; other hospitals may have more of it."
    return Finding.warning(CLASS_FEW, f"class {name!r} has {held}: {so}.", fix)
