from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.cases import Case, Finding, Source
from medfl.data.load import load_case, load_image
from medfl.errors import DataError

BOX = np.arange(24, dtype=np.float32).reshape(2, 3, 4)


def test_reads_image_and_class(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> None:
    case = Case("case-A", "pat-A", "0", Source("nifti", (save_nifti(tmp_path / "a.nii", BOX),)), 1)
    volume, label = load_case(case, make_study(task__kind="classification"), make_site(tmp_path))
    np.testing.assert_array_equal(volume.array[0], BOX)
    assert label == 1


def test_empty_and_broken_images_are_refused(tmp_path: Path, save_nifti: Any, make_study: Any) -> None:
    holes = BOX.copy()
    holes[0, 0, :2] = np.nan
    wrong = {
        "IMG-NAN": save_nifti(tmp_path / "nan.nii", holes),
        "IMG-CONST": save_nifti(tmp_path / "const.nii", BOX * 0 + 3),
        "IMG-SPACING": save_nifti(tmp_path / "wide.nii", BOX, np.diag([1.0, 1, 50, 1])),
    }
    for code, path in wrong.items():
        with pytest.raises(DataError) as caught:
            load_image(Source("nifti", (path,)), make_study())
        assert caught.value.code == code


def test_channels_come_from_several_files_on_one_grid(tmp_path: Path, save_nifti: Any, make_study: Any) -> None:
    study = make_study(task__channels=2)
    one, two = save_nifti(tmp_path / "1.nii", BOX), save_nifti(tmp_path / "2.nii", BOX + 50)
    np.testing.assert_array_equal(load_image(Source("nifti", (one, two)), study).array[1], BOX + 50)
    with pytest.raises(DataError, match="IMG-CHANNELS"):
        load_image(Source("nifti", (one,)), study)
    moved = np.eye(4)
    moved[0, 3] = 2
    with pytest.raises(DataError, match="IMG-GRID"):
        load_image(Source("nifti", (one, save_nifti(tmp_path / "3.nii", BOX, moved))), study)


def test_channels_that_drift_apart_far_from_the_origin_are_refused(tmp_path: Path, save_nifti: Any, make_study: Any) -> None:
    long = np.arange(240, dtype=np.float32).reshape(120, 2, 1)
    one, two = (save_nifti(tmp_path / f"{k}.nii", long, np.diag([1 + 0.009 * k, 1, 1, 1])) for k in range(2))
    with pytest.raises(DataError, match="IMG-GRID"):  # 1 % of the spacing is a whole millimetre at the last voxel
        load_image(Source("nifti", (one, two)), make_study(task__channels=2))


def test_a_flat_image_is_no_volume(tmp_path: Path, make_study: Any) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="IMG-DIMENSION"):
        load_image(Source("image", (tmp_path / "a.png",)), make_study())


def test_a_ct_without_negative_values_is_noted(tmp_path: Path, save_nifti: Any, make_study: Any) -> None:
    source = Source("nifti", (save_nifti(tmp_path / "a.nii", BOX * 100),))
    volume = load_image(source, make_study(task__modality="CT"))
    assert [warning.code for warning in volume.warnings] == ["CT-HU"]
    assert load_image(source, make_study()).warnings == ()


def test_errors_name_the_case_by_its_pseudonym_only(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    case = Case("case-A", "pat-A", "0", Source("nifti", (tmp_path / "DOE_JANE.nii",)), 0)
    with pytest.raises(DataError) as caught:
        load_case(case, make_study(), make_site(tmp_path))
    assert "JANE" not in repr(caught.value)
    finding = Finding.from_error(caught.value)
    assert (finding.code, finding.case, finding.level) == ("IMG-MISSING", "case-A", "error")
    assert str(finding) == str(caught.value)
