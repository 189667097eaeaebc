"""Which DICOM a bundle takes: MONAI reads it voxel by voxel as medfl does, and what it would misread is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from monai.transforms import LoadImage
from pydicom.dataset import Dataset

from medfl.data.dicom.series import read_series
from medfl.models.dicom_series import find_series
from tests.data.dicom.phantom import AXIAL, stack, write_enhanced, write_slices
from tests.data.dicom.writing import colour, headerless, jump, oblique, other_files, put

pytestmark = pytest.mark.filterwarnings("ignore:NvImgCodec:UserWarning")
PLANES = {
    "axial": AXIAL,
    "prone": ((-1.0, 0.0, 0.0), (0.0, -1.0, 0.0)),
    "sagittal": ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
    "oblique": oblique(),
}
SCALES = {"one scale": lambda k, ds: None, "a scale for each slice": lambda k, ds: rescale(ds, 0.1 * (1 + k % 3))}


def rescale(ds: Dataset, slope: float) -> None:
    stored = np.frombuffer(ds.PixelData, "<u2")
    ds.RescaleSlope, ds.PixelData = f"{slope:.1f}", np.round(stored * 0.1 / slope).astype("<u2").tobytes()


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("plane", PLANES)
def test_monai_reads_a_series_as_medfl_does(plane: str, scale: str, direction: int, tmp_path: Path) -> None:
    paths = write_slices(tmp_path / "images" / "a", stack(axes=PLANES[plane])[::direction], SCALES[scale], axes=PLANES[plane])
    (tmp_path / "images" / "note.txt").write_text("no image")
    (folder,) = find_series(str(tmp_path / "images"), "CT")
    image, own = LoadImage(reader="PydicomReader", image_only=True)(folder), read_series(paths)
    array, affine = np.asarray(image), image.affine.numpy()
    if direction < 0:  # its slices come in the order of their numbers, those of medfl in the order of their places
        array, affine = array[:, :, ::-1], affine @ np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, -1, 9], [0, 0, 0, 1]])
    np.testing.assert_allclose(affine, own.affine, atol=1e-5)
    np.testing.assert_allclose(array, own.array[0], rtol=1e-6, atol=1e-3)


def shuffled(k: int, ds: Dataset) -> None:
    ds.InstanceNumber = (k * 3) % 10


@pytest.mark.parametrize(
    ("change", "positions", "reason"),
    [
        (shuffled, stack(), "no even stack"),
        (lambda k, ds: None, [*stack()[:4], *stack()[5:]], "no even stack"),
        (lambda k, ds: None, [stack()[0], *stack()], "no even stack"),
        (lambda k, ds: None, stack(tilt=12), "tilted"),
        (jump, stack(), "no even stack"),
        (lambda k, ds: None, stack(1), "one slice alone"),
        (lambda k, ds: None, [stack()[0]] * 3, "no even stack"),
        (colour, stack(), "colours"),
        (put(3, SeriesInstanceUID="1.2.9"), stack(), "differs in SeriesInstanceUID"),
        (put(3, PixelSpacing=[2.0, 1.25]), stack(), "differs in PixelSpacing"),
        (lambda k, ds: setattr(ds, "InstanceNumber", 1 + k // 2), stack(), "repeats an InstanceNumber"),
        (put(InstanceNumber=1), stack(), "repeats an InstanceNumber"),
        (put(3, RescaleType="MGML"), stack(), "not Hounsfield units"),
        (put(PhotometricInterpretation="PALETTE COLOR"), stack(), "PALETTE COLOR"),
        (put(Modality="MR"), stack(), "is not CT"),
        (lambda k, ds: k or ds.__delattr__("RescaleSlope"), stack(), "the scale of grey values"),
        (lambda k, ds: ds.__delattr__("InstanceNumber"), stack(), "no InstanceNumber"),
        (lambda k, ds: ds.__delattr__("ImagePositionPatient"), stack(), "no ImagePositionPatient"),
    ],
)
def test_what_monai_would_misread_is_refused(
    change: Callable[[int, Dataset], Any], positions: list[Any], reason: str, tmp_path: Path
) -> None:
    write_slices(tmp_path / "images" / "a", positions, change)
    with pytest.raises(ValueError, match=reason):
        find_series(str(tmp_path / "images"), "CT")


def test_multi_frame_objects_are_refused(tmp_path: Path) -> None:
    write_enhanced(tmp_path / "images" / "a" / "frames.dcm", stack())
    with pytest.raises(ValueError, match="multi-frame"):
        find_series(str(tmp_path / "images"), "CT")


@pytest.mark.parametrize("place", [".", "patient/series"])
def test_a_series_lies_in_a_folder_of_its_own(place: str, tmp_path: Path) -> None:
    write_slices(tmp_path / "images" / place)
    with pytest.raises(ValueError, match="a folder of its own"):
        find_series(str(tmp_path / "images"), "CT")


@pytest.mark.parametrize("place", ["images/a[1]", "images[1]/a", "images/a*", "images/a?"])
def test_a_folder_that_monai_takes_for_a_pattern_is_refused(place: str, tmp_path: Path) -> None:
    paths = write_slices(tmp_path / place)
    with pytest.raises(ValueError, match="takes for a pattern"):
        find_series(str(paths[0].parent.parent), "CT")


def test_slices_that_monai_would_pass_over_are_refused(tmp_path: Path) -> None:
    last = write_slices(tmp_path / "images" / "a")[-1]  # without it the stack is even all the same
    last.rename(last.with_name(f".{last.name}"))
    with pytest.raises(ValueError, match="hidden files"):
        find_series(str(tmp_path / "images"), "CT")


def test_dicom_without_its_prefix_is_refused_rather_than_passed_over(tmp_path: Path) -> None:
    headerless(tmp_path / "images" / "a")
    with pytest.raises(ValueError, match="without the prefix DICM"):
        find_series(str(tmp_path / "images"), "CT")


def test_a_link_to_a_folder_is_refused_rather_than_passed_over(tmp_path: Path) -> None:
    write_slices(tmp_path / "elsewhere")
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "a").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ValueError, match="link to a folder"):
        find_series(str(tmp_path / "images"), "CT")


def test_other_files_beside_slices_are_told(tmp_path: Path) -> None:
    other_files(tmp_path / "images" / "a")
    with pytest.warns(UserWarning, match=r"2 file\(s\) in .* are no DICOM"):
        assert len(find_series(str(tmp_path / "images"), "CT")) == 1
