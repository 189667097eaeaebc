"""Turning, resampling and sizing images and masks together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import compute_shape_offset, zoom_affine
from monai.transforms import Resize, ResizeWithPadOrCrop, SpatialResample
from nibabel import orientations
from numpy.typing import NDArray

from medfl.data.volume import Affine, Volume

_SLAB = 16  # output planes that are interpolated at a time: MONAI keeps 4 numbers a voxel beside the image
_SPACING_TOLERANCE = 1e-4  # voxel sizes that differ by a smaller share are one
_FLIPPED = -1

Tensors = tuple[torch.Tensor, torch.Tensor | None]


def to_ras(volume: Volume, mask: NDArray[np.uint8] | None) -> tuple[Volume, NDArray[np.uint8] | None]:
    """Return views of a volume and its mask whose axes run to the right, the front and the top.

    Parameters
    ----------
    volume : Volume
        (C, X, Y, Z).
    mask : ndarray, optional
        (X, Y, Z).
    """
    turn = orientations.io_orientation(volume.affine)
    order = np.argsort(turn[:, 0]).astype(int)
    flips = tuple(slice(None, None, -1 if turn[axis, 1] == _FLIPPED else 1) for axis in order)
    array = volume.array.transpose(0, *(order + 1))[(slice(None), *flips)]
    affine = np.asarray(volume.affine @ orientations.inv_ornt_aff(turn, volume.shape), dtype=np.float64)
    turned = None if mask is None else mask.transpose(*order)[flips]
    return Volume(array, affine, volume.warnings), turned


def resample_to_spacing(
    image: torch.Tensor, mask: torch.Tensor | None, affine: Affine, spacing: tuple[float, ...]
) -> tuple[torch.Tensor, torch.Tensor | None, Affine]:
    """Interpolate an image linearly, and its mask to the nearest voxel, to another voxel size.

    The first voxel keeps its place, and so does the direction of the axes, as with MONAI's `Spacing`.

    Parameters
    ----------
    image, mask : Tensor
        (C, X, Y, Z), and (1, X, Y, Z) of uint8.
    affine : ndarray
        4 x 4 affine of both, in mm.
    spacing : tuple of float
        Wanted millimetres between voxels.

    Returns
    -------
    image, mask, affine
    """
    target = np.asarray(zoom_affine(affine, spacing, diagonal=False), dtype=np.float64)
    target[:3, 3] = affine[:3, 3]
    shape = tuple(int(side) for side in compute_shape_offset(image.shape[1:], affine, target)[0])
    if shape == tuple(image.shape[1:]) and np.allclose(target[:3, :3], affine[:3, :3], rtol=_SPACING_TOLERANCE, atol=0):
        return image, mask, target
    moved = _resample(image, affine, target, shape, "bilinear")
    return moved, None if mask is None else _resample(mask, affine, target, shape, "nearest"), target


def _resample(values: torch.Tensor, affine: Affine, target: Affine, shape: tuple[int, ...], mode: str) -> torch.Tensor:
    """Resample in slabs of output planes, each from the few input planes that it lies between."""
    fresh = values.new_empty((len(values), *shape))
    step = float(np.linalg.norm(target[:3, 0]) / np.linalg.norm(affine[:3, 0]))  # input planes an output plane
    move = SpatialResample(mode=mode, padding_mode="border", dtype=np.float32)
    for begin in range(0, shape[0], _SLAB):
        end = min(begin + _SLAB, shape[0])
        first = min(max(0, math.floor(begin * step) - 1), values.shape[1] - 1)
        last = min(values.shape[1], math.ceil((end - 1) * step) + 2)
        part = MetaTensor(values[:, first:last], affine=torch.from_numpy(_shift_affine(affine, first)))
        done = move(part, dst_affine=torch.from_numpy(_shift_affine(target, begin)), spatial_size=(end - begin, *shape[1:]))
        plain = _to_tensor(done)
        fresh[:, begin:end] = plain.round_() if mode == "nearest" else plain  # MONAI answers in float
    return fresh


def _shift_affine(affine: Affine, planes: int) -> Affine:
    shifted = affine.copy()
    shifted[:3, 3] += planes * affine[:3, 0]
    return shifted


def fit_to_size(image: torch.Tensor, mask: torch.Tensor | None, size: tuple[int, ...]) -> Tensors:
    """Scale a 2-D image and its mask to fit into a size; the aspect is kept.

    Parameters
    ----------
    image, mask : Tensor
        (C, X, Y), and (1, X, Y) of uint8.
    size : tuple of int
        Pixels at most.
    """
    shape = image.shape[1:]
    scale = min(wanted / have for wanted, have in zip(size, shape, strict=True))
    target = [min(wanted, max(1, round(have * scale))) for wanted, have in zip(size, shape, strict=True)]
    if list(shape) == target:
        return image, mask
    mode = "area" if scale < 1 else "bilinear"  # area averages, so that shrinking does not alias
    scaled = _to_tensor(Resize(target, mode=mode)(image))
    return scaled, None if mask is None else _to_tensor(Resize(target, mode="nearest-exact")(mask)).round().to(torch.uint8)


def pad_or_crop(
    image: torch.Tensor, mask: torch.Tensor | None, affine: Affine, size: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor | None, Affine]:
    """Pad with zeros, or crop, about the centre.

    Parameters
    ----------
    image, mask : Tensor
        (C, X, Y[, Z]), and (1, X, Y[, Z]) of uint8.
    affine : ndarray
        4 x 4 affine of both, in mm.
    size : tuple of int
        Wanted voxels along each axis.

    Returns
    -------
    image, mask, affine
    """
    if tuple(image.shape[1:]) == tuple(size):
        return image, mask, affine
    change = ResizeWithPadOrCrop(spatial_size=size)
    done = change(MetaTensor(image, affine=torch.from_numpy(affine)))
    moved = np.array(done.affine.numpy(), dtype=np.float64)
    return _to_tensor(done), None if mask is None else _to_tensor(change(mask)).to(torch.uint8), moved


def _to_tensor(values: Any) -> torch.Tensor:
    return values.as_tensor() if isinstance(values, MetaTensor) else torch.as_tensor(values)
