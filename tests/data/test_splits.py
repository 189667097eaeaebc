from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from medfl.data.cases import Case, Source
from medfl.data.pseudonyms import patient_pseudonym, pseudonym, split_order
from medfl.data.splits import assign_splits
from medfl.errors import DataError

IMAGE = Source("nifti", (Path("a.nii"),))


def cases(patients: int, images: int = 1, classes: int = 0, splits: list[str] | None = None) -> list[Case]:
    return [
        Case(
            name=f"case-{p}-{i}",
            patient=f"pat-{p}",
            split_order=split_order(3, "north", str(p)),
            image=IMAGE,
            label=p % classes if classes else IMAGE,
            split=splits[p * images + i] if splits else "",  # type: ignore[arg-type]
        )
        for p in range(patients)
        for i in range(images)
    ]


def test_shares_are_of_patients_and_no_patient_crosses(make_study: Any) -> None:
    study = make_study(splits__validation=0.1, splits__test=0.2)
    found = assign_splits(cases(20, images=3), study, "north")
    assert Counter(found.values()) == {"train": 42, "test": 12, "validation": 6}  # 14, 4 and 2 patients of 3 images
    for p in range(20):
        assert len({found[f"case-{p}-{i}"] for i in range(3)}) == 1


def test_the_order_of_the_cases_does_not_matter(make_study: Any) -> None:
    study = make_study()
    assert assign_splits(cases(15), study, "north") == assign_splits(cases(15)[::-1], study, "north")


def test_all_patients_of_an_external_hospital_are_tested_whatever_its_index_says(make_study: Any) -> None:
    study = make_study(evaluation__external="north")
    for given in ([], ["train", "train", "", "test"]):
        assert set(assign_splits(cases(4, splits=given), study, "north").values()) == {"test"}
    assert "train" in assign_splits(cases(4), study, "south").values()


def test_someone_always_trains(make_study: Any) -> None:
    study = make_study(splits__validation=0.45, splits__test=0.5)
    assert list(assign_splits(cases(1), study, "north").values()) == ["train"]
    assert "train" in assign_splits(cases(2), study, "north").values()
    assert assign_splits([], study, "north") == {}


def test_every_split_sees_every_class(make_study: Any) -> None:
    study = make_study(task__kind="classification", task__classes="a,b,c", splits__validation=0.1, splits__test=0.1)
    found = assign_splits(cases(12, classes=3), study, "north")
    for label in range(3):
        assert Counter(found[f"case-{p}-0"] for p in range(12) if p % 3 == label) == {"train": 2, "validation": 1, "test": 1}


def test_splits_of_the_index_are_kept(make_study: Any) -> None:
    given = ["train", "train", "test", "test", "validation", "validation"]
    assert list(assign_splits(cases(3, images=2, splits=given), make_study(), "north").values()) == given
    with pytest.raises(DataError, match=r"SPLIT-LEAK.*1 patient"):
        assign_splits(cases(3, images=2, splits=["train", "test", *given[2:]]), make_study(), "north")
    with pytest.raises(DataError, match="SPLIT-MISSING"):
        assign_splits(cases(3, images=2, splits=["", "", *given[2:]]), make_study(), "north")


def test_pseudonyms_depend_on_secret_site_and_patient() -> None:
    names = {
        patient_pseudonym(secret, site, patient)
        for secret in (b"a" * 32, b"b" * 32)
        for site in ("north", "south")
        for patient in ("1", "2")
    }
    assert len(names) == 8
    assert all(name.startswith("pat-") and len(name) == 20 for name in names)
    assert pseudonym(b"s", "case", "a", "bc") != pseudonym(b"s", "case", "ab", "c")


def test_the_order_of_patients_does_not_depend_on_a_secret() -> None:
    assert split_order(1, "north", "p1") == split_order(1, "north", "p1")
    assert len({split_order(s, n, p) for s in (1, 2) for n in ("north", "south") for p in ("p1", "p2")}) == 8
