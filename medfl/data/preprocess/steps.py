"""Preprocessing steps in order, on one copy of the image: a CT of 600 slices is too large for several."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from medfl.data.preprocess.bias_field import correct_bias
from medfl.data.preprocess.cropping import find_crop_box
from medfl.data.preprocess.intensity import equalize, normalize, single_threaded
from medfl.data.preprocess.spatial import fit_to_size, pad_or_crop, resample_to_spacing, to_ras
from medfl.data.volume import Affine, Volume
from medfl.study import Study
from medfl.study.sections import Preprocessing

Mask = NDArray[np.uint8]
_COPY_BLOCK = (240, 4, 64)  # voxels; a transposed copy in such blocks is many times faster than in one go
_POINTWISE_INTENSITIES = ("window", "standardize")  # each voxel is normalised independently of the others


@dataclass
class WorkingCase:
    """Case under preprocessing, which the steps change in place.

    Parameters
    ----------
    image : Tensor
        (C, X, Y[, Z]), C-contiguous, in memory of its own; float32, or the stored type when no step is left.
    mask : Tensor, optional
        (1, X, Y[, Z]), uint8.
    affine : ndarray
        4 x 4 affine of both, in mm; of a 2-D image in pixels of the image as read.
    normalized : bool
        Whether the grey values are on the study's scale already.
    """

    image: torch.Tensor
    mask: torch.Tensor | None
    affine: Affine = field(default_factory=lambda: np.eye(4))
    normalized: bool = False


def orient(volume: Volume, mask: Mask | None, study: Study) -> tuple[Volume, Mask | None]:
    """Reorient a volume and its mask so that the axes point to the right, the front and the top (RAS).

    Nothing is interpolated and nothing is copied: both are views. Images of a 2-D task stay as they are.

    Parameters
    ----------
    volume : Volume
        Array (C, X, Y[, Z]) and affine in mm.
    mask : array of uint8, optional
        (X, Y[, Z]) on the same grid.
    study : Study
        Only its dimension is used.

    Returns
    -------
    tuple of Volume and mask
    """
    return (volume, mask) if study.task.dimension == 2 else to_ras(volume, mask)


def preprocess(volume: Volume, mask: Mask | None, study: Study) -> tuple[Volume, Mask | None]:
    """Preprocess one case for the network.

    The order is: RAS orientation (3-D), crop, bias field, contrast, intensity, spacing, size. The intensity is
    normalised before interpolation and padding, so that its statistics are those of measured voxels; padding
    is therefore 0 on the normalised scale, as in nnU-Net.

    Parameters
    ----------
    volume : Volume
        Array (C, X, Y[, Z]) of finite values, and affine in mm.
    mask : array of uint8, optional
        (X, Y[, Z]) on the same grid; interpolated to the nearest voxel.
    study : Study
        Its preprocessing table and its task.

    Returns
    -------
    tuple of Volume and mask
        The array is C-contiguous and of `study.preprocessing.dtype`; the affine is that of the new grid (2-D: identity).

    Raises
    ------
    DataError
        ``IMG-BIAS`` when the bias field cannot be estimated, ``SITE-EXTRA`` when SimpleITK is missing.
    """
    return normalize_and_resample(orient_and_crop(volume, mask, study), study)


def orient_and_crop(volume: Volume, mask: Mask | None, study: Study) -> WorkingCase:
    """Orient and crop a case into memory of its own; the arguments can be freed afterwards.

    Where normalisation does not depend on the whole image, it is done during the copy, which saves a pass and a copy.
    Parameters are those of `preprocess`.
    """
    settings = study.preprocessing
    volume, mask = orient(volume, mask, study)
    box = find_crop_box(volume.array, volume.spacing, settings.crop)
    affine = np.array(volume.affine, dtype=np.float64)
    corner = [side.start for side in box]
    affine[:3, 3] += affine[:3, : len(corner)] @ corner
    label = None if mask is None else torch.from_numpy(_make_writable(mask[box]))[None]
    cropped = volume.array[(slice(None), *box)]
    if settings.intensity not in _POINTWISE_INTENSITIES or settings.bias_correction != "none" or settings.contrast != "none":
        return WorkingCase(torch.from_numpy(to_contiguous(cropped, np.float32)), label, affine)
    is_final = not (settings.spacing or settings.size)
    dtype = np.float16 if is_final and settings.dtype == "float16" else np.float32

    def normalize_block(block: NDArray[Any]) -> NDArray[Any]:
        values = torch.from_numpy(block)
        normalize(values, settings)
        return (_to_stored_dtype(values, settings) if is_final else values).numpy()

    return WorkingCase(torch.from_numpy(to_contiguous(cropped, dtype, normalize_block)), label, affine, normalized=True)


def normalize_and_resample(case: WorkingCase, study: Study) -> tuple[Volume, Mask | None]:
    """Do the steps after orientation and crop, which consume all of the case but its affine; see `preprocess`."""
    settings, is_3d = study.preprocessing, study.task.dimension == 3
    with single_threaded():
        if settings.bias_correction == "n4":
            correct_bias(case.image)
        if settings.contrast == "equalize":
            equalize(case.image, settings)
        if not case.normalized:
            normalize(case.image, settings)
    if settings.spacing:
        case.image, case.mask, case.affine = resample_to_spacing(case.image, case.mask, case.affine, settings.spacing)
    if settings.size:
        if not is_3d:
            case.image, case.mask, case.affine = fit_to_size(case.image, case.mask, case.affine, settings.size)
        case.image, case.mask, case.affine = pad_or_crop(case.image, case.mask, case.affine, settings.size)
    array = _to_stored_dtype(case.image, settings).contiguous().numpy()
    result = Volume(array, case.affine if is_3d else np.eye(4))
    return result, None if case.mask is None else case.mask[0].contiguous().numpy()


def _to_stored_dtype(values: torch.Tensor, settings: Preprocessing) -> torch.Tensor:
    """Return grey values in the type that is stored; the values passed in are overwritten."""
    dtype = torch.float16 if settings.dtype == "float16" else torch.float32
    if values.dtype == dtype == torch.float16:
        return values  # converted during the copy
    limits = torch.finfo(dtype)
    return values.clamp_(limits.min, limits.max).to(dtype)


def _make_writable(mask: Mask) -> Mask:
    """Return a mask that torch accepts, without a copy if possible: no step changes a mask in place."""
    return mask if mask.flags.c_contiguous and mask.flags.writeable else to_contiguous(mask, np.uint8)


def to_contiguous(
    array: NDArray[Any], dtype: type[np.generic], change: Callable[[NDArray[Any]], NDArray[Any]] = lambda block: block
) -> NDArray[Any]:
    """Return a C-contiguous copy, in blocks: readers give transposed views, which numpy alone copies slowly.

    Parameters
    ----------
    array : ndarray
        (..., X, Y[, Z]).
    dtype : type
        Type of the copy.
    change : callable, optional
        Applied to each block while it is in the processor's cache; it may change the block in place.
    """
    copy = np.empty(array.shape, dtype)
    sides = array.shape[-3:]
    steps = _COPY_BLOCK[-len(sides) :]
    starts = [range(0, side, step) for side, step in zip(sides, steps, strict=True)]
    for corner in itertools.product(*starts):
        block: tuple[Any, ...] = (..., *(slice(start, start + step) for start, step in zip(corner, steps, strict=True)))
        # first in memory order: otherwise planes a power of two apart would evict one another from the cache
        copy[block] = change(np.array(array[block], order="K"))
    return copy
