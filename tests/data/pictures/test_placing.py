"""Masks lie on their pictures: every kind of image with every kind of mask."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.uid import DigitalXRayImageStorageForPresentation, MRImageStorage

from medfl.data.cases import Source
from medfl.data.labels import read_mask
from medfl.data.load import load_image
from medfl.errors import DataError
from tests.data.dicom.phantom import new_object

SLICE = {  # columns run to the left and rows to the back, as the picture lies
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "ImagePositionPatient": [10, 20, 30],
    "PixelSpacing": [1, 1],
}
LPS, RAS = np.diag([-1.0, -1, 1, 1]), np.eye(4)
LPS[:3, 3] = -10, -20, 30  # where SLICE lies


def shown(size: tuple[int, int]) -> NDArray[np.uint8]:
    """Return rows of a picture as a viewer shows it: the lesion is what is above 100."""
    rows = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    rows[1, 1:3] += 150
    rows[0, 3] += 150
    return rows


def write(path: Path, kind: str, rows: NDArray[np.uint8]) -> Source:
    """Write a picture, given as a viewer shows it, in one of many ways."""
    name, _, how = kind.partition(" ")
    if name in ("png", "tif"):
        Image.fromarray(rows).save(path.with_suffix(f".{name}"), **({"tiffinfo": {0x0112: 1}} if name == "tif" else {}))
        return Source("image", (path.with_suffix(f".{name}"),))
    if name == "exif":
        exif = Image.Exif()
        exif[0x0112] = int(how)
        turns = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}
        turn = turns[int(how)]
        (Image.fromarray(rows) if turn is None else Image.fromarray(rows).transpose(turn)).save(
            path.with_suffix(".png"), exif=exif
        )
        return Source("image", (path.with_suffix(".png"),))
    if name == "nifti":
        array, affine = rows.T, LPS.copy()
        if how == "ras":
            array, affine = array[::-1, ::-1], RAS.copy()
            affine[:3, 3] = -10 - rows.shape[1] + 1, -20 - rows.shape[0] + 1, 30
        image = nibabel.Nifti1Image(np.ascontiguousarray(array)[..., None], affine)
        for set_form in (image.set_sform, image.set_qform):
            set_form(affine, 0 if how in ("bare", "rows") else 1)
        if how == "rows":  # an array of rows and columns, as numpy has it
            image = nibabel.Nifti1Image(rows[..., None], None)
        nibabel.save(image, path.with_suffix(".nii"))
        return Source("nifti", (path.with_suffix(".nii"),))
    ds = new_object(MRImageStorage if how == "slice" else DigitalXRayImageStorageForPresentation)
    ds.Modality, ds.StudyInstanceUID, ds.SeriesInstanceUID = "MR" if how == "slice" else "DX", "1.2.3", "1.2.4"
    stored = rows
    if how == "slice":
        for keyword, value in SLICE.items():
            setattr(ds, keyword, value)
    elif how:
        ds.PatientOrientation = how.split("/")
        stored = rows[:, ::-1] if how.startswith("R") else rows
    ds.Rows, ds.Columns = stored.shape
    ds.BitsAllocated, ds.BitsStored, ds.HighBit = 8, 8, 7
    ds.PixelData = stored.tobytes() + b"\0" * (stored.size % 2)
    ds.save_as(path.with_suffix(".dcm"), enforce_file_format=True)
    return Source("dicom", (path.with_suffix(".dcm"),))


@pytest.fixture
def read(tmp_path: Path, make_study: Any, make_site: Any) -> Any:
    """Return a function that writes an image and its mask and returns the image and what was read of the mask."""

    def go(
        image_kind: str, mask_kind: str, size: tuple[int, int] = (5, 5), **data: Any
    ) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        rows, study, site = shown(size), make_study(task__dimension=2, task__modality="XR"), make_site(tmp_path, **data)
        image_source = write(tmp_path / "image", image_kind, rows)
        mask_source = write(tmp_path / "mask", mask_kind, (rows > 100).astype(np.uint8))
        image = load_image(image_source, study, site)
        return image.array[0], read_mask(mask_source, image, image_source, study, site)

    return go


PICTURES = ("png", "exif 1", "exif 3", "exif 6", "dicom", "dicom L/F", "dicom R/F", "dicom slice")
NIFTIS = ("nifti lps", "nifti ras", "nifti bare", "nifti rows")
IMAGES = (*PICTURES, *NIFTIS[:3])
SIDES = ("dicom R/F", "dicom L/F")


def expected_outcome(image: str, mask: str) -> str:
    """Return what is right for a square image and its mask, "" for a mask that is placed."""
    if image in ("dicom slice", "nifti lps", "nifti ras") and mask in ("dicom slice", "nifti lps", "nifti ras"):
        return ""  # both have a position
    if "dicom slice" in (image, mask) and (image in SIDES or mask in SIDES):
        return "LBL-GEOMETRY"  # one is axial, the other frontal
    if (image in NIFTIS) != (mask in NIFTIS):
        return "LBL-AXES"
    if image in ("exif 3", "exif 6") and mask not in ("exif 3", "exif 8"):
        return "LBL-AXES"  # was the mask drawn before or after it was turned?
    if mask == "dicom R/F" and image not in SIDES:
        return "LBL-AXES"  # is the image mirrored likewise?
    return ""


def as_stored(image: str, mask: str) -> bool:
    """Return whether the mask has no word of its own and the image is turned: see the next test."""
    return (image == "dicom R/F" and mask in ("png", "tif", "dicom", "exif 1", "exif 3", "exif 8")) or {image, mask} == {
        "nifti ras",
        "nifti bare",
    }


MASKS = ("png", "tif", "exif 1", "exif 3", "exif 8", "dicom", *SIDES, "dicom slice", *NIFTIS[:3])


@pytest.mark.parametrize(("image_kind", "mask_kind"), [pair for pair in product(IMAGES, MASKS) if not as_stored(*pair)])
def test_a_mask_lies_on_its_image_or_is_refused(read: Any, image_kind: str, mask_kind: str) -> None:
    code = expected_outcome(image_kind, mask_kind)
    if code:
        with pytest.raises(DataError, match=code):
            read(image_kind, mask_kind)
        return
    image, mask = read(image_kind, mask_kind)
    np.testing.assert_array_equal(mask, image > 100)
    np.testing.assert_array_equal(image, shown((5, 5)).T)


def test_a_mask_without_a_word_lies_on_the_pixels_as_stored(read: Any, tmp_path: Path, make_study: Any, make_site: Any) -> None:
    rows, study, site = shown((5, 5)), make_study(task__dimension=2, task__modality="XR"), make_site(tmp_path)
    marked = (rows > 100).astype(np.uint8)
    image_source = write(tmp_path / "image", "dicom R/F", rows)
    image = load_image(image_source, study, site)
    for kind in ("png", "dicom"):  # drawn in a viewer, which shows what is stored
        mask = read_mask(write(tmp_path / "mask", kind, marked[:, ::-1]), image, image_source, study, site)
        np.testing.assert_array_equal(mask, image.array[0] > 100)
    image_source = write(tmp_path / "image", "nifti ras", rows)
    image = load_image(image_source, study, site)
    mask = read_mask(write(tmp_path / "mask", "nifti bare", marked[::-1, ::-1]), image, image_source, study, site)
    np.testing.assert_array_equal(mask, image.array[0] > 100)


@pytest.mark.parametrize("size", [(5, 5), (4, 6)])
def test_a_site_says_what_the_axes_of_its_niftis_are(read: Any, size: tuple[int, int]) -> None:
    for image_kind in ("png", "dicom", "exif 6"):
        for mask_kind, word in (("nifti lps", "columns-rows"), ("nifti bare", "columns-rows"), ("nifti rows", "rows-columns")):
            image, mask = read(image_kind, mask_kind, size, mask_axes=word)
            np.testing.assert_array_equal(mask, image > 100)
        with pytest.raises(DataError, match=r"LBL-AXES.*mask-axes"):
            read(image_kind, "nifti rows", size)
    for image_kind in ("nifti lps", "nifti bare"):
        image, mask = read(image_kind, "png", size, mask_axes="columns-rows")
        np.testing.assert_array_equal(mask, image > 100)
    if size[0] != size[1]:
        with pytest.raises(DataError, match="LBL-GEOMETRY"):
            read("png", "nifti rows", size, mask_axes="columns-rows")


def test_the_size_tells_whether_a_mask_was_drawn_before_a_turn(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    rows, study, site = shown((4, 6)), make_study(task__dimension=2, task__modality="XR"), make_site(tmp_path)
    marked = (rows > 100).astype(np.uint8)
    image_source = write(tmp_path / "image", "exif 6", rows)
    image = load_image(image_source, study, site)
    for drawn, kind in product((marked, np.rot90(marked)), ("png", "tif", "exif 1")):  # libtiff writes orientation 1 always
        mask = read_mask(write(tmp_path / "mask", kind, np.ascontiguousarray(drawn)), image, image_source, study, site)
        np.testing.assert_array_equal(mask, image.array[0] > 100)


def test_a_slice_of_another_place_or_plane_is_refused(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    rows, study, site = shown((5, 5)), make_study(task__dimension=2), make_site(tmp_path, label_geometry="resample")
    image_source = write(tmp_path / "image", "dicom slice", rows)
    image = load_image(image_source, study, site)
    tilted, moved = LPS[[0, 2, 1, 3]], LPS.copy()
    moved[2, 3] += 4
    for affine in (tilted, moved):
        mask = nibabel.Nifti1Image((rows.T > 100).astype(np.uint8)[..., None], affine)
        nibabel.save(mask, tmp_path / "mask.nii")
        with pytest.raises(DataError, match="LBL-GEOMETRY"):
            read_mask(Source("nifti", (tmp_path / "mask.nii",)), image, image_source, study, site)


def test_a_mask_follows_its_image_to_square_pixels(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    study, site = make_study(task__dimension=2, task__modality="XR"), make_site(tmp_path)
    rows = shown((4, 6))
    Image.fromarray(rows).save(tmp_path / "image.png", dpi=(200, 100))  # pixels twice as high as wide
    source = Source("image", (tmp_path / "image.png",))
    image = load_image(source, study, site)
    assert image.shape == (6, 8)
    marked = (rows > 100).astype(np.uint8)
    tall = np.repeat(marked, 2, axis=0)
    for drawn, dpi in ((marked, None), (marked, (200, 100)), (marked, (72, 72)), (tall, None), (tall, (72, 72))):
        Image.fromarray(drawn).save(tmp_path / "mask.png", **({"dpi": dpi} if dpi else {}))
        mask = read_mask(Source("image", (tmp_path / "mask.png",)), image, source, study, site)
        np.testing.assert_array_equal(mask, tall.T)


def test_resampling_is_advised_only_where_it_is_not_set_and_would_help(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    study = make_study(task__dimension=2, task__modality="XR")
    image_source = write(tmp_path / "image", "png", shown((4, 6)))
    for shape, setting, advised in (((8, 12), "strict", True), ((8, 8), "strict", False), ((8, 8), "resample", False)):
        site = make_site(tmp_path, label_geometry=setting)
        mask = write(tmp_path / "mask", "png", np.ones(shape, np.uint8))
        with pytest.raises(DataError, match=r"LBL-GEOMETRY.*different sizes") as caught:
            read_mask(mask, load_image(image_source, study, site), image_source, study, site)
        assert ("set label-geometry" in caught.value.fix) == advised


def test_channels_of_other_places_are_refused(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    study, site = make_study(task__dimension=2, task__channels="T1,T2"), make_site(tmp_path)
    one = write(tmp_path / "one", "nifti lps", shown((4, 6))).paths[0]
    two = write(tmp_path / "two", "nifti ras", shown((4, 6))).paths[0]
    channels = load_image(Source("nifti", (one, two)), study, site).array
    np.testing.assert_array_equal(channels[0], channels[1])  # stored in two ways
    moved = nibabel.load(two)
    moved.affine[2, 3] += 3
    nibabel.save(nibabel.Nifti1Image(np.asarray(moved.dataobj), moved.affine), two)
    with pytest.raises(DataError, match="IMG-GRID"):
        load_image(Source("nifti", (one, two)), study, site)
