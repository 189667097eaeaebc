"""Volume: an image in memory, with its place in the patient."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from medfl.data.findings import Finding
from medfl.data.pictures.geometry import PictureGeometry

Affine = NDArray[np.float64]

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's axes (left, posterior, superior) to NIfTI's (right, anterior, superior)


@dataclass(frozen=True, eq=False)
class SliceGeometry:
    """Positions of N slices when they were acquired, for a volume that was resampled on import (tilt, uneven distances).

    Parameters
    ----------
    positions : ndarray
        ImagePositionPatient in the order of the slices, (N, 3), LPS, mm.
    orientation : ndarray
        ImageOrientationPatient, (6,).
    pixel_spacing : tuple of float
        PixelSpacing: millimetres between rows and between columns.
    shape : tuple of int
        (columns, rows, N).
    """

    positions: NDArray[np.float64]
    orientation: NDArray[np.float64]
    pixel_spacing: tuple[float, float]
    shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Volume:
    """An image in memory.

    Parameters
    ----------
    array : ndarray
        Grey values, float32, of shape (C, X, Y, Z), or (C, X, Y) for a 2-D image with X the columns from left to right and
        Y the rows from top to bottom, of square pixels. Where the header says how the patient lies, X runs to the left side
        (in a sagittal or lateral view to the back) and Y to the feet (in an axial one to the back).
    affine : ndarray
        4 x 4 matrix from voxel indices to millimetres, RAS+ axes; the identity for a 2-D image.
    warnings : tuple of Finding
        What the reader noticed and could live with.
    acquired_geometry : SliceGeometry, optional
        The slices as they were acquired, when the array is not theirs: labels were drawn on them.
    picture : PictureGeometry, optional
        How a 2-D image is stored: labels were drawn on it as shown, before it was turned and its pixels made square.
    """

    array: NDArray[np.float32]
    affine: Affine = field(default_factory=lambda: np.eye(4))
    warnings: tuple[Finding, ...] = ()
    acquired_geometry: SliceGeometry | None = None
    picture: PictureGeometry | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along each axis, without the channels."""
        return self.array.shape[1:]

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres between voxels along each axis; 1.0 for a 2-D image."""
        return affine_to_spacing(self.affine)[: self.array.ndim - 1]


def affine_to_spacing(affine: Affine) -> tuple[float, ...]:
    """Return the millimetres between voxels along the three axes of an affine."""
    return tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0))


def corner_distance(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """Return the largest distance between the corner voxels of two grids of one shape.

    A relative comparison of the matrices would be too strict near the origin and too lax at the far end of a large volume.

    Parameters
    ----------
    one, other : ndarray
        4 x 4 affines in millimetres.
    shape : tuple of int
        Voxels along each axis of both grids.

    Returns
    -------
    float
        Millimetres.
    """
    ends = [(0, size - 1) for size in (*shape, 1, 1)[:3]]
    corners = np.array([[i, j, k, 1.0] for i in ends[0] for j in ends[1] for k in ends[2]]).T
    return float(np.linalg.norm(((one - other) @ corners)[:3], axis=0).max())
