"""Pictures come to lie one way, whatever way they are stored."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image

from medfl.data.image_files import read_image
from medfl.data.nifti import read_nifti
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.pictures.turn import EXIF_TURNS, Turn, turn_to_convention
from medfl.errors import DataError

PICTURE = np.arange(12, dtype=np.float32).reshape(4, 3)  # (X, Y), as all pictures lie in the end
LPS_SIGNS = np.diag([-1.0, -1.0, 1.0])  # from DICOM's axes to NIfTI's


def save(path: Path, array: Any, affine: Any) -> Path:
    image = nibabel.Nifti1Image(np.asarray(array, dtype=np.float32), affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    nibabel.save(image, path)
    return path


@pytest.mark.parametrize("flips", list(product((False, True), repeat=2)))
@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("plane", [(0, 1), (0, 2), (1, 2)], ids=["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("unit_axis", [0, 1, 2])
def test_every_way_of_storing_a_slice_gives_one_picture(
    tmp_path: Path, flips: tuple[bool, bool], swap: bool, plane: tuple[int, int], unit_axis: int
) -> None:
    towards = LPS_SIGNS @ np.diag([1.0, 1.0, -1.0])  # left, back, feet, of which a picture shows two
    x, y = (towards[:, axis] * 2.0 for axis in plane)
    origin, array = np.array([5.0, -7.0, 9.0]), PICTURE
    if flips[0]:
        array, origin, x = array[::-1], origin + 3 * x, -x
    if flips[1]:
        array, origin, y = array[:, ::-1], origin + 2 * y, -y
    if swap:
        array, x, y = array.T, y, x
    affine = np.eye(4)
    columns = [x, y]
    columns.insert(unit_axis, np.cross(x, y) / 4 * 3.0)
    affine[:3] = np.stack([*columns, origin], axis=1)
    path = save(tmp_path / "a.nii", np.expand_dims(array, unit_axis), affine)
    np.testing.assert_array_equal(read_nifti(path, dimension=2).array[0], PICTURE)


def test_a_slice_at_an_angle_lies_by_the_nearest_sides(tmp_path: Path) -> None:
    angle = np.radians(30)
    affine = np.eye(4)
    affine[:2, :2] = [[-np.cos(angle), np.sin(angle)], [-np.sin(angle), -np.cos(angle)]]
    np.testing.assert_array_equal(
        read_nifti(save(tmp_path / "a.nii", PICTURE[..., None], affine), dimension=2).array[0], PICTURE
    )
    affine[:3, :2] *= -1
    path = save(tmp_path / "b.nii", PICTURE[::-1, ::-1, None], affine)
    np.testing.assert_array_equal(read_nifti(path, dimension=2).array[0], PICTURE)


def test_two_positions_that_differ_are_refused_for_a_slice_too(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(PICTURE[..., None], np.eye(4))
    image.set_sform(np.diag([-1.0, -1, 1, 1]), 1)
    image.set_qform(np.eye(4), 1)
    nibabel.save(image, tmp_path / "a.nii")
    with pytest.raises(DataError, match="NII-FORMS"):
        read_nifti(tmp_path / "a.nii", dimension=2)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_a_photograph_as_pillow_would(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20)
    expected = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[orientation]
    upright = stored if expected is None else stored.transpose(Image.Transpose(expected))
    for suffix in ("png", "tif"):
        stored.save(tmp_path / f"a.{suffix}", exif=exif)
        np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}").array[0].T, np.asarray(upright))
    stored.save(tmp_path / "b.tif", exif=exif, compression="tiff_lzw")
    np.testing.assert_array_equal(read_image(tmp_path / "b.tif").array[0].T, np.asarray(upright))


def test_turns_can_be_undone() -> None:
    for turn in EXIF_TURNS.values():
        np.testing.assert_array_equal(turn.undo(turn.apply(PICTURE)), PICTURE)
    assert turn_to_convention(("L", "F")) == turn_to_convention(("P", "F")) == turn_to_convention(("L", "P")) == Turn()


def test_mammograms_are_mirrored_and_nothing_else() -> None:
    assert turn_to_convention(("P", "L"), mammogram=True) == turn_to_convention(("P", "R"), mammogram=True) == Turn()
    assert turn_to_convention(("A", "R"), mammogram=True) == Turn(flip_x=True)
    assert turn_to_convention(("A", "F"), mammogram=True) == Turn(flip_x=True)
    assert turn_to_convention(("R", "P"), mammogram=True) == Turn(swap=True)


def test_pixels_are_made_square() -> None:
    wide = PictureGeometry((2, 2), pixel_size=(2.0, 1.0))
    assert wide.size == (4, 2)
    np.testing.assert_allclose(wide.arrange(np.array([[0.0, 1], [4, 5]]))[:, 0], [0, 1, 3, 4])
    np.testing.assert_array_equal(wide.arrange(np.array([[0, 1], [4, 5]]), nearest=True)[:, 1], [1, 1, 5, 5])
    turned = PictureGeometry((2, 2), turn=Turn(swap=True), pixel_size=(2.0, 1.0))
    assert turned.size == (2, 4)
    assert PictureGeometry((500, 500), pixel_size=(0.1943, 0.1950)).size == (500, 500)  # rounding of headers


def save_png(path: Path, dpi: tuple[float, float]) -> Path:
    Image.fromarray(np.full((10, 10), 7, dtype=np.uint8)).save(path, dpi=dpi)
    return path


def test_resolutions_in_files_tell_the_shape_of_a_pixel(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "bmp", "jpg"):
        assert read_image(save_png(tmp_path / f"a.{suffix}", (100, 100))).shape == (10, 10)
        assert read_image(save_png(tmp_path / f"b.{suffix}", (100, 200))).shape == (20, 10)  # half as high as wide
        assert read_image(save_png(tmp_path / f"c.{suffix}", (200, 100))).shape == (10, 20)
        if suffix in ("png", "tif"):  # the others have fields for it that programs fill with anything
            with pytest.raises(DataError, match=r"IMG-SPACING.*7[0-9.]+ times"):
                read_image(save_png(tmp_path / f"d.{suffix}", (1, 72)))
    affine = np.diag([-1.0, -2.0, 3.0, 1.0])
    assert read_nifti(save(tmp_path / "a.nii", PICTURE[..., None], affine), dimension=2).shape == (4, 6)
