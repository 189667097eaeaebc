"""Visits in the folders of patients, and patients in the folders of visits, are cases of their patient where names say so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort

IMAGE = np.random.default_rng(0).random((4, 4, 4)).astype("f4")
MASK = np.ones((4, 4, 4), "u1")
PATIENTS = ("P001", "P002", "P003")


@pytest.fixture
def read(tmp_path: Path, save_nifti: Any, make_site: Any, make_study: Any) -> Any:
    """Return a function that reads three patients with two images each, in files of given names."""

    def read_it(*names: str, masks: bool = True, **data: Any) -> Cohort:
        root = tmp_path / "data"
        for n, patient in enumerate(PATIENTS):
            for k, name in enumerate(names):
                path = root / f"{name.format(patient)}.nii.gz"
                save_nifti(path, IMAGE + 10 * n + k)
                if masks:
                    save_nifti(path.with_name(path.name.replace("image", "label")), MASK)
        return read_cohort(make_site(root, layout="folders", **data), make_study())

    return read_it


def codes(cohort: Cohort) -> set[str]:
    return {finding.code for finding in cohort.findings}


@pytest.mark.parametrize(
    "names",
    [
        ("{0}/visit1/image", "{0}/visit2/image"),
        ("{0}/V1/image", "{0}/V2/image"),
        ("{0}/Besuch1/image", "{0}/Verlauf2/image"),
        ("{0}/2021-05-03/image", "{0}/2022-05-17/image"),
        ("{0}/baseline/anat/image", "{0}/followup/anat/image"),
        ("{0}/{0}_V1/image", "{0}/{0}_V2/image"),
        ("{0}/{0}_visit1/{0}_visit1_image", "{0}/{0}_visit2/{0}_visit2_image"),
        ("{0}/visit1_image", "{0}/visit2_image"),
        ("{0}/{0}_V1_image", "{0}/{0}_V2_image"),
        ("{0}/image_left", "{0}/image_right"),
        ("visit1/{0}/image", "visit2/{0}/image"),
        ("2021-05-03/{0}/{0}_image", "2022-05-17/{0}/{0}_image"),
    ],
)
def test_visits_are_cases_of_their_patient(read: Any, names: tuple[str, ...]) -> None:
    cohort = read(*names)
    assert (len(cohort.cases), len({case.patient for case in cohort.cases})) == (6, 3)
    assert not codes(cohort) & {"IMG-SEVERAL", "ID-VISIT"}
    assert "left" in names[0] or "LBL-NAME" not in codes(cohort)  # a mask of one side is told


@pytest.mark.parametrize(
    "names",
    [
        ("{0}/T1/image", "{0}/T2/image"),  # sequences, perhaps of one visit
        ("{0}/visit1_T1_image", "{0}/visit1_T2_image"),
        ("{0}/a/image", "{0}/b/image"),
        ("{0}/image", "{0}/visit2/image"),
        ("north/{0}/image", "south/{0}/image"),  # hospitals, whose P001 may be another person
    ],
)
def test_what_may_be_something_else_than_visits_is_refused_with_a_remedy_that_loses_nothing(read: Any, names: Any) -> None:
    cohort = read(*names)
    assert not cohort.cases
    (fix,) = {finding.fix for finding in cohort.findings if finding.code == "IMG-SEVERAL"}
    assert fix.startswith("If these are several cases of a patient, list them in an index.csv with the columns image, label")


def test_a_visit_without_a_mask_costs_only_itself(read: Any, tmp_path: Path) -> None:
    read("{0}/visit1/image", "{0}/visit2/image")
    (tmp_path / "data/P001/visit2/label.nii.gz").unlink()
    cohort = read()
    assert (len(cohort.cases), codes(cohort) & {"LBL-MISSING", "IMG-SEVERAL"}) == (5, {"LBL-MISSING"})


def test_a_pattern_that_chooses_one_image_of_the_patient_still_does(read: Any) -> None:
    cohort = read("{0}/visit1/image", "{0}/visit2/image", image="visit1/image*", label="visit1/label*")
    assert (len(cohort.cases), len({case.patient for case in cohort.cases})) == (3, 3)
