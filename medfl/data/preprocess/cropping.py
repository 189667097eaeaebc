"""Which part of an image is kept: the box around what was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

_AIR_HU = -500.0  # HU: above it is the patient, and whatever else is no air
_COARSE_MM = 4.0  # mm: the body is looked for on a grid of this spacing, which costs 1 % of the memory
_OPENING_VOXELS = 2  # voxels of that grid: what hangs on the body by less, as the cover of a table does, is cut off

Box = tuple[slice, ...]


def find_crop_box(array: NDArray[np.float32], spacing: tuple[float, ...], crop: str) -> Box:
    """Return the box of an image that is kept.

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
        One a spatial axis, with start and stop. A box of nothing would be an image of no voxels: then it is the whole image.
    """
    whole = tuple(slice(0, side) for side in array.shape[1:])
    if crop == "body":
        return _body_box(array[0], spacing) or whole
    if crop in ("foreground", "nonzero"):
        return _foreground_box(array, above=crop == "foreground") or whole
    return whole


def _foreground_box(array: NDArray[np.float32], *, above: bool) -> Box:
    """Return the box of the voxels that count, looked for slab by slab."""
    sides = array.shape[1:]
    along = [np.zeros(side, bool) for side in sides]
    for at in range(sides[-1]):
        plane = array[..., at]
        found = np.any((plane > 0) if above else (plane != 0), axis=0)
        along[-1][at] = found.any()
        if found.ndim == 2:
            along[0] |= np.any(found, axis=1)
            along[1] |= np.any(found, axis=0)
        else:  # the columns of a 2-D image
            along[0] |= found
    if not along[-1].any():
        return ()
    ends = [np.flatnonzero(line)[[0, -1]] for line in along]
    return tuple(slice(int(first), int(last) + 1) for first, last in ends)


def _body_box(array: NDArray[np.float32], spacing: tuple[float, ...]) -> Box:
    steps = [max(1, round(_COARSE_MM / size)) for size in spacing]
    coarse = array[tuple(slice(None, None, step) for step in steps)] > _AIR_HU
    # the body runs out of the scan at its ends: beyond them it goes on
    core = ndimage.binary_erosion(coarse, iterations=_OPENING_VOXELS, border_value=1)
    pieces, count = ndimage.label(ndimage.binary_dilation(core, iterations=_OPENING_VOXELS))
    if not count:
        return ()
    largest = int(np.bincount(pieces.ravel())[1:].argmax()) + 1
    found = ndimage.find_objects(pieces, largest)[largest - 1]
    sides = zip(found, steps, array.shape, strict=True)
    # a step more at either end: the coarse grid saw only every so many voxels
    return tuple(slice(max(0, (side.start - 1) * step), min(size, side.stop * step + 1)) for side, step, size in sides)
