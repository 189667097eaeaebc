"""Bad NIfTI files: each is reported with its code and a remedy, and the good image next to it is used."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.bad_input.hospital import SHAPE, Hospital, check_problem, image_of, save, study_of

CT = study_of("classification")
MOVED = np.array([[1.0, 0, 0, 10], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])


def nan() -> np.ndarray:
    values = image_of(3)
    values.reshape(-1)[:41] = np.nan
    return values


def nearly_constant() -> np.ndarray:
    values = np.zeros(SHAPE, np.float32)
    values.reshape(-1)[:2] = 100
    return values


def cut(folder: Path) -> None:
    (path,) = folder.iterdir()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def in_metres(folder: Path) -> None:
    image = nibabel.Nifti1Image(image_of(4), np.eye(4))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, next(folder.iterdir()))


def replaced(content: bytes) -> Callable[[Path], object]:
    return lambda folder: next(folder.iterdir()).write_bytes(content)


Spoil = Callable[[Path], object]
ERRORS: dict[str, tuple[Spoil, str, list[str]]] = {
    "13 voxels that are not numbers": (
        lambda p: save(next(p.iterdir()), nan()),
        "IMG-NAN",
        ["41 voxels are not numbers", "Replace them", "convert"],
    ),
    "13 one value nearly everywhere": (
        lambda p: save(next(p.iterdir()), nearly_constant()),
        "IMG-CONST",
        [r"99\.83? % of the voxels have one value"],
    ),
    "one value": (lambda p: save(next(p.iterdir()), np.ones(SHAPE, np.float32)), "IMG-CONST", ["one value"]),
    "14 two positions": (
        lambda p: save(next(p.iterdir()), image_of(3), qform=MOVED),
        "NII-FORMS",
        [r"qform and sform\) differ by 10\.0 mm", "programs disagree", "nifti-form"],
    ),
    "15 no orientation": (
        lambda p: save(next(p.iterdir()), image_of(3), codes=(0, 0)),
        "NII-NOFORM",
        ["no orientation", "both 0", "Convert it again from the DICOM"],
    ),
    "a cut file": (cut, "NII-TRUNCATED", ["ends early"]),
    "an empty file": (replaced(b""), "NII-TRUNCATED", ["ends early|empty"]),
    "a file that is no image": (replaced(gzip.compress(b"no image" * 99)), "NII-FORMAT", ["NIfTI"]),
    "a time series": (
        lambda p: save(next(p.iterdir()), np.stack([image_of(k) for k in range(3)], -1)),
        "NII-4D",
        ["3"],
    ),
    "metres": (in_metres, "NII-UNITS", ["metre"]),
    "voxels of a tenth of a millimetre at most": (
        lambda p: save(
            next(p.iterdir()), image_of(3), sform=np.diag([0.01, 0.01, 0.01, 1]), qform=np.diag([0.01, 0.01, 0.01, 1])
        ),
        "IMG-SPACING",
        ["0.01 x 0.01 x 0.01 mm"],
    ),
    "a single slice": (lambda p: save(next(p.iterdir()), image_of(3)[..., 0]), "IMG-DIMENSION", [r"2|two|slice"]),
}


@pytest.mark.parametrize("what", ERRORS)
def test_a_bad_image_is_left_out_with_its_code_and_a_remedy(what: str, hospital: Hospital) -> None:
    spoil, code, words = ERRORS[what]
    hospital.nifti("good", image_of(1))
    spoil(hospital.nifti("x", image_of(2)))
    prepared = hospital.prepared(CT)
    errors = [finding for finding in prepared.findings if finding.level == "error"]
    assert [finding.code for finding in errors] == [code], [str(finding) for finding in errors]
    check_problem(errors[0], code, words, hospital.folder)
    assert len(prepared.cases) == 1


@pytest.mark.parametrize("form", ["sform", "qform"])
def test_14_the_site_may_state_which_position_counts(form: str, hospital: Hospital) -> None:
    hospital.nifti("x", image_of(3), qform=MOVED)
    prepared = hospital.prepared(CT, nifti_form=form)
    assert len(prepared.cases) == 1
