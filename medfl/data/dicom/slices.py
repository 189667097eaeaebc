"""The slices that labels are drawn on: where each lies in the patient, and which one a drawn plane belongs to."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medfl.data.volume import LPS_TO_RAS, SliceGeometry, Volume
from medfl.errors import DataError

FloatArray = NDArray[np.float64]


def get_slice_geometry(image: Volume) -> SliceGeometry:
    """Return the slices of a series: as they were acquired if the volume was resampled on import, else those of its grid.

    Parameters
    ----------
    image : Volume
        A 3-D image whose last axis runs across the slices.
    """
    if image.acquired_geometry is not None:
        return image.acquired_geometry
    affine = LPS_TO_RAS @ image.affine
    columns, rows, count = image.shape
    steps = np.linalg.norm(affine[:3, :2], axis=0)
    directions = affine[:3, :2] / steps
    positions = affine[:3, 3] + np.arange(count)[:, np.newaxis] * affine[:3, 2]
    # DICOM tells the distance between rows first, which is the step along the second axis
    return SliceGeometry(positions, directions.T.ravel(), (float(steps[1]), float(steps[0])), (columns, rows, count))


def plane_matrix(position: FloatArray, orientation: FloatArray, pixel: tuple[float, float]) -> FloatArray:
    """Return the 3 x 3 matrix that brings (column, row, 1) of a slice to LPS millimetres.

    Parameters
    ----------
    position : ndarray
        ImagePositionPatient.
    orientation : ndarray
        ImageOrientationPatient.
    pixel : tuple of float
        PixelSpacing: between rows, between columns.
    """
    return np.stack([orientation[:3] * pixel[1], orientation[3:] * pixel[0], position], axis=1)


def slice_matrix(slices: SliceGeometry, k: int) -> FloatArray:
    """Return the matrix of one slice, as `plane` does."""
    return plane_matrix(slices.positions[k], slices.orientation, slices.pixel_spacing)


def slice_normal(slices: SliceGeometry) -> FloatArray:
    """Return the unit vector across the slices."""
    normal = np.cross(slices.orientation[:3], slices.orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal), dtype=np.float64)


def slice_distance(slices: SliceGeometry) -> float:
    """Return the usual distance between neighbouring slices in millimetres; of a single slice, its smaller pixel size."""
    if len(slices.positions) < 2:
        return min(slices.pixel_spacing)
    return float(np.median(np.diff(np.sort(slices.positions @ slice_normal(slices)))))


def nearest_slice(slices: SliceGeometry, matrix: FloatArray) -> tuple[int, float]:
    """Return which slice a drawn plane of the same number of rows and columns lies on, and how far off its corners are.

    Parameters
    ----------
    slices : SliceGeometry
        The slices.
    matrix : ndarray
        Of the plane, as `plane` gives it.

    Returns
    -------
    tuple of int and float
        Index of the slice, and the largest distance of a corner pixel in millimetres.
    """
    columns, rows, _ = slices.shape
    corners = np.array([[i, j, 1.0] for i in (0, columns - 1) for j in (0, rows - 1)]).T
    drawn = matrix @ corners  # (3, 4)
    here = plane_matrix(np.zeros(3), slices.orientation, slices.pixel_spacing) @ corners
    off = np.linalg.norm(slices.positions[:, :, np.newaxis] + here - drawn, axis=1).max(axis=1)
    return int(off.argmin()), float(off.min())


def paint_mask(mask: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> None:
    """Add classes to a mask of the same shape, in place.

    Raises
    ------
    DataError
        ``LBL-OVERLAP`` when a voxel would get a second class.
    """
    if ((mask != drawn) & (mask != 0) & (drawn != 0)).any():
        what = "labels of different classes overlap, and a voxel can have one class only."
        raise DataError("LBL-OVERLAP", what, "Export them without overlaps.")
    np.maximum(mask, drawn, out=mask)
