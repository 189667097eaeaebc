"""Straightening tilted slices and evening out their distances, for images linearly and for labels by nearest neighbour.

Slices are parallel pictures. A plane of the new grid lies at a height between two of them; both are blended where they lie
on each other in the direction of the stack, and the blend is moved sideways to where the stack is at that height. So every
value that is linear in space is kept exactly, and a plane that meets a slice is that slice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.slice_stack import SliceStack, in_plane_offsets, is_tilted, is_uniform
from medfl.data.volume import LPS_TO_RAS, Affine, SliceGeometry, Volume, corner_distance
from medfl.errors import DataError

AIR_HU = -1024.0  # what a CT shows where nothing was scanned
_TOLERANCE = 1e-6  # shares of a pixel or slice below this are rounding


@dataclass(frozen=True, eq=False)
class _ResampledGrid:
    """How the planes of the new grid come from the slices.

    Parameters
    ----------
    below : ndarray
        For each plane the slice below it, (M,).
    weight : ndarray
        What the slice above it counts, (M,), from 0 to 1.
    shifts : ndarray
        Where the first pixel of the slices lies on the plane, in pixels of the plane, (M, 2): columns, rows.
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
    """Return how slices lay when they were acquired; shape is (columns, rows, slices)."""
    return SliceGeometry(stack.positions, stack.orientations[0], stack.pixel_spacing, shape)


def resample_stack(grey: NDArray[np.float32], stack: SliceStack, fill: float) -> Volume:
    """Put slices on a rectangular grid of one distance.

    The grid keeps the pixels of the slices and grows sideways until it holds all of them. Its distance is that of the slices;
    of uneven ones the median, the lower of the two middle ones: the smallest would let one close pair multiply the volume
    with planes that nobody scanned, a larger one would lose slices where most of them lie. Nothing is made beyond the first
    and the last slice.

    Parameters
    ----------
    grey : ndarray
        (slices, rows, columns), in the order of `stack`.
    stack : SliceStack
        Where they lie.
    fill : float
        The value where nothing was scanned.

    Returns
    -------
    Volume
        Array (1, X, Y, Z) with its `native`; RAS+ affine with perpendicular axes.
    """
    native = to_slice_geometry(stack, (grey.shape[2], grey.shape[1], grey.shape[0]))
    grid = _build_grid(native)
    planes = np.full(grid.shape[::-1], fill, dtype=np.float32)
    for plane, below, share, shift in zip(planes, grid.below, grid.weight, grid.shifts, strict=True):
        blend = grey[below] if share == 0 else grey[below] * np.float32(1 - share) + grey[below + 1] * np.float32(share)
        _shift_plane(blend, shift[::-1], plane)
    return Volume(planes.transpose(2, 1, 0)[np.newaxis], LPS_TO_RAS @ grid.affine, acquired_geometry=native)


def resample_labels(labels: NDArray[np.generic], native: SliceGeometry, image: Volume) -> NDArray[np.generic]:
    """Bring labels that were drawn on the acquired slices onto the grid of the straightened image.

    Parameters
    ----------
    labels : ndarray
        (X, Y, N): columns, rows and slices as acquired, in the order of `native`.
    native : SliceGeometry
        Where the slices lay.
    image : Volume
        The image as `medfl.data.dicom.series.read_series` returned it.

    Returns
    -------
    ndarray
        On the grid of the image, of the type of `labels`: the label of the nearest pixel of the nearest slice, 0 outside.

    Raises
    ------
    DataError
        ``LBL-GEOMETRY`` when labels, slices and image do not belong together.
    """
    grid = _build_grid(native)
    near = 0.5 * min(image.spacing)
    fits = labels.shape == native.shape and image.shape == grid.shape
    if not fits or corner_distance(LPS_TO_RAS @ grid.affine, image.affine, grid.shape) > near:
        what = "the label does not lie on the slices that the image was made of."
        raise DataError("LBL-GEOMETRY", what, "Was it drawn on another series? Export it for this one.")
    result = np.zeros(grid.shape, dtype=labels.dtype)
    for k, (below, share, shift) in enumerate(zip(grid.below, grid.weight, grid.shifts, strict=True)):
        own = labels[:, :, below + (share > 0.5)]
        (columns, from_columns), (rows, from_rows) = (
            _nearest_spans(size, offset) for size, offset in zip(own.shape, shift, strict=True)
        )
        result[columns, rows, k] = own[from_columns, from_rows]
    return result


def _nearest_spans(size: int, offset: float) -> tuple[slice, slice]:
    """Return which pixels of a plane, of those that the slice covers, get which pixels of it along one axis."""
    first, last = int(np.ceil(offset - _TOLERANCE)), int(np.floor(offset + size - 1 + _TOLERANCE))
    nearest = int(np.floor(first - offset + 0.5))
    return slice(first, last + 1), slice(nearest, nearest + last + 1 - first)


def _build_grid(native: SliceGeometry) -> _ResampledGrid:
    count = len(native.positions)
    stack = SliceStack(native.positions, np.tile(native.orientation, (count, 1)), np.tile(native.pixel_spacing, (count, 1)))
    along, size = stack.positions_along_normal() - stack.positions_along_normal()[0], np.array(native.pixel_spacing[::-1])
    if is_uniform(along, min(native.pixel_spacing)):
        step, below, share = along[-1] / (count - 1), np.arange(count), np.zeros(count)
    else:
        step = float(np.percentile(np.diff(along), 50, method="lower"))
        heights = np.arange(int(np.floor(along[-1] / step + _TOLERANCE)) + 1) * step
        below = np.clip(np.searchsorted(along, heights + _TOLERANCE * step, side="right") - 1, 0, count - 2)
        share = np.clip((heights - along[below]) / (along[below + 1] - along[below]), 0.0, 1.0)
        share = np.where(share < _TOLERANCE, 0.0, share)
    sideways = in_plane_offsets(stack) / size if is_tilted(stack) else np.zeros((count, 2))
    above = np.minimum(below + 1, count - 1)
    shifts = sideways[below] * (1 - share)[:, np.newaxis] + sideways[above] * share[:, np.newaxis]
    low, high = np.floor(shifts.min(axis=0) + _TOLERANCE), np.ceil(shifts.max(axis=0) - _TOLERANCE)
    columns, rows = (int(n + extra) for n, extra in zip(native.shape[:2], high - low, strict=True))
    affine = np.eye(4)
    affine[:3, :3] = stack.axes * [size[0], size[1], step]
    affine[:3, 3] = native.positions[0] + affine[:3, :2] @ low
    return _ResampledGrid(below, share, shifts - low, (columns, rows, len(below)), affine)


def _shift_plane(plane: NDArray[np.float32], shift: NDArray[np.float64], out: NDArray[np.float32]) -> None:
    """Write a picture, moved by a part of a pixel, into a larger one; what it does not cover is left as it is."""
    moved = plane
    spans = []
    for axis, offset in enumerate(shift):
        first = int(np.ceil(offset - _TOLERANCE))  # the first pixel of the plane that the picture reaches
        part = float(np.clip(first - offset, 0.0, 1.0))
        size = moved.shape[axis] if part < _TOLERANCE else moved.shape[axis] - 1
        near = moved.take(np.arange(size), axis=axis)
        if part >= _TOLERANCE:
            near = near * np.float32(1 - part) + moved.take(np.arange(1, size + 1), axis=axis) * np.float32(part)
        moved = near
        spans.append(slice(first, first + size))
    out[spans[0], spans[1]] = moved
