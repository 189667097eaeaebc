from __future__ import annotations

import gzip
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from medfl.data.cases import Case, Source
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_series
from medfl.data.grids import onto_grid
from medfl.data.images import read_image
from medfl.data.labels import check_values, class_index, read_mask
from medfl.data.load import load_case
from medfl.data.nifti import read_nifti
from medfl.data.volume import LPS
from medfl.errors import DataError

SHAPE = (4, 5, 6)


def mask() -> NDArray[np.uint8]:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[1:3, 1:4, 2:4] = 1
    return values


@pytest.fixture
def read(tmp_path: Path, save_nifti: Any, make_study: Any, make_site: Any) -> Any:
    """Return a function that saves an image and a mask and reads the mask."""

    def go(values: NDArray[Any], affine: Any = None, *, image_affine: Any = None, **data: Any) -> NDArray[np.uint8]:
        image_path = save_nifti(tmp_path / "image.nii", np.arange(120, dtype=np.int16).reshape(SHAPE), image_affine)
        source = Source("nifti", (save_nifti(tmp_path / "label.nii", values, affine),))
        image = read_nifti(image_path)
        return read_mask(source, image, Source("nifti", (image_path,)), make_study(), make_site(tmp_path, **data))

    return go


def test_a_mask_on_the_same_grid_is_taken_as_it_is(read: Any) -> None:
    np.testing.assert_array_equal(read(mask()), mask())


def test_a_mask_stored_mirrored_is_turned(read: Any) -> None:
    mirrored = np.diag([-1.0, 1, 1, 1])
    mirrored[0, 3] = SHAPE[0] - 1
    values = mask()
    values[0, 0, 0] = 1
    np.testing.assert_array_equal(read(values[::-1].copy(), mirrored), values)
    turned = np.eye(4)[[1, 0, 2, 3]]
    np.testing.assert_array_equal(read(values.transpose(1, 0, 2).copy(), turned), values)


def test_a_mask_on_another_grid_is_refused(read: Any) -> None:
    moved = np.eye(4)
    moved[2, 3] = 1.0
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*1\.0 mm apart"):
        read(mask(), moved)
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*4x5x6 and 4x5x5"):
        read(mask()[..., :5])


def test_a_mask_on_a_finer_grid_is_resampled_when_the_site_says_so(read: Any) -> None:
    fine = np.repeat(np.repeat(np.repeat(mask(), 2, 0), 2, 1), 2, 2)
    affine = np.diag([0.5, 0.5, 0.5, 1])
    affine[:3, 3] = -0.25  # voxel 0 of the fine grid lies a quarter of a voxel before that of the coarse one
    np.testing.assert_array_equal(read(fine, affine, label_geometry="resample"), mask())
    far = np.eye(4)
    far[0, 3] = 100
    with pytest.raises(DataError, match=r"LBL-GEOMETRY.*100 % of the marked"):
        read(mask(), far, label_geometry="resample")


def test_a_resampled_mask_keeps_its_outermost_voxels(read: Any) -> None:
    coarse = np.zeros((2, 5, 6), dtype=np.uint8)
    coarse[0] = 1
    affine = np.diag([2.0, 1, 1, 1])
    affine[0, 3] = 0.5  # voxel 0 of the mask covers voxels 0 and 1 of the image
    found = read(coarse, affine, label_geometry="resample")
    np.testing.assert_array_equal(found[:, 0, 0], [1, 1, 0, 0])


def test_values_must_be_classes(read: Any) -> None:
    with pytest.raises(DataError, match=r"LBL-VALUES.*1 value"):
        read(mask() * 3)
    with pytest.raises(DataError, match=r"LBL-VALUES.*interpolation"):
        read(mask() * np.float32(0.37))
    with pytest.raises(DataError, match="LBL-EMPTY"):
        read(mask() * 0)


