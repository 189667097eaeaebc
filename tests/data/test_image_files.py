from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from medfl.data.image_files import read_image, read_mask_image
from medfl.errors import DataError


def test_columns_run_along_the_first_axis(tmp_path: Path) -> None:
    rows = np.array([[1, 2, 3], [4, 5, 6]], dtype=np.uint8)  # 2 rows, 3 columns
    Image.fromarray(rows).save(tmp_path / "a.png")
    volume = read_image(tmp_path / "a.png")
    assert volume.array.shape == (1, 3, 2)
    assert volume.array[0, 2, 0] == 3  # third column, top row
    np.testing.assert_array_equal(volume.affine, np.eye(4))
    assert volume.spacing == (1.0, 1.0)


def test_sixteen_bits_are_kept(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array.ravel(), [0, 65535])


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "LA", "CMYK"])
def test_colours_become_grey(tmp_path: Path, mode: str) -> None:
    suffix = "jpg" if mode == "CMYK" else "png"
    Image.new("RGB", (4, 4), (255, 0, 0)).convert(mode).save(tmp_path / f"a.{suffix}")
    assert read_image(tmp_path / f"a.{suffix}").array == pytest.approx(76, abs=2)  # 0.299 * 255


def test_numbers_of_a_palette_are_not_grey_values(tmp_path: Path) -> None:
    palette = Image.fromarray(np.array([[0, 1]], dtype=np.uint8))
    palette.putpalette([10, 10, 10, 250, 250, 250])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_image(tmp_path / "p.png").array.ravel(), [10, 250])


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float32])
def test_tiff_of_one_page_is_read_and_of_several_is_refused(tmp_path: Path, kind: Any) -> None:
    page = Image.fromarray(np.array([[0, 1, 40000 % np.iinfo(np.uint8).max]], dtype=kind))
    page.save(tmp_path / "one.tif")
    np.testing.assert_array_equal(read_image(tmp_path / "one.tif").array.ravel(), [0, 1, 220])
    page.save(tmp_path / "two.tif", save_all=True, append_images=[page])
    for read in (read_image, read_mask_image):
        with pytest.raises(DataError, match=r"IMG-FRAMES.*2 images"):
            read(tmp_path / "two.tif")


def test_what_a_camera_turned_is_stood_up(tmp_path: Path) -> None:
    rows = np.array([[10, 60, 110], [160, 210, 250]], dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the top of the scene is on the right of what is stored
    Image.fromarray(rows).save(tmp_path / "a.png", exif=exif)
    expected = np.rot90(rows, -1).T  # turned clockwise; columns along the first axis
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").array[0], expected)
    np.testing.assert_array_equal(read_mask_image(tmp_path / "a.png"), expected)


def test_damaged_and_missing_files_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)).save(tmp_path / "a.png")
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "a.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.png").write_bytes(b"hello")
    for name, code in {"a.png": "IMG-FORMAT", "b.png": "IMG-FORMAT", "c.png": "IMG-MISSING"}.items():
        with pytest.raises(DataError) as caught:
            read_image(tmp_path / name)
        assert caught.value.code == code
        assert str(tmp_path) not in str(caught.value)


def test_masks_keep_their_stored_values(tmp_path: Path) -> None:
    values = np.array([[0, 1, 2]], dtype=np.uint8)
    palette = Image.fromarray(values, mode=None)
    palette.putpalette([9, 9, 9, 200, 0, 0, 0, 200, 0])
    palette.save(tmp_path / "p.png")
    np.testing.assert_array_equal(read_mask_image(tmp_path / "p.png").ravel(), [0, 1, 2])
    Image.fromarray(np.stack([values] * 3, axis=-1)).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_mask_image(tmp_path / "grey.png").ravel(), [0, 1, 2])
    Image.new("RGB", (2, 2), (1, 0, 0)).save(tmp_path / "red.png")
    with pytest.raises(DataError, match="LBL-COLOR"):
        read_mask_image(tmp_path / "red.png")
