"""What preparing makes of an image: its size on the study's grid, and the memory that takes, before any of it is done."""

from __future__ import annotations

import math
from collections.abc import Sequence

from medfl.data.load import memory_error
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.study import Study
from medfl.system.memory import available_memory
from medfl.system.text import format_bytes

_CHECK_SPACING = "Check preprocessing.spacing in the study (millimetres), and the voxel size of the image"
_MILLION = 1_000_000
_FLOAT32 = 4  # bytes of a grey value while it is worked on
_SLAB_BYTES = 48  # bytes a voxel of the planes that are being interpolated: their coordinates, and the result
_SLAB_PLANES = 16  # as in `medfl.data.preprocess.spatial`


def foretell_shape(shape: Sequence[int], spacing: Sequence[float], study: Study) -> tuple[int, ...]:
    """Return the shape of the prepared image.

    Parameters
    ----------
    shape : sequence of int
        Voxels along each axis after the crop; of a volume in the order right-left, back-front, bottom-top.
    spacing : sequence of float
        Millimetres between them; empty when unknown, as for a 2-D image.
    study : Study
        Names spacing and size of the result.
    """
    settings = study.preprocessing
    if settings.size:
        return tuple(settings.size)
    return _resampled_shape(shape, spacing, study)


def preparing_bytes(shape: Sequence[int], spacing: Sequence[float], study: Study, *, masked: bool) -> int:
    """Return the memory that the arrays of a case take at the least while it is brought to the study's grid.

    Parameters
    ----------
    shape, spacing
        As in `foretell_shape`.
    study : Study
        Names spacing, size and type of the result.
    masked : bool
        Whether the label is a mask.
    """
    channels, settings = study.task.channel_count, study.preprocessing
    voxel = _FLOAT32 * channels + masked
    resampled = _resampled_shape(shape, spacing, study)
    kept = math.prod(shape) * (voxel + masked)  # the mask is also kept on its original grid
    planes = 0
    if resampled != tuple(shape):
        kept += math.prod(resampled) * voxel
        planes = min(_SLAB_PLANES, resampled[0]) * math.prod(resampled[1:]) * _SLAB_BYTES
    fitted = math.prod(settings.size) * voxel if len(settings.size) == len(shape) == 3 else 0
    halved = math.prod(foretell_shape(shape, spacing, study)) * 2 * channels * (settings.dtype == "float16")
    return kept + max(planes, fitted, halved)


def stored_bytes(shape: Sequence[int], prepared: Sequence[int], study: Study, *, masked: bool) -> int:
    """Return the bytes that a case takes in the store; where its classes lie takes some KB more.

    Parameters
    ----------
    shape : sequence of int
        Voxels of the original image along each axis.
    prepared : sequence of int
        Those of the prepared one.
    study, masked
        As in `preparing_bytes`.
    """
    settings, voxels = study.preprocessing, math.prod(prepared)
    size = voxels * study.task.channel_count * (2 if settings.dtype == "float16" else _FLOAT32)
    if masked:
        changed = bool(settings.spacing or settings.size or settings.crop != "none")
        size += voxels + (math.prod(shape) if changed and study.task.dimension == 3 else 0)  # the mask on the original grid
    return size


def check_prepared_size(
    shape: Sequence[int], spacing: Sequence[float], study: Study, settings: SiteData, *, masked: bool, memory: int | None = None
) -> None:
    """Check that an image can be brought to the study's grid, and that something is left of it.

    Parameters
    ----------
    shape, spacing, study, masked
        As in `preparing_bytes`.
    settings : SiteData
        Its `max_megavoxels` holds for prepared volumes, too.
    memory : int, optional
        Bytes that may be taken; by default what is free now.

    Raises
    ------
    DataError
        ``PREP-SIZE`` when a whole axis of the image would become one voxel, or the image larger than the site allows;
        ``CASE-MEMORY``.
    """
    prepared = _resampled_shape(shape, spacing, study)
    words = f"an image of {_times(shape)} voxels would be prepared as {_times(prepared)}"
    if any(after == 1 < before for before, after in zip(shape, prepared, strict=True)):
        what = f"{words}: the voxels of the study, {_times(study.preprocessing.spacing)} mm, are larger than the image."
        raise DataError("PREP-SIZE", what, f"{_CHECK_SPACING}.")
    size, allowed = math.prod(prepared) / _MILLION, settings.max_megavoxels
    if len(prepared) > 2 and size > allowed:
        what = f"{words}, which is {size:,.0f} million; max-megavoxels allows {allowed:,} million."
        raise DataError("PREP-SIZE", what, f"{_CHECK_SPACING}. If it is right, raise max-megavoxels in site.toml.")
    needed = preparing_bytes(shape, spacing, study, masked=masked)
    free = available_memory() if memory is None else memory
    if needed > free:
        what = f"{words}, which takes {format_bytes(needed)} of memory, and {format_bytes(free)} are there."
        raise memory_error(
            what, fix="Check preprocessing.spacing and preprocessing.size in the study, or use a larger machine."
        )


def _resampled_shape(shape: Sequence[int], spacing: Sequence[float], study: Study) -> tuple[int, ...]:
    """Return the shape after resampling, as MONAI's `compute_shape_offset` gives it for axes that keep their directions."""
    wanted = study.preprocessing.spacing
    if len(wanted) != len(spacing) or len(wanted) != len(shape):
        return tuple(shape)
    sides = zip(shape, spacing, wanted, strict=True)
    return tuple(round((side - 1) * before / after + 1) for side, before, after in sides)


def _times(numbers: Sequence[float]) -> str:
    return " x ".join(f"{number:g}" for number in numbers)