def test_a_label_file_that_is_cut_or_missing_says_that_it_is_the_label(
    tmp_path: Path, make_study: Any, make_site: Any, save_nifti: Any
) -> None:
    image = Source("nifti", (save_nifti(tmp_path / "a.nii", np.arange(120, dtype=np.int16).reshape(SHAPE)),))
    case = Case("case-A", "pat-A", "0", image, Source("nifti", (tmp_path / "gone.nii",)))
    with pytest.raises(DataError, match=r"LBL-MISSING.*case-A: about the label"):
        load_case(case, make_study(), make_site(tmp_path))


def test_a_png_mask_of_0_and_255_is_background_and_foreground(tmp_path: Path, make_study: Any, make_site: Any) -> None:
    study, site = make_study(task__dimension=2, task__modality="XR"), make_site(tmp_path)
    Image.fromarray(np.array([[0, 9, 5], [7, 1, 2]], dtype=np.uint8)).save(tmp_path / "image.png")
    image, source = read_image(tmp_path / "image.png"), Source("image", (tmp_path / "image.png",))

    def read(values: list[list[int]]) -> NDArray[np.uint8]:
        Image.fromarray(np.array(values, dtype=np.uint8)).save(tmp_path / "mask.png")
        return read_mask(Source("image", (tmp_path / "mask.png",)), image, source, study, site)

    np.testing.assert_array_equal(read([[0, 0, 255], [0, 0, 0]]), [[0, 0], [0, 0], [1, 0]])
    np.testing.assert_array_equal(read([[0, 0, 1], [0, 0, 0]]), [[0, 0], [0, 0], [1, 0]])
    with pytest.raises(DataError, match="LBL-VALUES"):
        read([[0, 3, 252], [0, 0, 255]])
    with pytest.raises(DataError, match="LBL-GEOMETRY"):
        read([[0, 255], [0, 0]])


def test_255_is_no_class_where_there_are_several() -> None:
    with pytest.raises(DataError, match="LBL-VALUES"):
        check_values(np.array([0.0, 255.0], dtype=np.float32), 3, high_is_one=True)


@pytest.mark.parametrize(("text", "index"), [("benign", 0), (" Malignant ", 1), ("1", 1), ("0.0", 0), ("bad", 1)])
def test_class_texts(text: str, index: int) -> None:
    assert class_index(text, ("benign", "malignant"), ("good", "bad")) == index


@pytest.mark.parametrize(
    ("text", "code"), [("", "LBL-MISSING"), ("2", "LBL-CLASS"), ("-1", "LBL-CLASS"), ("Jane Doe", "LBL-CLASS")]
)
def test_texts_that_are_no_class(text: str, code: str) -> None:
    with pytest.raises(DataError, match=code) as caught:
        class_index(text, ("benign", "malignant"))
    assert "Jane" not in str(caught.value)


@pytest.fixture
def seg_case(tmp_path: Path, write_series: Any, save_seg: Any, make_study: Any, make_site: Any) -> Any:
    """Return a function that draws segments on an oblique series and reads them."""
    series = write_series(tmp_path / "series", angle=20.0)
    image, source = read_series(series), Source("dicom", tuple(series))

    def go(segments: dict[str, NDArray[np.bool_]], names: tuple[str, ...] = (), drop: int = 0) -> NDArray[np.uint8]:
        path = save_seg(tmp_path / "seg.dcm", series, segments)
        study = make_study(task__modality="CT", task__classes="background,liver,lesion")
        kept = Source("dicom", source.paths[drop:])
        return read_mask(Source("dicom", (path,)), image, kept, study, make_site(tmp_path, classes=names))

    return go


def blocks() -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    one, two = np.zeros((7, 5, 6), dtype=bool), np.zeros((7, 5, 6), dtype=bool)
    one[1:4, 1:3, 1:4], two[5, 4, 5] = True, True
    return one, two


def test_segments_become_classes_by_their_names(seg_case: Any) -> None:
    one, two = blocks()
    expected = one * 1 + two * 2
    np.testing.assert_array_equal(seg_case({"Lesion": two, "LIVER": one}), expected)
    np.testing.assert_array_equal(seg_case({"Leber": one, "Herd": two}, names=("Hintergrund", "Leber", "Herd")), expected)


