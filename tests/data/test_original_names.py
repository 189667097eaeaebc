"""Original names: each image has a file name of its own that a file system takes and that leads nowhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medfl.data.data_folder import open_data_folder
from medfl.data.images_to_predict import find_images_to_predict
from medfl.data.original_names import find_original_names
from medfl.study import Study
from medfl.testing.sites import make_study
from tests.data.dicom.phantom import write_slices

STUDY = make_study(dimension=3)
SERIES = make_study(dimension=3, task={"modality": "CT", "classes": "background,liver"})
ADDED = len("." + ".nii.gz" + ".01234567.tmp")  # what is added to a name until its file is whole


def names_of(folder: Path, study: Study = STUDY) -> list[str]:
    data = open_data_folder(folder)
    cases = [case.name for case in find_images_to_predict(data, study).cases]
    return [name.stem for name in find_original_names(data.site, study, cases).values()]


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.arange(1000, dtype=np.int16).reshape(10, 10, 10), np.eye(4)), path)


@pytest.mark.parametrize("letter", ["肝", "ä", "x"])
def test_long_names_fit_a_file_system_and_stay_distinct(letter: str, tmp_path: Path) -> None:
    for part in "ab":
        save(tmp_path / part / (letter * 60) / (letter * 80 + ".nii.gz"))
    stems = names_of(tmp_path)
    assert len(set(stems)) == 2
    assert all(stem.isprintable() and letter in stem for stem in stems)
    assert max(len(stem.encode()) for stem in stems) + ADDED <= 255


def test_two_images_of_one_name_get_two(tmp_path: Path) -> None:
    for name in ("a/x.nii.gz", "a_x.nii.gz", "A/X.nii.gz", "y.nii.gz"):
        save(tmp_path / name)
    stems = names_of(tmp_path)
    assert len({stem.casefold() for stem in stems}) == 4
    assert "y" in stems


def test_a_patient_id_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    def name_patient(k: int, ds: Any) -> None:
        ds.PatientID = "../../../etc/passwd"

    write_slices(tmp_path / "series", None, name_patient)
    (stem,) = names_of(tmp_path, SERIES)
    assert Path(stem).name == stem
    assert not stem.startswith(".")
    assert "etc-passwd" in stem
