from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medfl.data.cases import Case, Source
from medfl.data.findings import Finding
from medfl.data.load import load_case, load_image
from medfl.data.volume import LPS_TO_RAS
from medfl.errors import DataError
from tests.data.dicom.drawing import ellipse, write_rtstruct, write_seg
from tests.data.dicom.phantom import AXIAL, ORIGIN, PIXEL, SHAPE, error_of, stack, write_slices

BOX = np.arange(240, dtype=np.float32).reshape(4, 5, 12)


def test_reads_image_and_class(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> None:
    case = Case("case-A", "pat-A", "0", Source("nifti", (save_nifti(tmp_path / "a.nii", BOX),)), 1)
    volume, label = load_case(case, make_study(task__kind="classification"), make_site(tmp_path))
    np.testing.assert_array_equal(volume.array[0], BOX)
    assert label == 1


def test_empty_and_broken_images_are_refused(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> None:
    holes = BOX.copy()
    holes[0, 0, :2] = np.nan
    wrong = {
        "IMG-NAN": save_nifti(tmp_path / "nan.nii", holes),
        "IMG-CONST": save_nifti(tmp_path / "const.nii", BOX * 0 + 3),
        "IMG-SPACING": save_nifti(tmp_path / "wide.nii", BOX, np.diag([1.0, 1, 50, 1])),
    }
    for code, path in wrong.items():
        with pytest.raises(DataError) as caught:
            load_image(Source("nifti", (path,)), make_study(), make_site(tmp_path))
        assert caught.value.code == code


def test_channels_come_from_several_files_on_one_grid(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> None:
    study, site = make_study(task__channels="T1,T2"), make_site(tmp_path)
    one, two = save_nifti(tmp_path / "1.nii", BOX), save_nifti(tmp_path / "2.nii", BOX + 50)
    np.testing.assert_array_equal(load_image(Source("nifti", (one, two)), study, site).array[1], BOX + 50)
    with pytest.raises(DataError, match="IMG-CHANNELS"):
        load_image(Source("nifti", (one,)), study, site)
    moved = np.eye(4)
    moved[0, 3] = 2
    with pytest.raises(DataError, match="IMG-GRID"):
        load_image(Source("nifti", (one, save_nifti(tmp_path / "3.nii", BOX, moved))), study, site)


def test_channels_that_drift_apart_far_from_the_origin_are_refused(
    tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any
) -> None:
    long = np.arange(240, dtype=np.float32).reshape(120, 2, 1)
    one, two = (save_nifti(tmp_path / f"{k}.nii", long, np.diag([1 + 0.009 * k, 1, 1, 1])) for k in range(2))
    with pytest.raises(DataError, match="IMG-GRID"):  # 1 % of the spacing is a whole millimetre at the last voxel
        load_image(Source("nifti", (one, two)), make_study(task__channels="T1,T2"), make_site(tmp_path))


def test_channels_come_from_one_series_by_what_tells_them_apart(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    def echoes(k: int, ds: Any) -> None:
        ds.EchoTime, ds.RescaleIntercept = (10, "-1024") if k < 10 else (20, "-924")

    paths = write_slices(tmp_path, stack() * 2, echoes)
    study = make_study(task__channels="T1,T2", task__modality="CT")
    source = Source("dicom", tuple(paths), select=("EchoTime=20", "EchoTime=10"))
    volume = load_image(source, study, make_site(tmp_path))
    assert volume.array.shape == (2, *SHAPE[::-1], 10)
    np.testing.assert_allclose(volume.array[0] - volume.array[1], 100)
    with pytest.raises(DataError, match="DCM-MULTIVOLUME"):
        load_image(Source("dicom", tuple(paths)), study, make_site(tmp_path))


def test_what_a_site_allows_reaches_the_readers(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> None:
    paths = write_slices(tmp_path, stack(count=5))
    study = make_study(task__kind="classification", task__modality="CT")
    with pytest.raises(DataError, match="DCM-FEW-SLICES"):
        load_image(Source("dicom", tuple(paths)), study, make_site(tmp_path))
    volume = load_image(Source("dicom", tuple(paths)), study, make_site(tmp_path, min_slices=5))
    assert error_of(volume.array[0], LPS_TO_RAS @ volume.affine).max() < 0.1

    image = nibabel.Nifti1Image(BOX, np.eye(4))
    moved = np.diag([1.0, 1, 1, 1])
    moved[0, 3] = 10
    image.set_sform(np.eye(4), 1)
    image.set_qform(moved, 1)
    nibabel.save(image, tmp_path / "two.nii")
    source = Source("nifti", (tmp_path / "two.nii",))
    with pytest.raises(DataError, match="NII-FORMS"):
        load_image(source, study, make_site(tmp_path))
    assert load_image(source, study, make_site(tmp_path, nifti_form="qform")).affine[0, 3] == 10


def test_warnings_about_the_label_come_with_the_volume(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    paths = write_slices(tmp_path / "series")
    marked = np.zeros((*SHAPE[::-1], 10), dtype=np.uint8)
    marked[4:9, 4:9, 4] = 1
    label = Source("dicom", (write_seg(tmp_path / "seg.dcm", paths, {"organ": marked}),))
    case = Case("case-A", "pat-A", "0", Source("dicom", tuple(paths)), label)
    volume, mask = load_case(case, make_study(task__modality="CT"), make_site(tmp_path))
    np.testing.assert_array_equal(mask, marked)
    assert volume.warnings == ()

    points = ellipse(np.array([0.0, 20.0, 40.0]), AXIAL, (6.0, 6.0))
    between = [(16.2, 3.2), (16.4, 3.2), (16.4, 3.4), (16.2, 3.4)]  # the centres of pixels
    speck = np.array([[ORIGIN[0] + c * PIXEL[1], ORIGIN[1] + r * PIXEL[0], 40.0] for c, r in between])
    regions = {"organ": [(points, None), (speck, None)]}
    label = Source("dicom", (write_rtstruct(tmp_path / "rt.dcm", paths, regions),))
    volume, mask = load_case(replace(case, label=label), make_study(task__modality="CT"), make_site(tmp_path))
    assert np.flatnonzero(np.asarray(mask).any(axis=(0, 1))).tolist() == [4]
    assert [warning.code for warning in volume.warnings] == ["LBL-SPECK"]


def test_a_flat_image_is_no_volume(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    Image.new("L", (4, 4)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="IMG-DIMENSION"):
        load_image(Source("image", (tmp_path / "a.png",)), make_study(), make_site(tmp_path))


def test_a_ct_without_negative_values_is_noted(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> None:
    source = Source("nifti", (save_nifti(tmp_path / "a.nii", BOX * 100),))
    volume = load_image(source, make_study(task__modality="CT"), make_site(tmp_path))
    assert [warning.code for warning in volume.warnings] == ["CT-HU"]
    assert load_image(source, make_study(), make_site(tmp_path)).warnings == ()


def test_errors_name_the_case_by_its_pseudonym_only(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    case = Case("case-A", "pat-A", "0", Source("nifti", (tmp_path / "Doe_Jane.nii",)), 0)
    with pytest.raises(DataError) as caught:
        load_case(case, make_study(), make_site(tmp_path))
    assert "Jane" not in repr(caught.value)
    finding = Finding.from_error(caught.value)
    assert (finding.code, finding.case, finding.level) == ("IMG-MISSING", "case-A", "error")
    assert str(finding) == str(caught.value)