def test_segments_that_can_not_be_classes_are_refused(seg_case: Any) -> None:
    one, _ = blocks()
    with pytest.raises(DataError, match="LBL-OVERLAP"):
        seg_case({"liver": one, "lesion": one})
    with pytest.raises(DataError, match="LBL-CLASSNAME") as caught:
        seg_case({"Jane Doe": one})
    assert "Jane" not in str(caught.value)


def test_a_segmentation_must_refer_to_the_series(
    seg_case: Any, tmp_path: Path, write_series: Any, make_study: Any, make_site: Any
) -> None:
    one, _ = blocks()
    one[:] = True
    with pytest.raises(DataError, match=r"LBL-PARTIAL-REF.*6 images, of which the series holds 5"):
        seg_case({"liver": one}, drop=1)
    other = write_series(tmp_path / "other", angle=20.0)
    with pytest.raises(DataError, match="LBL-WRONG-SERIES"):
        read_seg(tmp_path / "seg.dcm", read_series(other), Source("dicom", tuple(other)), make_study(), make_site(tmp_path))


def read_nrrd(path: Path) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    header, data = path.read_bytes().split(b"\n\n", 1)
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line and not line.startswith("#"))
    kinds = {"short": "<i2", "unsigned char": "u1"}
    raw = gzip.decompress(data) if fields["encoding"].startswith("gz") else data
    array = np.frombuffer(raw, kinds[fields["type"]]).reshape([int(n) for n in fields["sizes"].split()], order="F")
    vectors = [[float(v) for v in part.split(",")] for part in re.findall(r"\(([^)]*)\)", fields["space directions"])]
    affine = np.eye(4)
    affine[:3, :3] = np.array(vectors).T
    affine[:3, 3] = [float(v) for v in fields["space origin"].strip("()").split(",")]
    return array.astype(np.float32), LPS @ affine


@pytest.mark.realdata
@pytest.mark.parametrize(
    ("seg", "series", "truth"),
    [
        ("liver.dcm", "ct-3slice", "liver_seg.nrrd"),
        ("23x38x3/seg/label.seg", "23x38x3/image", "23x38x3/nrrd/label.nrrd"),
        ("24x38x3/seg/label.seg", "24x38x3/image", "24x38x3/nrrd/label.nrrd"),
        ("sparse-labelmap-noppv.dcm", "24x38x3/image", "sparse_labelmap_noppv_seg.nrrd"),
    ],
)
def test_segmentations_of_dcmqi_equal_their_nrrd(
    real_data: Path, make_study: Any, make_site: Any, tmp_path: Path, seg: str, series: str, truth: str
) -> None:
    root = real_data / "dicom" / "seg-dcmqi"
    source = Source("dicom", tuple(sorted((root / series).glob("*.dcm"))))
    image = read_series(source.paths, min_slices=3)
    study = make_study(task__modality="CT", task__classes="background,liver")
    found = read_seg(root / seg, image, source, study, make_site(tmp_path))
    values, affine = read_nrrd(root / truth)
    expected = onto_grid((values > 0).astype(np.float32), affine, image, resample=values.shape != image.shape)
    assert found.any()
    np.testing.assert_array_equal(found, expected)


@pytest.mark.realdata
def test_overlapping_segments_of_dcmqi_are_refused(real_data: Path, make_study: Any, make_site: Any, tmp_path: Path) -> None:
    root = real_data / "dicom" / "seg-dcmqi"
    source = Source("dicom", tuple(sorted((root / "ct-3slice").glob("*.dcm"))))
    study = make_study(task__classes="background,green,orange,purple,light_blue,dark_blue")
    with pytest.raises(DataError, match="LBL-OVERLAP"):
        read_seg(root / "partial_overlaps.dcm", read_series(source.paths, min_slices=3), source, study, make_site(tmp_path))
