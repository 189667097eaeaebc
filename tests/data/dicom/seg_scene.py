"""Series of the phantom with segmentations drawn on it, and a reader of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import highdicom
import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.dicom.seg import read_seg
from medfl.data.dicom.series import read_series
from medfl.data.volume import LPS_TO_RAS
from tests.data.dicom.drawing import description, producer, sort_by_position, write_seg
from tests.data.dicom.phantom import AXIAL, SHAPE, stack, write_slices

CLASSES = "background,liver,lesion"
GRID = (*SHAPE[::-1], 10)


def blocks() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    liver, lesion = np.zeros(GRID, dtype=np.uint8), np.zeros(GRID, dtype=np.uint8)
    liver[2:6, 3:15, 1:5], lesion[10:17, 20:23, 3:9] = 1, 1
    return liver, lesion


class SegScene:
    """A series of the phantom, its image, and a reader of segmentations drawn on it."""

    def __init__(self, folder: Path, study: Any, site: Any, axes: Any = AXIAL, **options: Any) -> None:
        self.folder, self.study, self.site = folder, study, site
        self.paths = write_slices(folder / "series", stack(axes=axes, **options), axes=axes)
        self.source = Source("dicom", tuple(self.paths))
        self.image = read_series(self.paths, site.data)

    def read(self, segments: dict[str, NDArray[Any]], *args: Any, **options: Any) -> NDArray[np.uint8]:
        return self.read_file(write_seg(self.folder / "seg.dcm", self.paths, segments, *args, **options))

    def read_file(self, path: Path) -> NDArray[np.uint8]:
        return read_seg(path, self.image, self.source, self.study, self.site)[0]

    def write_volume(self, values: NDArray[np.uint8], affine: NDArray[np.float64]) -> Path:
        """Write a segment on another grid than that of the series: (frames, rows, columns), with its LPS affine."""
        datasets = sort_by_position(self.paths)
        frame_of_reference = datasets[0].FrameOfReferenceUID
        volume = highdicom.Volume(values, affine, "PATIENT", frame_of_reference_uid=frame_of_reference)
        highdicom.seg.Segmentation(
            source_images=datasets,
            pixel_array=volume,
            segmentation_type="BINARY",
            segment_descriptions=[description(1, "liver")],
            **producer(),
        ).save_as(self.folder / "other.dcm")
        return self.folder / "other.dcm"

    def lps(self) -> NDArray[np.float64]:
        """Return the affine of the series in highdicom's order: slices, rows, columns."""
        return np.asarray((LPS_TO_RAS @ self.image.affine)[:, [2, 1, 0, 3]])
