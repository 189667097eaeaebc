"""The order of the steps, and how they share one copy of the image: a CT of 600 slices is too large for several."""

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
_COPY_BLOCK = (240, 4, 64)  # voxels; a transposed copy in such blocks is many times as fast as in one go
_POINTWISE_INTENSITIES = ("window", "standardize")  # what becomes of a voxel does not depend on the others


@dataclass
class WorkingCase:
    """A case on its way; the steps change it in place.

    Parameters
    ----------
    image : Tensor
        (C, X, Y[, Z]), C-contiguous, in memory of its own; float32, or as it is stored when nothing but that is left to do.
    mask : Tensor, optional
        (1, X, Y[, Z]), uint8.
    affine : ndarray
        4 x 4 affine of both, in mm.
    normalized : bool
        Whether the grey values are on the study's scale already.
    """

    image: torch.Tensor
    mask: torch.Tensor | None
    affine: Affine = field(default_factory=lambda: np.eye(4))
    normalized: bool = False


def orient(volume: Volume, mask: Mask | None, study: Study) -> tuple[Volume, Mask | None]:
    """Turn and flip a volume and its mask so that the axes run to the right, the front and the top (RAS).

    Nothing is interpolated and nothing is copied: both are views. Images of a 2-D task stay as they are.

    Parameters
    ----------
    volume : Volume
        Array (C, X, Y[, Z]) and affine in mm.
    mask : array of uint8, optional
        (X, Y[, Z]) on the same grid.
    study : Study
        Only the dimension is read.

    Returns
    -------
    tuple of Volume and mask
    """
    return (volume, mask) if study.task.dimension == 2 else to_ras(volume, mask)


def preprocess(volume: Volume, mask: Mask | None, study: Study) -> tuple[Volume, Mask | None]:
    """Bring one case to the form in which the network sees it.

    The order is: RAS orientation (3-D), crop, bias field, contrast, intensity, spacing, size. The intensity is
    set before interpolation and padding, so that its statistics are those of the voxels that were measured; padding
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
        ``IMG-BIAS`` when the bias field cannot be found, ``SITE-EXTRA`` when SimpleITK is missing.
    """
    return normalize_and_resample(orient_and_crop(volume, mask, study), study)


def orient_and_crop(volume: Volume, mask: Mask | None, study: Study) -> WorkingCase:
    """Orient and crop a case into memory of its own; what was read can be let go then.

    Where the scale does not depend on the image, the grey values are normalised on the way: a pass and a copy less.
    Parameters are those of `preprocess`.
    """
    settings = study.preprocessing
    volume, mask = orient(volume, mask, study)
    box = find_crop_box(volume.array, volume.spacing, settings.crop)
    affine = np.array(volume.affine, dtype=np.float64)
    corner = [side.start for side in box]
    affine[:3, 3] += affine[:3, : len(corner)] @ corner
    label = None if mask is None else torch.from_numpy(_make_writable(mask[box]))[None]
    kept = volume.array[(slice(None), *box)]
    if settings.intensity not in _POINTWISE_INTENSITIES or settings.bias_correction != "none" or settings.contrast != "none":
        return WorkingCase(torch.from_numpy(to_contiguous(kept, np.float32)), label, affine)
    last = not (settings.spacing or settings.size)
    kind = np.float16 if last and settings.dtype == "float16" else np.float32

    def scaled(block: NDArray[Any]) -> NDArray[Any]:
        values = torch.from_numpy(block)
        normalize(values, settings)
        return (_to_stored_dtype(values, settings) if last else values).numpy()

    return WorkingCase(torch.from_numpy(to_contiguous(kept, kind, scaled)), label, affine, normalized=True)


def normalize_and_resample(work: WorkingCase, study: Study) -> tuple[Volume, Mask | None]:
    """Do all that comes after orientation and crop; the work is used up. Result and errors are those of `preprocess`."""
    settings, three = study.preprocessing, study.task.dimension == 3
    with single_threaded():
        if settings.bias_correction == "n4":
            correct_bias(work.image)
        if settings.contrast == "equalize":
            equalize(work.image, settings)
        if not work.normalized:
            normalize(work.image, settings)
    if settings.spacing:
        work.image, work.mask, work.affine = resample_to_spacing(work.image, work.mask, work.affine, settings.spacing)
    if settings.size:
        if not three:
            work.image, work.mask = fit_to_size(work.image, work.mask, settings.size)
        work.image, work.mask, work.affine = pad_or_crop(work.image, work.mask, work.affine, settings.size)
    array = _to_stored_dtype(work.image, settings).contiguous().numpy()
    done = Volume(array, work.affine if three else np.eye(4))
    return done, None if work.mask is None else work.mask[0].contiguous().numpy()


def _to_stored_dtype(values: torch.Tensor, settings: Preprocessing) -> torch.Tensor:
    """Return grey values in the type that is stored; those are changed in place."""
    kind = torch.float16 if settings.dtype == "float16" else torch.float32
    if values.dtype == kind == torch.float16:
        return values  # done on the way
    limits = torch.finfo(kind)
    return values.clamp_(limits.min, limits.max).to(kind)


def _make_writable(mask: Mask) -> Mask:
    """Return a mask that torch takes; no step changes one in place, so a good one need not be copied."""
    return mask if mask.flags.c_contiguous and mask.flags.writeable else to_contiguous(mask, np.uint8)


def to_contiguous(
    array: NDArray[Any], kind: type[np.generic], change: Callable[[NDArray[Any]], NDArray[Any]] = lambda block: block
) -> NDArray[Any]:
    """Return a C-contiguous copy; readers give transposed views, which numpy alone copies slowly.

    Parameters
    ----------
    array : ndarray
        (..., X, Y[, Z]).
    kind : type
        Of the copy.
    change : callable, optional
        Applied to each block on the way, while the processor has it at hand; it may change the block in place.
    """
    fresh = np.empty(array.shape, kind)
    sides = array.shape[-3:]
    steps = _COPY_BLOCK[-len(sides) :]
    starts = [range(0, side, step) for side, step in zip(sides, steps, strict=True)]
    for corner in itertools.product(*starts):
        block: tuple[Any, ...] = (..., *(slice(at, at + step) for at, step in zip(corner, steps, strict=True)))
        # first as it lies: in one go, planes that are a power of two apart would drive one another out of the cache
        fresh[block] = change(np.array(array[block], order="K"))
    return fresh
