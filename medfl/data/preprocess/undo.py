"""Preprocessing undone: probabilities of the network's grid as a label map on the grid of the source."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from medfl.data.source_grid import SourceGrid
from medfl.data.volume import Affine

_SLAB = 4_000_000  # voxels of the source grid that are resampled together
_WHOLE = 1e-4  # voxels: a shift that differs from a whole number by less is one


def resample_to_source(probabilities: Tensor, prepared_affine: Affine, source: SourceGrid) -> NDArray[np.uint8]:
    """Resample class probabilities onto the grid of the source, and take the most likely class there.

    Probabilities are interpolated linearly; outside of the prepared image, which may be cropped, all is background. The affines
    tell orientation, crop, spacing and size of the preparation, as they tell MONAI's ``ResampleToMatch`` with
    ``mode="bilinear"`` and ``padding_mode="zeros"``, which gives the same. The volume is processed in slabs, so memory does not
    grow with it; where the axes were only exchanged, flipped and cropped, nothing is interpolated.

    Parameters
    ----------
    probabilities : Tensor
        float32 (classes, X, Y[, Z]) on the prepared grid.
    prepared_affine : ndarray
        4 x 4 affine of the prepared image in the space of the source: RAS mm, or pixels of a 2-D image
        (`medfl.data.store.prepared_data.PreparedCase.affine`).
    source : SourceGrid
        The grid of the source.

    Returns
    -------
    ndarray of uint8
        (X, Y[, Z]), the shape of the source.
    """
    axes = probabilities.dim() - 1
    to_prepared = _drop_axes(np.linalg.inv(prepared_affine) @ source.affine, axes)
    if _is_whole(to_prepared):
        return _place(probabilities, to_prepared, source.shape)
    shape = source.shape
    thick = max(1, _SLAB // int(np.prod(shape[1:])))
    out = np.zeros(shape, dtype=np.uint8)
    for first in range(0, shape[0], thick):
        last = min(first + thick, shape[0])
        voxels = (range(first, last), *(range(side) for side in shape[1:]))
        grid = _sampling_grid(to_prepared, voxels, probabilities.shape[1:])
        sampled = F.grid_sample(
            probabilities[None],
            grid.to(probabilities.device),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        out[first:last] = sampled[0].argmax(0).to(torch.uint8).cpu().numpy()
    return out


def _drop_axes(matrix: NDArray[np.float64], axes: int) -> NDArray[np.float64]:
    """Return an affine of so many axes, of one of three."""
    kept = [*range(axes), 3]
    return np.asarray(matrix[np.ix_(kept, kept)])


def _is_whole(matrix: NDArray[np.float64]) -> bool:
    """Return whether a matrix exchanges axes, flips them and shifts by whole voxels, and does no more."""
    rounded = np.round(matrix)
    turn = np.abs(rounded[:-1, :-1])
    is_turn = bool((turn.sum(0) == 1).all() and (turn.sum(1) == 1).all())
    return is_turn and bool(np.allclose(matrix[:-1, -1], rounded[:-1, -1], rtol=0, atol=_WHOLE)) and _is_exact(matrix, rounded)


def _is_exact(matrix: NDArray[np.float64], rounded: NDArray[np.float64]) -> bool:
    """Return whether the directions are those of the voxels to less than `_WHOLE` over a thousand of them."""
    return bool(np.allclose(matrix[:-1, :-1], rounded[:-1, :-1], rtol=0, atol=_WHOLE / 1000))


def _place(probabilities: Tensor, to_prepared: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.uint8]:
    """Put the likeliest class of each prepared voxel where it belongs; `to_prepared` is a matrix of whole numbers."""
    matrix = np.round(to_prepared).astype(int)
    classes = probabilities.argmax(0).to(torch.uint8).cpu().numpy()
    order = [int(np.flatnonzero(matrix[:-1, axis])[0]) for axis in range(len(shape))]  # prepared axis of each source axis
    turned = classes.transpose(order)
    out = np.zeros(shape, dtype=np.uint8)
    inside: list[slice] = []
    taken: list[slice] = []
    for axis, (prepared_axis, side) in enumerate(zip(order, shape, strict=True)):
        sign, start, have = matrix[prepared_axis, axis], matrix[prepared_axis, -1], turned.shape[axis]
        # source voxel s lies at start + sign * s of the prepared axis
        first, last = (-start, have - start) if sign > 0 else (start - have + 1, start + 1)
        begin, end = max(int(first), 0), min(int(last), side)
        if begin >= end:
            return out
        inside.append(slice(begin, end))
        low, high = sorted((start + sign * begin, start + sign * (end - 1)))
        taken.append(slice(int(low), int(high) + 1))
    flips = tuple(slice(None, None, int(matrix[prepared, axis])) for axis, prepared in enumerate(order))
    out[tuple(inside)] = turned[tuple(taken)][flips]
    return out


def _sampling_grid(to_prepared: NDArray[np.float64], voxels: Sequence[range], shape: Sequence[int]) -> Tensor:
    """Return the positions of source voxels in the prepared image for `grid_sample`: (1, X, Y[, Z], D), axes reversed."""
    dimension = len(shape)
    axes = []
    for k in reversed(range(dimension)):
        steps = [
            np.asarray(places, dtype=np.float64).reshape([-1 if axis == other else 1 for other in range(dimension)])
            * to_prepared[k, axis]
            for axis, places in enumerate(voxels)
        ]
        index = sum(steps[1:], steps[0]) + to_prepared[k, -1]
        axes.append(((2.0 * index + 1.0) / shape[k] - 1.0).astype(np.float32))
    return torch.from_numpy(np.stack(np.broadcast_arrays(*axes), -1)[None])
