"""Sanity checks of the values and the size of an image, slice by slice: volumes are large."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from medfl.data.findings import Finding
from medfl.data.mask_values import iter_slices
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.study import Study
from medfl.system.text import plural

SPACING_MM = (0.05, 20.0)  # voxel sizes that an image of a patient can have
FIELD_OF_VIEW_MM = (10.0, 2500.0)  # and its longest side
MAX_CONSTANT_SHARE = 0.99  # share of the voxels that may have one value
_BONE_HU = 1500.0  # a CT that never gets below 0 but above this was stored without its rescale intercept
_AIR_HU, _AIR_SHARE = -500.0, 0.001  # a body with its surroundings has at least this share of air
_BODY_MM = 200.0  # from this width on, a CT shows a body with its surroundings
_SUBSAMPLE_STEP = 8  # every 8th voxel along each axis shows which value is the most common one

Array = NDArray[np.float32]


def check_image(volume: Volume, study: Study) -> list[Finding]:
    """Check the values and the size of an image.

    Parameters
    ----------
    volume : Volume
        All channels.
    study : Study
        Says which modality it is.

    Returns
    -------
    list of Finding
        Warnings: ``CT-HU``.

    Raises
    ------
    DataError
        ``IMG-NAN``, ``IMG-CONST`` when more than 99 % of the voxels of a channel have one value, ``IMG-SPACING``.
    """
    _check_size(volume)
    count = sum(layer.size - int(np.count_nonzero(np.isfinite(layer))) for part in volume.array for layer in iter_slices(part))
    if count:
        raise DataError(
            "IMG-NAN",
            f"{plural(count, 'voxel is not a number', 'voxels are not numbers')}.",
            "Replace them and convert the image again.",
        )
    for channel in volume.array:
        share = _most_common_share(channel)
        if share > MAX_CONSTANT_SHARE:
            what = f"{100 * share:.4g} % of the voxels have one value."
            raise DataError("IMG-CONST", what, "The image is empty, or nearly so; export it again.")
    return _check_hounsfield(volume, study) if study.task.modality == "CT" else []


def _check_size(volume: Volume) -> None:
    if volume.array.ndim < 4:
        return  # a picture has no millimetres
    low, high = SPACING_MM
    if not all(low <= size <= high for size in volume.spacing):
        sizes = " x ".join(f"{size:.3g}" for size in volume.spacing)
        raise DataError("IMG-SPACING", f"the voxel size of {sizes} mm cannot be right.", "Convert it again from the DICOM.")
    field = [size * count for size, count in zip(volume.spacing, volume.shape, strict=True)]
    if not FIELD_OF_VIEW_MM[0] <= max(field) <= FIELD_OF_VIEW_MM[1]:
        sizes = " x ".join(f"{side:.4g}" for side in field)
        what = f"an image of {sizes} mm cannot be right."
        raise DataError("IMG-SPACING", what, "The voxel size is probably wrong; convert it again from the DICOM.")


def _most_common_share(channel: Array) -> float:
    """Return the share of the most common value, if one fills more than half of the channel; else something smaller."""
    # a value that fills nearly all fills more than half of a thinned copy too, and is its median then
    thinned = np.sort(channel[(slice(None, None, _SUBSAMPLE_STEP),) * channel.ndim], axis=None)
    common = thinned[len(thinned) // 2]
    return sum(int(np.count_nonzero(layer == common)) for layer in iter_slices(channel)) / channel.size


def _check_hounsfield(volume: Volume, study: Study) -> list[Finding]:
    lowest = min(float(layer.min()) for part in volume.array for layer in iter_slices(part))
    highest = max(float(layer.max()) for part in volume.array for layer in iter_slices(part))
    fix = "RescaleIntercept is missing or was applied twice; export the original."
    if lowest >= 0 and highest > _BONE_HU:
        what = f"values run from {lowest:.4g} to {highest:.4g}, but a CT in Hounsfield units reaches about -1000 in air."
        return [Finding.warning("CT-HU", what, fix)]
    if study.task.dimension == 3 and _shows_body(volume):
        air = sum(int(np.count_nonzero(layer <= _AIR_HU)) for layer in iter_slices(volume.array[0]))
        if air < _AIR_SHARE * volume.array[0].size:
            what = (
                f"values run from {lowest:.4g} to {highest:.4g}, and hardly any voxel is air, which is about -1000 in a CT in "
                "Hounsfield units."
            )
            return [Finding.warning("CT-HU", what, f"If the image was not cut to the body: {fix}")]
    return []


def _shows_body(volume: Volume) -> bool:
    sides = sorted(size * count for size, count in zip(volume.spacing, volume.shape, strict=True))
    return sides[1] >= _BODY_MM
