"""Bad cases: each ends in a code and a remedy, and harms no other case."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from medfl.data.store.prepare import prepare
from medfl.errors import DataError
from medfl.study import Study
from tests.bad_input.damage import SHAPE, bits, check_words, cut, fill, image_of, mask_of, save, site_of

Spoil = Callable[[Path], object]


def with_nan(folder: Path) -> None:
    values = image_of(3)
    values[5, 5, 5] = np.nan
    save(folder / "image.nii.gz", values)


def broken_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent / "annex" / "gone.nii.gz")


BAD: dict[str, tuple[Spoil, str]] = {
    "an image without a label": (lambda p: (p / "label.nii.gz").unlink(), "LBL-MISSING"),
    "a label without an image": (lambda p: (p / "image.nii.gz").unlink(), "IMG-MISSING"),
    "a folder without images": (lambda p: shutil.rmtree(p) or p.mkdir(), "IMG-MISSING"),
    "a link to an image that is not there": (lambda p: broken_link(p / "image.nii.gz"), "IMG-MISSING"),
    "a link to a label that is not there": (lambda p: broken_link(p / "label.nii.gz"), "LBL-MISSING"),
    "a mask of another shape": (lambda p: save(p / "label.nii.gz", mask_of((16, 16, 9))), "LBL-GEOMETRY"),
    "an unknown label value": (lambda p: save(p / "label.nii.gz", mask_of() * np.uint8(7)), "LBL-VALUES"),
    "an empty mask": (lambda p: save(p / "label.nii.gz", mask_of() * np.uint8(0)), "LBL-EMPTY"),
    "a truncated image": (lambda p: cut(p / "image.nii.gz"), "NII-TRUNCATED"),
    "a truncated label": (lambda p: cut(p / "label.nii.gz"), "NII-TRUNCATED"),
    "an empty file": (lambda p: (p / "image.nii.gz").write_bytes(b""), "NII-TRUNCATED"),
    "a file that is no image": (lambda p: (p / "image.nii.gz").write_bytes(gzip.compress(b"no image" * 99)), "NII-FORMAT"),
    "a voxel that is no number": (with_nan, "IMG-NAN"),
    "an image of one value": (lambda p: save(p / "image.nii.gz", np.ones(SHAPE, np.float32)), "IMG-CONST"),
    "a single slice": (lambda p: save(p / "image.nii.gz", image_of(3)[..., 0]), "IMG-DIMENSION"),
    "a time series": (lambda p: save(p / "image.nii.gz", np.stack([image_of(k) for k in range(3)], -1)), "NII-4D"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_case_is_left_out_with_its_code_and_harms_no_other(what: str, study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 5)
    clean = bits(prepare(site_of(folder, "clean"), study))
    spoil, code = BAD[what]
    patient = folder / "data" / "Doe_3"
    shutil.copytree(patient, tmp_path / "good")
    spoil(patient)
    for _ in range(2):  # the second start takes it from the store
        prepared = prepare(site_of(folder), study)
        errors = [finding for finding in prepared.findings if finding.level == "error"]
        assert [finding.code for finding in errors] == [code]
        check_words(errors[0], tmp_path)
        assert len(prepared.cases) == 4
        assert bits(prepared).items() < clean.items()
    shutil.rmtree(patient)
    (tmp_path / "good").rename(patient)
    assert bits(prepare(site_of(folder), study)) == clean


def test_an_empty_data_folder_is_reported(study: Study, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        prepare(site_of(fill(tmp_path / "north", 0)), study)
    assert caught.value.code == "DATA-EMPTY"
    check_words(caught.value, tmp_path)


def test_a_missing_data_folder_is_reported(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 0)
    site = site_of(folder)
    (folder / "data").rmdir()
    with pytest.raises(DataError) as caught:
        prepare(site, study)
    assert caught.value.code == "DATA-ROOT"
    check_words(caught.value, tmp_path)


def test_one_patient_trains_and_the_site_reports_that_nobody_is_left_for_the_test(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 1)
    prepared = prepare(site_of(folder), study)
    assert [(finding.code, finding.level) for finding in prepared.findings] == [("SITE-ONE-PATIENT", "warning")]
    check_words(prepared.findings[0], tmp_path)
    assert [case.split for case in prepared.cases] == ["train"]
    with pytest.raises(DataError) as caught:
        prepare(site_of(folder, min_cases=2), study)
    assert caught.value.code == "SITE-TOO-SMALL"
    check_words(caught.value, tmp_path)


def test_a_class_that_the_site_lacks_is_a_warning(study: Study, tmp_path: Path) -> None:
    prepared = prepare(site_of(fill(tmp_path / "north", 4, classes=1)), study)
    assert [(finding.code, finding.level) for finding in prepared.findings] == [("LBL-NO-CLASS", "warning")]
    assert "has: b." in prepared.findings[0].what
    check_words(prepared.findings[0], tmp_path)
    assert len(prepared.cases) == 4


def test_a_missing_secret_is_reported(study: Study, tmp_path: Path) -> None:
    folder = fill(tmp_path / "north", 4)
    site = site_of(folder)
    (folder / "site.secret").unlink()
    with pytest.raises(DataError) as caught:
        prepare(site, study)
    assert caught.value.code == "SITE-SECRET"
    check_words(caught.value, tmp_path)
