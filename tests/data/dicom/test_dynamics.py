"""Dynamics whose images have times of their own: each volume of one time point, or none."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS
from medfl.errors import DataError
from tests.data.dicom.phantom import encode_pixels, error_of, slice_values, stack, write_slices
from tests.data.dicom.writing import both, each, put

COUNT = 12
POSITIONS = stack(COUNT)
ODD_FIRST = [*range(0, COUNT, 2), *range(1, COUNT, 2)]
Image = tuple[int, int, float]  # slice, volume, seconds after 10 o'clock


def write(folder: Path, images: list[Image], keyword: str = "AcquisitionTime") -> list[Path]:
    """Write images of dynamics, each volume brighter by 1000."""

    def brighten(k: int, ds: Dataset) -> None:
        ds.PixelData = encode_pixels(slice_values(POSITIONS[images[k][0]]) + 1000.0 * images[k][1])

    def time(k: int) -> str:
        total = 36000 + images[k][2]
        clock = f"{int(total // 3600) % 24:02}{int(total // 60) % 60:02}{total % 60:05.2f}"
        return clock if keyword != "AcquisitionDateTime" else f"{20240131 if total < 86400 else 20240201}{clock}"

    change = both(put(Modality="MR", SliceThickness=2.5), brighten, each(keyword, time))
    return write_slices(folder, [POSITIONS[image[0]] for image in images], change)


def dynamics(order: list[int], step: float = 1.0, start: float = 0.0) -> list[Image]:
    return [(s, v, start + 100 * v + step * i) for v in range(3) for i, s in enumerate(order)]


HEALTHY = {
    "ascending": dynamics(list(range(COUNT))),
    "descending": dynamics(list(range(COUNT))[::-1]),
    "interleaved": dynamics(ODD_FIRST),
    "two slices at a time": [(s, v, 100 * v + s % 6) for v in range(3) for s in range(COUNT)],
    "without a pause": dynamics(ODD_FIRST, step=100 / COUNT),
    "across midnight, between volumes": dynamics(list(range(COUNT)), start=50300),
    "across midnight, within a volume": dynamics(ODD_FIRST, start=50295),
}


@pytest.mark.parametrize("images", HEALTHY.values(), ids=list(HEALTHY))
@pytest.mark.parametrize("keyword", ["AcquisitionTime", "AcquisitionDateTime"])
def test_each_volume_can_be_selected(tmp_path: Path, images: list[Image], keyword: str) -> None:
    paths = write(tmp_path, images, keyword)
    with pytest.raises(DataError, match=rf"DCM-MULTIVOLUME.*3 volumes that differ in {keyword}"):
        read_series(paths)
    for number in range(3):
        volume = read_series(paths, select=f"{keyword}=#{number + 1}")
        assert error_of(volume.array[0] - 1000 * number, LPS_TO_RAS @ volume.affine).max() < 0.6


def test_a_stopped_last_volume_spoils_no_other(tmp_path: Path) -> None:
    paths = write(tmp_path, dynamics(ODD_FIRST)[:-5])
    volume = read_series(paths, select="AcquisitionTime=#2")
    assert error_of(volume.array[0] - 1000, LPS_TO_RAS @ volume.affine).max() < 0.6
    with pytest.raises(DataError, match="DCM-FEW-SLICES"):
        read_series(paths, select="AcquisitionTime=#3")


ALL = dynamics(list(range(COUNT)))
LOST = {
    "first half of the first": ALL[6:],
    "first half of the first, last half of the last": ALL[6:-6],
    "the same without a pause": dynamics(list(range(COUNT)), step=100 / COUNT)[6:-6],
    "the same without a pause, backwards": dynamics(list(range(COUNT))[::-1], step=100 / COUNT)[6:-6],
    "some of the first": ALL[9:],
}


@pytest.mark.parametrize("images", LOST.values(), ids=list(LOST))
def test_halves_of_two_volumes_are_never_one(tmp_path: Path, images: list[Image]) -> None:
    paths = write(tmp_path, images)
    for select in ("", "AcquisitionTime=#1", "AcquisitionTime=#2"):
        with pytest.raises(DataError, match=r"DCM-DUP-POSITION|DCM-FEW-SLICES"):
            read_series(paths, select=select)
