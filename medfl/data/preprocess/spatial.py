"""Reorientation, resampling and resizing of an image together with its mask."""

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

_SLAB_PLANES = 16  # output planes that are interpolated at a time: MONAI needs 4 numbers per voxel besides the image
_SPACING_TOLERANCE = 1e-4  # voxel sizes that differ by a smaller share are equal
_FLIPPED = -1


def to_ras(volume: Volume, mask: NDArray[np.uint8] | None) -> tuple[Volume, NDArray[np.uint8] | None]:
    """Return views of a volume and its mask whose axes point to the right, the front and the top.

    Parameters
    ----------
    volume : Volume
        (C, X, Y, Z).
    mask : ndarray, optional
        (X, Y, Z).
    """
    orientation = orientations.io_orientation(volume.affine)
    order = np.argsort(orientation[:, 0]).astype(int)
    flips = tuple(slice(None, None, -1 if orientation[axis, 1] == _FLIPPED else 1) for axis in order)
    array = volume.array.transpose(0, *(order + 1))[(slice(None), *flips)]
    affine = np.asarray(volume.affine @ orientations.inv_ornt_aff(orientation, volume.shape), dtype=np.float64)
    reoriented = None if mask is None else mask.transpose(*order)[flips]
    return Volume(array, affine, volume.warnings), reoriented


def resample_to_spacing(
    image: torch.Tensor, mask: torch.Tensor | None, affine: Affine, spacing: tuple[float, ...]
) -> tuple[torch.Tensor, torch.Tensor | None, Affine]:
    """Interpolate an image linearly, and its mask to the nearest voxel, to another voxel size.

    The first voxel keeps its position and the axes keep their directions, as with MONAI's `Spacing`.

    Parameters
    ----------
    image, mask : Tensor
        (C, X, Y, Z), and (1, X, Y, Z) of uint8.
    affine : ndarray
        4 x 4 affine of both, in mm.
    spacing : tuple of float
        Millimetres between voxels of the result.

    Returns
    -------
    image, mask, affine
    """
    target = np.asarray(zoom_affine(affine, spacing, diagonal=False), dtype=np.float64)
    target[:3, 3] = affine[:3, 3]
    shape = tuple(int(side) for side in compute_shape_offset(image.shape[1:], affine, target)[0])
    if shape == tuple(image.shape[1:]) and np.allclose(target[:3, :3], affine[:3, :3], rtol=_SPACING_TOLERANCE, atol=0):
        return image, mask, target
    resampled = _resample(image, affine, target, shape, "bilinear")
    return resampled, None if mask is None else _resample(mask, affine, target, shape, "nearest"), target


def _resample(values: torch.Tensor, affine: Affine, target: Affine, shape: tuple[int, ...], mode: str) -> torch.Tensor:
    """Resample in slabs of output planes, each from the few input planes around it."""
    output = values.new_empty((len(values), *shape))
    step = float(np.linalg.norm(target[:3, 0]) / np.linalg.norm(affine[:3, 0]))  # input planes per output plane
    resample = SpatialResample(mode=mode, padding_mode="border", dtype=np.float32)
    for begin in range(0, shape[0], _SLAB_PLANES):
        end = min(begin + _SLAB_PLANES, shape[0])
        first = min(max(0, math.floor(begin * step) - 1), values.shape[1] - 1)
        last = min(values.shape[1], math.ceil((end - 1) * step) + 2)
        slab = MetaTensor(values[:, first:last], affine=torch.from_numpy(_shift_affine(affine, first)))
        resampled = resample(
            slab, dst_affine=torch.from_numpy(_shift_affine(target, begin)), spatial_size=(end - begin, *shape[1:])
        )
        planes = _to_tensor(resampled)
        output[:, begin:end] = planes.round_() if mode == "nearest" else planes  # MONAI returns floats
    return output


def _shift_affine(affine: Affine, planes: int) -> Affine:
    shifted = affine.copy()
    shifted[:3, 3] += planes * affine[:3, 0]
    return shifted


def fit_to_size(
    image: torch.Tensor, mask: torch.Tensor | None, affine: Affine, size: tuple[int, ...]
) -> tuple[torch.Tensor, torch.Tensor | None, Affine]:
    """Scale a 2-D image and its mask to fit into a size, with the same aspect ratio.

    Parameters
    ----------
    image, mask : Tensor
        (C, X, Y), and (1, X, Y) of uint8.
    affine : ndarray
        4 x 4 affine of both, in pixels; both pictures cover the same, so that it is the edges of pixels that stay.
    size : tuple of int
        Largest number of pixels along each axis.

    Returns
    -------
    image, mask, affine
    """
    shape = image.shape[1:]
    scale = min(limit / side for limit, side in zip(size, shape, strict=True))
    target = [min(limit, max(1, round(side * scale))) for limit, side in zip(size, shape, strict=True)]
    if list(shape) == target:
        return image, mask, affine
    mode = "area" if scale < 1 else "bilinear"  # area averages, so that there is no aliasing
    scaled = _to_tensor(Resize(target, mode=mode)(image))
    steps = [side / new for side, new in zip(shape, target, strict=True)]
    placed = affine @ np.diag([*steps, 1.0, 1.0])
    placed[:3, 3] += affine[:3, :2] @ [(step - 1) / 2 for step in steps]
    if mask is not None:
        mask = _to_tensor(Resize(target, mode="nearest-exact")(mask)).round().to(torch.uint8)
    return scaled, mask, placed


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
        Voxels of the result along each axis.

    Returns
    -------
    image, mask, affine
    """
    if tuple(image.shape[1:]) == tuple(size):
        return image, mask, affine
    resize = ResizeWithPadOrCrop(spatial_size=size)
    resized = resize(MetaTensor(image, affine=torch.from_numpy(affine)))
    shifted = np.array(resized.affine.numpy(), dtype=np.float64)
    return _to_tensor(resized), None if mask is None else _to_tensor(resize(mask)).to(torch.uint8), shifted


def _to_tensor(values: Any) -> torch.Tensor:
    return values.as_tensor() if isinstance(values, MetaTensor) else torch.as_tensor(values)
