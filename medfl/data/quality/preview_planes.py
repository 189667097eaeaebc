"""Small pictures of a case with its label: three planes through where most is marked, turned as radiologists look at them."""

from __future__ import annotations

import math

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfl.data.quality.facts import PreviewPlane
from medfl.data.volume import Volume, affine_to_spacing

PREVIEW_SIDE = 176  # pixels of the longest side of the volume
_SOFT_TISSUE_WINDOW = (-200.0, 300.0)  # Hounsfield units shown of a CT
_WINDOW_PERCENTILES = (1.0, 99.5)  # percentiles shown of anything else
_SAMPLE_VOXELS = 200_000  # voxels that percentiles are taken of
_PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))


def render_planes(volume: Volume, mask: NDArray[np.uint8] | None, modality: str) -> tuple[PreviewPlane, ...]:
    """Return pictures of an image.

    The first channel is shown. A volume is turned to RAS+ axes first, so that the axial and the coronal slice show the
    patient's right on the left, and the sagittal slice shows the front on the left. The slices are those with the most marked
    voxels, or the middle ones.

    Parameters
    ----------
    volume : Volume
        Volume as it was read.
    mask : ndarray of uint8 or None
        Classes on its grid; none for the class of a whole image.
    modality : str
        Modality of the task; a CT is shown in a window for soft tissue.
    """
    grey = volume.array[0]
    window = _SOFT_TISSUE_WINDOW if modality == "CT" else tuple(np.percentile(subsample(grey), _WINDOW_PERCENTILES))
    if grey.ndim == 2:
        marked = np.zeros(grey.shape, np.uint8) if mask is None else mask
        scale = PREVIEW_SIDE / max(grey.shape)
        return (_render_plane("image", grey.T, marked.T, (scale, scale), window),)
    turn = nibabel.io_orientation(volume.affine)
    grey = nibabel.apply_orientation(grey, turn)
    marked = np.zeros(grey.shape, np.uint8) if mask is None else nibabel.apply_orientation(mask, turn)
    spacing = np.empty(3)
    spacing[turn[:, 0].astype(int)] = affine_to_spacing(volume.affine)
    scales = spacing * PREVIEW_SIDE / float(np.max(spacing * grey.shape))  # pixels a voxel: one scale for all planes
    return tuple(_render_slice(name, axis, grey, marked, scales, window) for name, axis in _PLANES)


def subsample(array: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return evenly spread values of an array, few enough to sort, without copying the array."""
    step = max(1, math.ceil((array.size / _SAMPLE_VOXELS) ** (1 / array.ndim)))
    return array[(slice(None, None, step),) * array.ndim].reshape(-1)


def _render_slice(
    name: str,
    axis: int,
    grey: NDArray[np.float32],
    marked: NDArray[np.uint8],
    scales: NDArray[np.float64],
    window: tuple[float, ...],
) -> PreviewPlane:
    others = tuple(k for k in range(3) if k != axis)
    amounts = np.count_nonzero(marked, axis=others)
    place = int(np.argmax(amounts)) if amounts.any() else grey.shape[axis] // 2
    # rows run down: of RAS+ axes, both have to be turned round
    shown, drawn = (np.take(a, place, axis).T[::-1, ::-1] for a in (grey, marked))
    return _render_plane(name, shown, drawn, (scales[others[1]], scales[others[0]]), window)


def _render_plane(
    name: str,
    grey: NDArray[np.float32],
    mask: NDArray[np.uint8],
    scales: tuple[float, float],
    window: tuple[float, ...],
) -> PreviewPlane:
    """Make a picture with square pixels of a slice (rows, columns), given how many pixels a voxel takes along each."""
    low, high = window
    scaled = np.clip((grey - low) / max(high - low, 1e-6), 0, 1)
    height, width = (max(1, round(count * scale)) for count, scale in zip(grey.shape, scales, strict=True))
    picture = Image.fromarray((scaled * 255).astype(np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    drawn = Image.fromarray(np.ascontiguousarray(mask)).resize((width, height), Image.Resampling.NEAREST)
    return PreviewPlane(name, np.asarray(picture), np.asarray(drawn))
