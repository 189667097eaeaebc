"""DICOM SEG on another grid than the slices of the series: other axes, a part of the image, or another resolution."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.dicom.references import unreadable_label_error
from medfl.data.dicom.slices import ACROSS_TOLERANCE, paint_mask
from medfl.data.library_output import library_errors_as
from medfl.data.mask_alignment import resample_mask
from medfl.data.volume import LPS_TO_RAS, Affine, Volume
from medfl.errors import DataError

Mask = NDArray[np.uint8]
_GRID_TOLERANCE = 1e-2  # grids that agree within this share of a voxel need no interpolation


def resample_seg(dataset: Dataset, classes: Mapping[int, int], image: Volume, *, resample: bool) -> Mask:
    """Return a segmentation as a mask on the grid of its image.

    A grid with other axes, or of a part of the image, is matched without changing a voxel; one of another resolution is
    resampled to the image's if the site allows it and the corners agree (see `medfl.data.mask_alignment`).

    Parameters
    ----------
    dataset : Dataset
        The DICOM SEG.
    classes : mapping of int to int
        Class of each segment.
    image : Volume
        The source series.
    resample : bool
        Whether the segmentation may be resampled to the nearest voxel.

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-GEOMETRY`` or ``LBL-OVERLAP``.
    """
    import highdicom  # half a second that sites without DICOM need not spend

    with library_errors_as(unreadable_label_error):
        segmentation = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
    mask = np.zeros(image.shape, dtype=np.uint8)
    for number, label in classes.items():
        if label == 0:
            continue
        volume = _read_segment_volume(segmentation, number)
        segment = _match_grid(volume, image)
        if segment is None:
            segment = _resample_segment(volume, image, resample=resample)
        paint_mask(mask, segment * np.uint8(label))
    return mask


def _read_segment_volume(segmentation: Any, number: int) -> Any:
    with library_errors_as(_other_grid_error):
        return segmentation.get_volume(segment_numbers=[number], combine_segments=False, dtype=np.float32, rtol=0.05)


def _other_grid_error() -> DataError:
    what = "the segmentation is not on the grid of its series, or a segment is damaged."
    return DataError("LBL-GEOMETRY", what, "Export the segmentation again, in the resolution of the series.")


def _match_grid(volume: Any, image: Volume) -> NDArray[np.bool_] | None:
    import highdicom

    affine = (LPS_TO_RAS @ image.affine)[:, [2, 1, 0, 3]]
    grid = highdicom.VolumeGeometry(affine, image.shape[::-1], "PATIENT")
    try:
        matched = np.asarray(volume.match_geometry(grid, tol=_GRID_TOLERANCE).array)[..., 0]
    except (ValueError, RuntimeError, IndexError, TypeError):
        return None
    if np.count_nonzero(matched >= 0.5) < np.count_nonzero(np.asarray(volume.array) >= 0.5):
        return None  # a part of the segment is outside the image
    return np.asarray(matched.transpose(2, 1, 0) >= 0.5, dtype=np.bool_)


def _resample_segment(volume: Any, image: Volume, *, resample: bool) -> NDArray[np.bool_]:
    segment = np.asarray(volume.array)[..., 0].transpose(2, 1, 0) >= 0.5
    affine = LPS_TO_RAS @ np.asarray(volume.affine, dtype=np.float64)[:, [2, 1, 0, 3]]
    padded, affine = _pad_empty_slices(segment, affine, image)
    return resample_mask(padded.astype(np.uint8), affine, image, resample=resample, across=ACROSS_TOLERANCE) > 0


def _pad_empty_slices(segment: NDArray[np.bool_], affine: Affine, image: Volume) -> tuple[NDArray[np.bool_], Affine]:
    """Restore empty slices at both ends, which a segmentation may omit, as far as the image reaches."""
    corners = np.array([[i, j, k, 1.0] for i in (0, 1) for j in (0, 1) for k in (0, 1)]).T
    box = corners * np.array([*image.shape, 1.0])[:, np.newaxis] - np.array([0.5, 0.5, 0.5, 0.0])[:, np.newaxis]
    extent = (np.linalg.inv(affine) @ image.affine @ box)[2]
    before = max(0, round(-0.5 - float(extent.min())))
    after = max(0, round(float(extent.max()) - (segment.shape[2] - 0.5)))
    if before + after > 10 * image.shape[2] + 1000:
        before = after = 0  # far from the image: the comparison of the corners will refuse it
    shifted = affine.copy()
    shifted[:3, 3] -= before * affine[:3, 2]
    return np.pad(segment, ((0, 0), (0, 0), (before, after))), shifted
