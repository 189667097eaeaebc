"""Geometry of the slices that labels are drawn on, and the slice nearest to a drawn plane."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medfl.data.volume import LPS_TO_RAS, SliceGeometry, Volume
from medfl.errors import DataError

ACROSS_TOLERANCE = 0.1  # share of the slice spacing by which a label may be off its slice

FloatArray = NDArray[np.float64]


def get_slice_geometry(image: Volume) -> SliceGeometry:
    """Return the slices of a series: as they were acquired if the volume was resampled on import, else those of its grid.

    Parameters
    ----------
    image : Volume
        A 3-D image whose last axis is that of the slices.
    """
    if image.acquired_geometry is not None:
        return image.acquired_geometry
    affine = LPS_TO_RAS @ image.affine
    columns, rows, count = image.shape
    steps = np.linalg.norm(affine[:3, :2], axis=0)
    directions = affine[:3, :2] / steps
    positions = affine[:3, 3] + np.arange(count)[:, np.newaxis] * affine[:3, 2]
    # PixelSpacing begins with the distance between rows, which is the step along the second axis
    return SliceGeometry(positions, directions.T.ravel(), (float(steps[1]), float(steps[0])), (columns, rows, count))


def plane_matrix(position: FloatArray, orientation: FloatArray, pixel_spacing: tuple[float, float]) -> FloatArray:
    """Return the 3 x 3 matrix that maps (column, row, 1) of a slice to LPS coordinates in mm (PS3.3 C.7.6.2.1.1).

    Parameters
    ----------
    position : ndarray
        ImagePositionPatient.
    orientation : ndarray
        ImageOrientationPatient.
    pixel_spacing : tuple of float
        PixelSpacing: between rows, between columns.
    """
    return np.stack([orientation[:3] * pixel_spacing[1], orientation[3:] * pixel_spacing[0], position], axis=1)


def slice_matrix(slices: SliceGeometry, k: int) -> FloatArray:
    """Return the matrix of one slice, as in `plane_matrix`."""
    return plane_matrix(slices.positions[k], slices.orientation, slices.pixel_spacing)


def slice_normal(slices: SliceGeometry) -> FloatArray:
    """Return the unit normal of the slices."""
    normal = np.cross(slices.orientation[:3], slices.orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def slice_distance(slices: SliceGeometry) -> float:
    """Return the median slice spacing in mm, or the smaller pixel spacing of a single slice."""
    if len(slices.positions) < 2:
        return min(slices.pixel_spacing)
    return float(np.median(np.diff(np.sort(slices.positions @ slice_normal(slices)))))


def nearest_slice(slices: SliceGeometry, matrix: FloatArray) -> tuple[int, float, float]:
    """Return the slice nearest to a drawn plane of the same rows and columns, and how far their corners are apart.

    Parameters
    ----------
    slices : SliceGeometry
        The slices.
    matrix : ndarray
        Matrix of the plane, as in `plane_matrix`.

    Returns
    -------
    tuple of int, float and float
        Index of the slice; the largest distance of a corner pixel in the plane of the slice, and across it, in mm.
    """
    columns, rows, _ = slices.shape
    corners = np.array([[i, j, 1.0] for i in (0, columns - 1) for j in (0, rows - 1)]).T
    offsets = plane_matrix(np.zeros(3), slices.orientation, slices.pixel_spacing) @ corners
    apart = slices.positions[:, :, np.newaxis] + offsets - matrix @ corners  # (slices, 3, 4)
    nearest = int(np.linalg.norm(apart, axis=1).max(axis=1).argmin())
    across = slice_normal(slices) @ apart[nearest]
    in_plane = np.sqrt(np.maximum((apart[nearest] ** 2).sum(axis=0) - across**2, 0))
    return nearest, float(in_plane.max()), float(np.abs(across).max())


def paint_mask(mask: NDArray[np.uint8], labels: NDArray[np.uint8]) -> None:
    """Add classes to a mask of the same shape, in place.

    Raises
    ------
    DataError
        ``LBL-OVERLAP`` when a voxel would get a second class.
    """
    if ((mask != labels) & (mask != 0) & (labels != 0)).any():
        what = "labels of different classes overlap, and a voxel can have one class only."
        raise DataError("LBL-OVERLAP", what, "Export them without overlaps.")
    np.maximum(mask, labels, out=mask)
