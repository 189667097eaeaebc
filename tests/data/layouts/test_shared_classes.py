"""Images that get one class, or are one kind, and differ in what they show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from tests.data.dicom.phantom import new_object

CHEST, PA, LATERAL, HAND = (
    {"BodyPartExamined": "CHEST"},
    {"ViewPosition": "PA"},
    {"ViewPosition": "LL"},
    {"BodyPartExamined": "HAND"},
)
_NUMBERS = np.random.default_rng(0)


@pytest.fixture
def read(tmp_path: Path, make_site: Any, make_study: Any) -> Callable[..., Cohort]:
    """Return a function that writes the X-rays of patients and reads them."""

    def read_it(patients: dict[str, list[dict[str, str]]], layout: str = "dicom", **data: Any) -> Cohort:
        root = tmp_path / "data"
        root.mkdir()
        rows = []
        for patient, images in patients.items():
            for number, values in enumerate(images):
                ds = new_object(DigitalXRayImageStorageForPresentation)
                ds.PatientID, ds.StudyInstanceUID, ds.SeriesInstanceUID = patient, f"1.2.{ord(patient[0])}", generate_uid()
                ds.Modality, ds.ImageType, ds.BurnedInAnnotation, ds.Rows, ds.Columns = (
                    "DX",
                    ["ORIGINAL", "PRIMARY"],
                    "NO",
                    6,
                    5,
                )
                ds.PixelData = _NUMBERS.integers(0, 4000, (6, 5)).astype("<u2").tobytes()
                for keyword, value in values.items():
                    setattr(ds, keyword, value)
                ds.save_as(root / f"{patient}-{number}.dcm", enforce_file_format=True)
                rows.append(f"{patient}-{number}.dcm,{patient},benign")
        table = [f"{patient},benign" for patient in patients]
        lines = ["image,patient,label", *rows] if layout == "csv" else ["patient,label", *table]
        (root / "index.csv").write_text("\n".join(lines))
        kind = {"task__kind": "classification", "task__classes": "benign,malignant", "task__modality": "XR"}
        return read_cohort(make_site(root, layout=layout, **data), make_study(**kind, task__dimension=2))

    return read_it


def told(cohort: Cohort, code: str) -> str:
    return " ".join(finding.what for finding in cohort.findings if finding.code == code)


def test_patients_with_several_images_under_one_label_are_counted_with_what_differs(read: Any) -> None:
    patients = {"a": [CHEST | PA, CHEST | LATERAL, HAND], "b": [CHEST | PA], "c": [CHEST | PA, CHEST | LATERAL]}
    cohort = read(patients)
    assert len(cohort.cases) == 6
    text = told(cohort, "LBL-SHARED")
    assert text.startswith("2 of 3 patient(s) have several images, up to 3, and one class for all of them.")
    assert "BodyPartExamined (CHEST, HAND)" in text
    assert "ViewPosition (LL, PA, none)" in text


def test_what_is_no_defined_term_is_only_counted(read: Any) -> None:
    names = [{"BodyPartExamined": "MUELLERS KNIE", "SeriesDescription": "Frau X"}, {"SeriesDescription": "Frau Y"}]
    text = told(read({"a": [*names, CHEST], "b": [CHEST]}), "LBL-SHARED")
    assert "BodyPartExamined (CHEST, 1 other value(s), none)" in text
    assert "SeriesDescription (2 different value(s), none)" in text
    assert "MUELLER" not in text
    assert "Frau" not in text


def test_a_selection_settles_it(read: Any) -> None:
    cohort = read({"a": [CHEST | PA, CHEST | LATERAL], "b": [CHEST | PA]}, select="ViewPosition=PA")
    assert len(cohort.cases) == 2
    assert told(cohort, "LBL-SHARED") == told(cohort, "IMG-MIXED") == ""


def test_an_index_with_a_row_for_each_image_shares_nothing_but_may_mix(read: Any) -> None:
    cohort = read({"a": [CHEST | PA, CHEST | LATERAL], "b": [CHEST | PA]}, "csv")
    assert told(cohort, "LBL-SHARED") == ""
    assert told(cohort, "IMG-MIXED") == "the X-rays differ in ViewPosition (LL, PA)."


def test_one_image_of_each_patient_may_still_show_different_things(read: Any) -> None:
    cohort = read({"a": [CHEST | PA], "b": [HAND], "c": [CHEST | PA]})
    assert told(cohort, "LBL-SHARED") == ""
    assert told(cohort, "IMG-MIXED") == "the X-rays differ in BodyPartExamined (CHEST, HAND)."


def test_images_that_do_not_differ_are_still_told(read: Any) -> None:
    text = told(read({"a": [CHEST | PA, CHEST | PA], "b": [CHEST | PA]}), "LBL-SHARED")
    assert text.endswith("and one class for all of them.")


def test_healthy_data_is_told_nothing(read: Any) -> None:
    cohort = read({"a": [CHEST | PA], "b": [CHEST | PA], "c": [PA]})
    assert told(cohort, "LBL-SHARED") == told(cohort, "IMG-MIXED") == ""
