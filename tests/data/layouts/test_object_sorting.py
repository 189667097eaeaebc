"""What is no image of the study costs nothing, and what may be one does not disappear."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import (
    BasicTextSRStorage,
    CTImageStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    RawDataStorage,
    RTDoseStorage,
    SecondaryCaptureImageStorage,
)

from medfl.data.cases import Cohort
from medfl.data.cohort import read_cohort
from medfl.data.load import load_case
from medfl.errors import DataError
from tests.data.layouts.dicom_export import errors, put, warnings

Read = Callable[..., Cohort]


def test_a_modality_that_says_nothing_does_not_make_an_image_disappear(root: Path, write_series: Any, read: Read) -> None:
    write_series(root / "a", put(PatientID="a"))
    write_series(root / "b", put(PatientID="b", Modality="OT"))
    write_series(root / "c", put(PatientID="c", Modality=None))  # its SOP class is that of CT
    cohort = read("abc")
    assert (len(cohort.cases), errors(cohort)) == (2, {"DCM-HEADER": 1})


def test_an_export_with_scouts_dose_pages_and_reports_loses_no_case(root: Path, write_series: Any, read: Read) -> None:
    for patient in "abcdef":
        same = {"PatientID": patient, "StudyInstanceUID": f"1.2.{ord(patient)}"}
        folder = root / patient
        write_series(folder / "ct", put(**same), count=12)
        write_series(folder / "scout", put(**same, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), count=2)
        write_series(folder / "dose", put(**same, SOPClassUID=SecondaryCaptureImageStorage), count=1)
        write_series(folder / "pet", put(**same, Modality="PT"), count=3)
        for sop_class in (
            *(BasicTextSRStorage, EncapsulatedPDFStorage, GrayscaleSoftcopyPresentationStateStorage, RTDoseStorage),
            *(RawDataStorage, "1.3.12.2.1107.5.9.1"),
        ):
            without = {"Rows": None, "Columns": None, "PixelData": None}
            write_series(folder / f"x{sop_class}", put(**same, **without, SOPClassUID=sop_class), count=1)
    cohort = read("abcdef")
    assert (len(cohort.cases), errors(cohort), warnings(cohort)) == (6, {}, {})
    assert all(len(case.image.paths) == 12 for case in cohort.cases)
    assert len(read("abcdef", layout="folders").cases) == 6


def test_a_study_of_which_only_the_scout_came_is_a_case_that_is_left_out(
    root: Path, write_series: Any, read: Read, make_site: Any, make_study: Any
) -> None:
    write_series(root / "a", put(PatientID="a"))
    write_series(root / "b", put(PatientID="b", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), count=2)
    write_series(root / "c", put(PatientID="c", SOPClassUID=SecondaryCaptureImageStorage), count=1)
    cohort = read("abc")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="CT")
    codes = []
    for case in cohort.cases:
        try:
            load_case(case, study, make_site(root))
        except DataError as error:
            codes.append(error.code)
    assert (len(cohort.cases), sorted(codes)) == (3, ["DCM-FEW-SLICES", "DCM-SOPCLASS"])


def test_a_short_or_damaged_series_of_the_study_does_not_pass_for_a_scout(root: Path, write_series: Any, read: Read) -> None:
    same = {"PatientID": "a", "StudyInstanceUID": "1.2.3"}

    def mixed(k: int, ds: Dataset) -> None:
        put(**same, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER" if k else "AXIAL"])(k, ds)

    write_series(root / "whole", put(**same))
    write_series(root / "short", put(**same), count=3)
    write_series(root / "no rows", put(**same, Rows=None, SOPClassUID=CTImageStorage), count=8)
    write_series(root / "mixed", mixed, count=3)
    cohort = read("a")
    assert len(cohort.cases) == 4  # all are read, and three of them refused then


def test_captures_may_be_the_images_of_an_x_ray_study(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    capture = {"SOPClassUID": SecondaryCaptureImageStorage, "Modality": "CR"}
    write_series(root / "a", put(PatientID="a", **capture), count=1)
    write_series(
        root / "b", put(PatientID="b", StudyInstanceUID="1.9", Modality="CR", SOPClassUID="1.2.840.10008.5.1.4.1.1.1"), count=1
    )
    write_series(root / "b2", put(PatientID="b", StudyInstanceUID="1.9", **capture), count=1)
    (root / "index.csv").write_text("patient,label\na,x\nb,y\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="XR", task__dimension=2)
    assert len(read_cohort(make_site(root, layout="dicom"), study).cases) == 2  # the page beside a radiograph is none
    assert len(read_cohort(make_site(root, layout="dicom", burned_in="allow"), study).cases) == 3


def test_an_image_by_itself_needs_a_modality(root: Path, write_series: Any, make_site: Any, make_study: Any) -> None:
    radiograph = "1.2.840.10008.5.1.4.1.1.1.1"
    for patient, modality in (("a", "DX"), ("b", None), ("c", "OT")):
        write_series(root / patient, put(PatientID=patient, Modality=modality, SOPClassUID=radiograph), count=1)
    (root / "index.csv").write_text("patient,label\na,x\nb,y\nc,y\n")
    study = make_study(task__kind="classification", task__classes="x,y", task__modality="XR", task__dimension=2)
    cohort = read_cohort(make_site(root, layout="dicom"), study)
    assert (len(cohort.cases), errors(cohort)) == (2, {"DCM-HEADER": 1})
