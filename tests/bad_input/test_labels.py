"""Bad labels: each is reported with its code and a remedy, and the good case next to it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from tests.bad_input.hospital import SHAPE, Hospital, check_problem, image_of, mask_of, save, study_of

CT, MR = study_of("segmentation"), study_of("segmentation", "MR")
Spoil = Callable[[Path], object]


def label(folder: Path, array: np.ndarray, affine: Any = None) -> None:
    save(folder / "label.nii.gz", array, sform=affine, qform=affine)


def moved(distance: float) -> np.ndarray:
    affine = np.eye(4)
    affine[0, 3] = distance
    return affine


def resampled() -> np.ndarray:
    return np.where(mask_of() == 1, np.float32(0.37), mask_of().astype(np.float32))


ERRORS: dict[str, tuple[Spoil, str, list[str]]] = {
    "16 another grid": (
        lambda p: label(p, mask_of((12, 10, 9))),
        "LBL-GEOMETRY",
        [
            "not on the same grid",
            "12x10x10 and 12x10x9",
            "another series",
            "label-geometry = 'resample'",
            "only if you are sure",
        ],
    ),
    "16 another place": (
        lambda p: label(p, mask_of(), moved(5.0)),
        "LBL-GEOMETRY",
        ["not on the same grid", r"5\.0+ mm", r"allowed 0\.50?"],
    ),
    "17 values of a resampling": (
        lambda p: label(p, resampled()),
        "LBL-VALUES",
        ["no whole numbers", "interpolation", "nearest neighbour"],
    ),
    "17 a value that the study does not know": (
        lambda p: label(p, mask_of() * np.uint8(7)),
        "LBL-VALUES",
        ["7", "0=background, 1=liver, 2=lesion"],
    ),
    "18 nothing marked": (
        lambda p: label(p, mask_of() * np.uint8(0)),
        "LBL-EMPTY",
        ["no marked voxel", "negatives = true", "annotated", "right file exported"],
    ),
    "19 no label": (
        lambda p: (p / "label.nii.gz").unlink(),
        "LBL-MISSING",
        ["label"],
    ),
    "a cut label": (
        lambda p: (p / "label.nii.gz").write_bytes((p / "label.nii.gz").read_bytes()[:60]),
        "NII-TRUNCATED",
        ["ends early"],
    ),
    "a label of an image's kind": (
        lambda p: label(p, np.stack([mask_of(), mask_of()], -1)),
        "LBL-CHANNELS",
        [],
    ),
}


@pytest.mark.parametrize("what", ERRORS)
def test_a_case_with_a_bad_mask_is_left_out_with_its_code_and_a_remedy(what: str, hospital: Hospital) -> None:
    spoil, code, words = ERRORS[what]
    hospital.nifti("good", image_of(1), mask_of())
    spoil(hospital.nifti("x", image_of(2), mask_of()))
    prepared = hospital.prepared(CT)
    errors = [finding for finding in prepared.findings if finding.level == "error"]
    assert len(errors) == 1, [str(finding) for finding in errors]
    assert errors[0].code in code.split("|")
    check_problem(errors[0], errors[0].code, words, hospital.folder)
    assert len(prepared.cases) == 1


def test_19_missing_labels_are_counted_in_one_line(hospital: Hospital) -> None:
    for number in range(3):
        hospital.nifti(str(number), image_of(number), mask_of())
    (hospital.data / "Doe_Jane_0" / "label.nii.gz").unlink()
    (hospital.data / "Doe_Jane_1" / "label.nii.gz").unlink()
    text = " ".join(str(finding) for finding in hospital.prepared(CT).findings)
    assert "LBL-MISSING" in text
    assert "Doe" not in text


def test_18_a_true_negative_may_be_stated(hospital: Hospital) -> None:
    hospital.nifti("x", image_of(2), mask_of() * np.uint8(0))
    hospital.nifti("y", image_of(3), mask_of())
    assert len(hospital.prepared(CT, negatives=True).cases) == 2


def exported_again(patient: Path) -> None:
    series = generate_uid()
    for path in (patient / "MR").iterdir():
        ds = pydicom.dcmread(path)
        ds.SeriesInstanceUID, ds.SOPInstanceUID = series, generate_uid()
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        ds.save_as(path)


def fewer(patient: Path) -> None:
    slices = sorted((patient / "MR").iterdir(), key=lambda path: pydicom.dcmread(path).ImagePositionPatient[2])
    slices[0].unlink()


def renamed(patient: Path) -> None:
    (path,) = (patient / "SEG").iterdir()
    ds = pydicom.dcmread(path)
    ds.SegmentSequence[0].SegmentLabel = "Tumour"
    ds.save_as(path)


SEGMENTATIONS: dict[str, tuple[Spoil, str, list[str]]] = {
    "20 drawn on another series": (
        exported_again,
        "LBL-WRONG-SERIES",
        [r"references 8 image\(s\), none of them in this series", "Choose the series it was drawn on", "label-match"],
    ),
    "20 drawn on more images": (fewer, "LBL-PARTIAL-REF", ["references 8 images, of which the series has 7"]),
    "21 a segment of another name": (
        renamed,
        "LBL-CLASSNAME",
        ["1 of 2 segments", "liver, lesion", "label-names", "site.toml"],
    ),
}


@pytest.mark.parametrize("what", SEGMENTATIONS)
def test_a_case_with_a_bad_dicom_segmentation_is_left_out(what: str, hospital: Hospital) -> None:
    spoil, code, words = SEGMENTATIONS[what]
    names = ("background", "grey-matter", "white-matter")
    hospital.brain(1)
    spoil(hospital.brain(2))
    prepared = hospital.prepared(
        MR, layout="dicom", min_slices=4, label_names=tuple(zip(names[1:], ("liver", "lesion"), strict=True))
    )
    errors = [finding for finding in prepared.findings if finding.level == "error"]
    assert [finding.code for finding in errors] == [code], [str(finding) for finding in errors]
    check_problem(errors[0], code, words, hospital.folder)
    assert len(prepared.cases) == 1


def test_a_float_mask_with_whole_numbers_is_a_good_label(hospital: Hospital) -> None:
    folder = hospital.nifti("x", image_of(2), mask_of())
    nibabel.save(nibabel.Nifti1Image(mask_of().astype(np.float64), np.eye(4)), folder / "label.nii.gz")
    assert len(hospital.prepared(CT).cases) == 1
    assert mask_of().shape == SHAPE
