"""Series of the phantom with contours drawn on it, and a reader of these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.cases import Source
from medfl.data.dicom.rtstruct import read_rtstruct
from medfl.data.dicom.series import read_series
from medfl.data.findings import Finding
from medfl.data.volume import LPS_TO_RAS, Volume
from tests.data.dicom.drawing import ellipse, sort_by_position, write_rtstruct
from tests.data.dicom.phantom import AXIAL, PIXEL, SHAPE, stack, write_slices

CLASSES = "background,liver,lesion"
Axes = tuple[Any, Any]


class RtstructScene:
    """A series of the phantom, its image, and a writer and reader of contours drawn on it."""

    def __init__(self, folder: Path, study: Any, site: Any, axes: Axes = AXIAL, **options: Any) -> None:
        self.folder, self.axes, self.study, self.site = folder, axes, study, site
        self.positions = stack(axes=axes, **options)
        self.paths = write_slices(folder / "series", self.positions, axes=axes)
        self.datasets = sort_by_position(self.paths)
        self.source = Source("dicom", tuple(self.paths))
        self.image = read_series(self.paths, site.data)

    def centre(self, k: int) -> NDArray[np.float64]:
        """Return the middle of a slice."""
        row, column = (np.asarray(axis, dtype=float) for axis in self.axes)
        half_size = (SHAPE[1] - 1) / 2 * PIXEL[1], (SHAPE[0] - 1) / 2 * PIXEL[0]
        return np.asarray(
            np.array(self.datasets[k].ImagePositionPatient, dtype=float) + half_size[0] * row + half_size[1] * column
        )

    def draw_ellipse(
        self, k: int, radii: tuple[float, float], offset: Any = (0.0, 0.0, 0.0)
    ) -> tuple[NDArray[np.float64], Any]:
        return ellipse(self.centre(k) + np.asarray(offset), self.axes, radii), self.datasets[k]

    def read(self, rois: dict[str, Any], **options: Any) -> tuple[NDArray[np.uint8], list[Finding]]:
        path = write_rtstruct(self.folder / "rt.dcm", self.paths, rois, **options)
        return read_rtstruct(path, self.image, self.source, self.study, self.site)

    def offsets(self, image: Volume | None = None) -> NDArray[np.float64]:
        """Return the position of each voxel along row, column and normal, from the centre of slice 0."""
        image = image or self.image
        index = np.stack(np.meshgrid(*(np.arange(n) for n in image.shape), indexing="ij"), axis=-1)
        affine = LPS_TO_RAS @ image.affine
        offsets = index @ affine[:3, :3].T + affine[:3, 3] - self.centre(0)
        row, column = (np.asarray(axis, dtype=float) for axis in self.axes)
        return np.stack([offsets @ row, offsets @ column, offsets @ np.cross(row, column)], axis=-1)

    def within(self, radii: tuple[float, float]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Return the voxels within an ellipse on any slice, and those so near its line that either result is right."""
        offsets = self.offsets()
        radius = np.hypot(offsets[..., 0] / radii[0], offsets[..., 1] / radii[1])
        return radius <= 1, np.abs(radius - 1) * min(radii) < 0.01 * max(PIXEL)
