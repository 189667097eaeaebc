"""Resampling of tilted or unevenly spaced slices onto a regular grid: images linearly, labels by nearest neighbour.

Slices are parallel. A plane of the new grid is between two of them: both are interpolated along the direction of the stack,
and the result is shifted within the plane to where the stack is at that height. So every image that is linear in space is
reproduced exactly, and a plane at the height of a slice is that slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.slice_stack import SliceStack, in_plane_offsets, is_tilted, is_uniform
from medfl.data.volume import LPS_TO_RAS, Affine, SliceGeometry, Volume, corner_distance
from medfl.errors import DataError

AIR_HU = -1024.0  # of a CT where nothing was scanned
_TOLERANCE = 1e-6  # smaller shares of a pixel or of the slice spacing are rounding errors


@dataclass(frozen=True, eq=False)
class _ResampledGrid:
    """Planes of the new grid, with the slices that they are interpolated from.

    Parameters
    ----------
    below : ndarray
        Index of the slice below each plane, (M,).
    weight : ndarray
        Weight of the slice above it, (M,), from 0 to 1.
    shifts : ndarray
        Position of the slices' first pixel on each plane, in pixels of the plane, (M, 2): columns, rows.
    shape : tuple of int
        (columns, rows, M).
    affine : ndarray
        LPS, mm.
    """

    below: NDArray[np.intp]
    weight: NDArray[np.float64]
    shifts: NDArray[np.float64]
    shape: tuple[int, int, int]
    affine: Affine


def to_slice_geometry(stack: SliceStack, shape: tuple[int, int, int]) -> SliceGeometry:
    """Return the geometry of slices as they were acquired; shape is (columns, rows, slices)."""
    return SliceGeometry(stack.positions, stack.orientations[0], stack.pixel_spacing, shape)


def resample_stack(grey: NDArray[np.float32], stack: SliceStack, fill: float) -> Volume:
    """Resample slices onto a rectangular grid with uniform slice spacing.

    The grid has the pixel spacing of the slices and is wide enough for all of them. Its slice spacing is that of the slices,
    or the median (the lower of the two middle values) of uneven ones: with the smallest, one close pair would multiply the
    volume by planes that nobody scanned; with a larger one, slices would be lost where most of them are. No plane is added
    beyond the first and the last slice.

    Parameters
    ----------
    grey : ndarray
        (slices, rows, columns), in the order of `stack`.
    stack : SliceStack
        Positions of the slices.
    fill : float
        Value where nothing was scanned.

    Returns
    -------
    Volume
        Array (1, X, Y, Z), RAS+ affine with perpendicular axes, and the geometry as acquired.
    """
    acquired = to_slice_geometry(stack, (grey.shape[2], grey.shape[1], grey.shape[0]))
    grid = _build_grid(acquired)
    planes = np.full(grid.shape[::-1], fill, dtype=np.float32)
    for plane, below, weight, shift in zip(planes, grid.below, grid.weight, grid.shifts, strict=True):
        interpolated = (
            grey[below] if weight == 0 else grey[below] * np.float32(1 - weight) + grey[below + 1] * np.float32(weight)
        )
        _shift_plane(interpolated, shift[::-1], plane)
    return Volume(planes.transpose(2, 1, 0)[np.newaxis], LPS_TO_RAS @ grid.affine, acquired_geometry=acquired)


def resample_labels(labels: NDArray[np.generic], acquired: SliceGeometry, image: Volume) -> NDArray[np.generic]:
    """Resample labels that were drawn on the acquired slices onto the grid of the resampled image.

    Parameters
    ----------
    labels : ndarray
        (X, Y, N): columns, rows and slices as acquired, in the order of `acquired`.
    acquired : SliceGeometry
        Geometry of the slices as acquired.
    image : Volume
        The image as `medfl.data.dicom.series.read_series` returned it.

    Returns
    -------
    ndarray
        The label of the nearest pixel of the nearest slice, 0 outside, on the grid of the image and of the type of `labels`.

    Raises
    ------
    DataError
        ``LBL-GEOMETRY`` when labels, slices and image do not match.
    """
    grid = _build_grid(acquired)
    tolerance = 0.5 * min(image.spacing)
    fits = labels.shape == acquired.shape and image.shape == grid.shape
    if not fits or corner_distance(LPS_TO_RAS @ grid.affine, image.affine, grid.shape) > tolerance:
        what = "the label is not on the slices that the image was made of."
        raise DataError("LBL-GEOMETRY", what, "Was it drawn on another series? Export it for this one.")
    result = np.zeros(grid.shape, dtype=labels.dtype)
    for k, (below, weight, shift) in enumerate(zip(grid.below, grid.weight, grid.shifts, strict=True)):
        nearest_slice = labels[:, :, below + (weight > 0.5)]
        (columns, from_columns), (rows, from_rows) = (
            _nearest_spans(size, offset) for size, offset in zip(nearest_slice.shape, shift, strict=True)
        )
        result[columns, rows, k] = nearest_slice[from_columns, from_rows]
    return result


def _nearest_spans(size: int, offset: float) -> tuple[slice, slice]:
    """Return the pixels of a plane that a slice covers along one axis, and the nearest pixels of the slice."""
    first, last = int(np.ceil(offset - _TOLERANCE)), int(np.floor(offset + size - 1 + _TOLERANCE))
    nearest = int(np.floor(first - offset + 0.5))
    return slice(first, last + 1), slice(nearest, nearest + last + 1 - first)


def _build_grid(acquired: SliceGeometry) -> _ResampledGrid:
    count = len(acquired.positions)
    stack = SliceStack(
        acquired.positions, np.tile(acquired.orientation, (count, 1)), np.tile(acquired.pixel_spacing, (count, 1))
    )
    along, pixel = stack.positions_along_normal() - stack.positions_along_normal()[0], np.array(acquired.pixel_spacing[::-1])
    if is_uniform(along, min(acquired.pixel_spacing)):
        step, below, weight = along[-1] / (count - 1), np.arange(count), np.zeros(count)
    else:
        step = float(np.percentile(np.diff(along), 50, method="lower"))
        heights = np.arange(int(np.floor(along[-1] / step + _TOLERANCE)) + 1) * step
        below = np.clip(np.searchsorted(along, heights + _TOLERANCE * step, side="right") - 1, 0, count - 2)
        weight = np.clip((heights - along[below]) / (along[below + 1] - along[below]), 0.0, 1.0)
        weight = np.where(weight < _TOLERANCE, 0.0, weight)
    offsets = in_plane_offsets(stack) / pixel if is_tilted(stack) else np.zeros((count, 2))
    above = np.minimum(below + 1, count - 1)
    shifts = offsets[below] * (1 - weight)[:, np.newaxis] + offsets[above] * weight[:, np.newaxis]
    low, high = np.floor(shifts.min(axis=0) + _TOLERANCE), np.ceil(shifts.max(axis=0) - _TOLERANCE)
    columns, rows = (int(n + margin) for n, margin in zip(acquired.shape[:2], high - low, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = stack.axes * [pixel[0], pixel[1], step]
    affine[:3, 3] = acquired.positions[0] + affine[:3, :2] @ low
    return _ResampledGrid(below, weight, shifts - low, (columns, rows, len(below)), affine)


def _shift_plane(plane: NDArray[np.float32], shift: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Write a slice, shifted by a fraction of a pixel, into a larger plane; pixels that it does not cover stay as they are."""
    shifted = plane
    spans = []
    for axis, offset in enumerate(shift):
        first = int(np.ceil(offset - _TOLERANCE))  # the first pixel of the plane that the slice covers
        fraction = float(np.clip(first - offset, 0.0, 1.0))
        size = shifted.shape[axis] if fraction < _TOLERANCE else shifted.shape[axis] - 1
        values = shifted.take(np.arange(size), axis=axis)
        if fraction >= _TOLERANCE:
            following = shifted.take(np.arange(1, size + 1), axis=axis)
            values = values * np.float32(1 - fraction) + following * np.float32(fraction)
        shifted = values
        spans.append(slice(first, first + size))
    out[spans[0], spans[1]] = shifted
