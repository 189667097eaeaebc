"""Crop box of an image: the part around what was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_AIR_HU = -500.0  # HU: above it are the patient and anything else that is not air
_COARSE_MM = 4.0  # mm: the body is searched on a grid of this spacing, which takes 1 % of the memory
_OPENING_VOXELS = 2  # voxels of that grid: what is attached to the body by less, such as a table's cover, is cut off

Box = tuple[slice, ...]


def find_crop_box(array: NDArray[np.float32], spacing: tuple[float, ...], crop: str) -> Box:
    """Return the box to which an image is cropped.

    Parameters
    ----------
    array : ndarray
        (C, X, Y[, Z]).
    spacing : tuple of float
        Millimetres between voxels.
    crop : {"none", "foreground", "nonzero", "body"}
        The box of all voxels; of those above 0, or other than 0, in any channel; or of the largest connected region above
        -500 HU in the first channel.

    Returns
    -------
    tuple of slice
        One per spatial axis, with start and stop. Where no voxel is found, it is the whole image.
    """
    whole = tuple(slice(0, side) for side in array.shape[1:])
    if crop == "body":
        return _body_box(array[0], spacing) or whole
    if crop in ("foreground", "nonzero"):
        return _foreground_box(array, above=crop == "foreground") or whole
    return whole


def _foreground_box(array: NDArray[np.float32], *, above: bool) -> Box:
    """Return the box of the voxels above 0, or other than 0, searched plane by plane."""
    sides = array.shape[1:]
    occupied = [np.zeros(side, bool) for side in sides]
    for index in range(sides[-1]):
        plane = array[..., index]
        found = np.any((plane > 0) if above else (plane != 0), axis=0)
        occupied[-1][index] = found.any()
        if found.ndim == 2:
            occupied[0] |= np.any(found, axis=1)
            occupied[1] |= np.any(found, axis=0)
        else:  # the columns of a 2-D image
            occupied[0] |= found
    if not occupied[-1].any():
        return ()
    ends = [np.flatnonzero(axis)[[0, -1]] for axis in occupied]
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)


def _body_box(array: NDArray[np.float32], spacing: tuple[float, ...]) -> Box:
    steps = [max(1, round(_COARSE_MM / size)) for size in spacing]
    coarse = array[tuple(slice(None, None, step) for step in steps)] > _AIR_HU
    # the body is cut at the ends of the scan: it continues beyond them
    core = ndimage.binary_erosion(coarse, iterations=_OPENING_VOXELS, border_value=1)
    regions, count = ndimage.label(ndimage.binary_dilation(core, iterations=_OPENING_VOXELS))
    if not count:
        return ()
    largest = int(np.bincount(regions.ravel())[1:].argmax()) + 1
    found = ndimage.find_objects(regions, largest)[largest - 1]
    sides = zip(found, steps, array.shape, strict=True)
    # one step more at either end: the coarse grid holds only every n-th voxel
    return tuple(slice(max(0, (side.start - 1) * step), min(size, side.stop * step + 1)) for side, step, size in sides)
