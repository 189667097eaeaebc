"""The balance of classes counts cases and patients, and a class that cannot be learned or tested is said, here only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from medfl.data.cases import Split
from medfl.data.quality.class_balance import CLASS_FEW, ClassCount, count_classes, find_empty_splits, find_small_classes
from medfl.data.quality.facts import CaseFacts, SiteCheck
from medfl.study import Study

StudyMaker = Callable[..., Study]


def case(number: int, patient: int, split: Split, *classes: int) -> CaseFacts:
    return CaseFacts(f"case-{number}", f"pat-{patient}", split, amounts=tuple((index, 1.0) for index in classes))


def test_cases_and_patients_are_counted_by_class_and_split(make_study: StudyMaker) -> None:
    study = make_study(task__classes="background,liver,lesion")
    cases = [case(1, 1, "train", 1, 2), case(2, 1, "train", 1), case(3, 2, "test", 1), case(4, 3, "validation", 1)]
    liver, lesion = count_classes(cases, study.task)
    assert liver == ClassCount("liver", 4, 3, {"train": 1, "validation": 1, "test": 1})
    assert lesion == ClassCount("lesion", 1, 1, {"train": 1, "validation": 0, "test": 0})
    (finding,) = find_small_classes((liver, lesion), study)
    assert (finding.code, finding.level, finding.case) == (CLASS_FEW, "warning", "")
    assert finding.what == "class 'lesion' has 1 case of 1 patient: here it cannot be validated or tested."


@pytest.mark.parametrize(
    ("patients", "by_split", "cannot"),
    [
        (9, (0, 1, 8), "learned"),
        (9, (8, 1, 0), "tested"),
        (2, (1, 0, 1), "validated"),
        (9, (8, 0, 1), ""),
        (9, (7, 1, 1), ""),
    ],
)
def test_a_split_without_a_class_is_said(patients: int, by_split: tuple[int, ...], cannot: str, make_study: StudyMaker) -> None:
    splits = dict(zip(("train", "validation", "test"), by_split, strict=True))
    other = ClassCount("other", 30, 30, {"train": 10, "validation": 10, "test": 10})
    found = find_small_classes([ClassCount("rare", patients, patients, splits), other], make_study())
    assert [finding.what.partition("cannot be ")[2] for finding in found] == ([f"{cannot}."] if cannot else [])


@pytest.mark.parametrize(
    ("splits", "lacking"),
    [
        ("train train validation", ["test"]),
        ("test validation", ["train"]),
        ("train test", ["validation"]),
        ("train validation test", []),
        ("", []),  # no case at all is another finding
    ],
)
def test_a_split_of_a_table_without_a_case_is_said(splits: str, lacking: list[str], make_study: StudyMaker) -> None:
    cases = [case(k, k, split, 1) for k, split in enumerate(splits.split())]  # type: ignore[arg-type]
    found = find_empty_splits(cases, make_study())
    assert [finding.code for finding in found] == ["SPLIT-EMPTY"] * len(lacking)
    assert all(split in finding.what for split, finding in zip(lacking, found, strict=True))


def test_a_class_without_cases_is_another_finding(make_study: StudyMaker) -> None:
    assert find_small_classes([ClassCount("gone", 0, 0, dict.fromkeys(("train", "validation", "test"), 0))], make_study()) == ()


def test_a_server_is_not_told_of_small_classes(make_study: StudyMaker) -> None:
    study = make_study()
    small: Any = find_small_classes([ClassCount("rare", 1, 1, {"train": 1, "validation": 0, "test": 0})], study)
    check = SiteCheck("north", study.name, study.task, (), (case(1, 1, "train", 1),), small, True, None, False)
    assert [finding.code for finding in check.all_findings] == [CLASS_FEW]
    assert check.to_prepared().findings == ()
