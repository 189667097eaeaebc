from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from medfl.data.nifti import read_nifti
from medfl.data.volume import corner_distance
from medfl.errors import DataError

BOX = np.arange(24, dtype=np.int16).reshape(2, 3, 4)


def forms(path: Path, *, sform: Any = None, qform: Any = None) -> Path:
    image = nibabel.Nifti1Image(BOX, np.eye(4))
    image.set_sform(sform, 0 if sform is None else 1)
    image.set_qform(qform, 0 if qform is None else 1)
    nibabel.save(image, path)
    return path


def test_reads_voxels_and_place(tmp_path: Path, save_nifti: Any) -> None:
    affine = np.diag([-2.0, 3.0, 4.0, 1.0])
    volume = read_nifti(save_nifti(tmp_path / "a.nii.gz", BOX, affine))
    np.testing.assert_array_equal(volume.array, BOX[np.newaxis])
    np.testing.assert_array_equal(volume.affine, affine)
    assert volume.spacing == (2.0, 3.0, 4.0)


def test_one_form_is_enough(tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[0, 3] = 10
    np.testing.assert_array_equal(read_nifti(forms(tmp_path / "q.nii", qform=moved)).affine, moved)
    np.testing.assert_array_equal(read_nifti(forms(tmp_path / "s.nii", sform=moved)).affine, moved)


def test_forms_that_differ_are_refused(tmp_path: Path) -> None:
    moved = np.eye(4)
    moved[0, 3] = 10
    with pytest.raises(DataError, match=r"NII-FORMS.*10\.0 mm"):
        read_nifti(forms(tmp_path / "a.nii", sform=np.eye(4), qform=moved))


def test_no_form_is_refused_for_a_volume_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="NII-NOFORM"):
        read_nifti(forms(tmp_path / "a.nii"))


def test_cut_files_are_refused(tmp_path: Path, save_nifti: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 999, (20, 20, 20)).astype(np.int16)
    for name in ("a.nii.gz", "a.nii"):
        path = save_nifti(tmp_path / name, noise)
        path.write_bytes(path.read_bytes()[:5000])
        with pytest.raises(DataError, match="NII-TRUNCATED") as caught:
            read_nifti(path)
        assert str(tmp_path) not in str(caught.value)


def test_what_is_no_nifti_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"hello")
    with pytest.raises(DataError, match="NII-FORMAT"):
        read_nifti(tmp_path / "a.nii")
    with pytest.raises(DataError, match="IMG-MISSING"):
        read_nifti(tmp_path / "b.nii")


def test_metres_are_refused(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(BOX, np.eye(4))
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(DataError, match="NII-UNITS"):
        read_nifti(tmp_path / "a.nii")


def test_the_fourth_axis_is_channels_only_when_the_study_says_so(tmp_path: Path, save_nifti: Any) -> None:
    two = np.stack([BOX, BOX + 100], axis=-1)
    path = save_nifti(tmp_path / "a.nii", two)
    with pytest.raises(DataError, match="NII-4D"):
        read_nifti(path)
    volume = read_nifti(path, channels=2)
    np.testing.assert_array_equal(volume.array[1], BOX + 100)
    assert read_nifti(save_nifti(tmp_path / "b.nii", BOX[..., np.newaxis])).array.shape == (1, 2, 3, 4)


def test_corner_distance_is_in_millimetres() -> None:
    moved = np.eye(4)
    moved[:3, 3] = 3, 4, 0
    assert corner_distance(np.eye(4), moved, (5, 5, 5)) == pytest.approx(5.0)
    longer = np.diag([1, 1, 1.1, 1.0])
    assert corner_distance(np.eye(4), longer, (5, 5, 11)) == pytest.approx(1.0)


@pytest.mark.realdata
def test_edge_cases_of_real_files(real_data: Path) -> None:
    edge = real_data / "nifti-edge"
    for name in ("anatomical.nii", "standard.nii.gz", "aniso_vox.nii.gz"):
        volume, image = read_nifti(edge / name), nibabel.load(edge / name)
        np.testing.assert_allclose(volume.array[0], image.get_fdata(), rtol=1e-6)
        np.testing.assert_allclose(volume.affine, image.affine)
    for name in ("example4d.nii.gz", "example_nifti2.nii.gz", "functional.nii", "small_64D.nii"):
        with pytest.raises(DataError, match="NII-4D"):
            read_nifti(edge / name)
    with pytest.raises(DataError, match="NII-FORMAT"):
        read_nifti(edge / "test.mgz")
    assert read_nifti(edge / "example4d.nii.gz", channels=2).array.shape[0] == 2
