"""Frames of a DICOM SEG: the segment and the position of each, and the slice of the series at that position."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.dicom.headers import Header
from medfl.data.dicom.image_slices import NO_SLICE, ImageReference, SlicesByImage, read_image_references, referenced_slices
from medfl.data.dicom.references import source_image_items, unreadable_label_error
from medfl.data.dicom.slices import ACROSS_TOLERANCE, nearest_slice, plane_matrix, slice_distance, slice_normal
from medfl.data.mask_alignment import CORNER_TOLERANCE
from medfl.data.volume import SliceGeometry
from medfl.errors import DataError

ORIENTATION_TOLERANCE = 1e-2  # by which direction cosines may differ
_ROUNDING_MM = 1e-3  # of coordinates
_ALL_SEGMENTS = 0  # of a frame of type LABELMAP, which shows all segments
_STEP_TOLERANCE = 0.05  # relative difference between the spacings of frames and slices
_MIN_REGULAR_PLANES = 3  # fewer planes may be equally spaced by chance


@dataclass(frozen=True, eq=False)
class SegFrame:
    """One frame of a DICOM SEG.

    Parameters
    ----------
    index : int
        Index of the frame in the pixel data.
    segment : int
        Number of its segment; 0 for all of them.
    orientation : ndarray, optional
        ImageOrientationPatient, (6,), if the file states it.
    matrix : ndarray, optional
        Position of its pixels, as in `medfl.data.dicom.slices.plane_matrix`, if the file states it.
    step : float
        SpacingBetweenSlices in mm; 0 if the file does not state it.
    sources : tuple of ImageReference
        Images that it was drawn on.
    """

    index: int
    segment: int
    orientation: NDArray[np.float64] | None
    matrix: NDArray[np.float64] | None
    step: float
    sources: tuple[ImageReference, ...]


def segmentation_type(dataset: Dataset) -> str:
    """Return the SegmentationType in upper case."""
    return str(dataset.get("SegmentationType", "BINARY")).upper()


def read_frames(dataset: Dataset, slices: SliceGeometry | None = None) -> list[SegFrame]:
    """Return the frames in the order of the pixel data.

    Parameters
    ----------
    dataset : Dataset
        The DICOM SEG.
    slices : SliceGeometry, optional
        Slices whose orientation and pixel spacing count for frames that state a position only.

    Raises
    ------
    DataError
        ``LBL-READ``.
    """
    try:
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        if len(groups) != int(dataset.get("NumberOfFrames") or 1):
            raise unreadable_label_error()
        labelmap = segmentation_type(dataset) == "LABELMAP"
        return [_read_frame(index, group, shared, labelmap, slices) for index, group in enumerate(groups)]
    except (AttributeError, TypeError, ValueError, IndexError, KeyError):
        raise unreadable_label_error() from None


def _read_frame(index: int, group: Dataset, shared: Dataset, labelmap: bool, slices: SliceGeometry | None) -> SegFrame:
    def get_attribute(sequence: str, keyword: str) -> object:
        source = group if group.get(sequence) else shared
        return source[sequence][0].get(keyword) if source.get(sequence) else None

    number = _ALL_SEGMENTS if labelmap else int(str(get_attribute("SegmentIdentificationSequence", "ReferencedSegmentNumber")))
    attributes = [
        get_attribute("PlanePositionSequence", "ImagePositionPatient"),
        get_attribute("PlaneOrientationSequence", "ImageOrientationPatient"),
        get_attribute("PixelMeasuresSequence", "PixelSpacing"),
    ]
    step = float(str(get_attribute("PixelMeasuresSequence", "SpacingBetweenSlices") or 0))
    position, orientation, pixel_spacing = (
        None if value is None else np.array(value, dtype=np.float64) for value in attributes
    )
    sources = read_image_references(source_image_items(group if group.get("DerivationImageSequence") else shared))
    if position is not None and slices is not None:
        orientation = slices.orientation if orientation is None else orientation
        pixel_spacing = np.array(slices.pixel_spacing) if pixel_spacing is None else pixel_spacing
    for values, size in ((position, 3), (orientation, 6), (pixel_spacing, 2)):
        if values is not None and not (values.shape == (size,) and np.isfinite(values).all()):
            raise unreadable_label_error()
    matrix = None
    if position is not None and orientation is not None and pixel_spacing is not None:
        matrix = plane_matrix(position, orientation, (float(pixel_spacing[0]), float(pixel_spacing[1])))
    return SegFrame(index, number, orientation, matrix, step, tuple(sources))


def match_frames(
    frames: Sequence[SegFrame], dataset: Dataset, slices: SliceGeometry, headers: Sequence[Header], located: SlicesByImage
) -> list[tuple[SegFrame, int]] | None:
    """Return each frame with the slice at its position, or None when the frames are on another grid than the series.

    It is not enough that the frames are at positions of slices: a segmentation of every second slice, or of thinner slices,
    has another grid, while one that only omits empty frames does not.

    Parameters
    ----------
    frames : sequence of SegFrame
        All frames.
    dataset : Dataset
        The DICOM SEG.
    slices : SliceGeometry
        Slices of the series as they were acquired.
    headers : sequence of Header
        Headers of the series.
    located : mapping
        Slices of the images, of `medfl.data.dicom.image_slices.locate_images`.

    Raises
    ------
    DataError
        ``LBL-GEOMETRY`` for a frame without a position, ``LBL-FRAMES`` for two of a segment on one slice.
    """
    if (int(dataset.Columns), int(dataset.Rows)) != slices.shape[:2]:
        return None
    tolerance = CORNER_TOLERANCE * min(slices.pixel_spacing), ACROSS_TOLERANCE * _smallest_step(slices) + _ROUNDING_MM
    placed = []
    for frame in frames:
        if frame.matrix is not None:
            k, in_plane, across = nearest_slice(slices, frame.matrix)
            if not (in_plane <= tolerance[0] and across <= tolerance[1]):
                return None
        else:
            candidates = referenced_slices(frame.sources, located) - {NO_SLICE}
            if len(candidates) != 1 or not _has_orientation(frame, slices):
                what = "a frame of the segmentation has no position, and does not reference exactly one image."
                raise DataError("LBL-GEOMETRY", what, "Export the segmentation again, with positions.")
            k = candidates.pop()
        placed.append((frame, k))
    if len({(frame.segment, k) for frame, k in placed}) < len(placed):
        raise repeated_frames_error(len(placed) - len({(frame.segment, k) for frame, k in placed}))
    return placed if _has_slice_step(placed, slices, headers) else None


def _has_orientation(frame: SegFrame, slices: SliceGeometry) -> bool:
    return frame.orientation is None or bool(np.abs(frame.orientation - slices.orientation).max() <= ORIENTATION_TOLERANCE)


def repeated_frames_error(count: int) -> DataError:
    """Return the error for frames of a segment where another frame of it is."""
    what = f"{count} frame(s) of the segmentation show a segment where another frame shows it, too."
    return DataError("LBL-FRAMES", what, "Export the segmentation again, with one frame for each segment and slice.")


def _has_slice_step(placed: Sequence[tuple[SegFrame, int]], slices: SliceGeometry, headers: Sequence[Header]) -> bool:
    """Return whether frames have the spacing of the slices: none is omitted regularly."""
    if len(slices.positions) < 2 or _has_neighbours(placed, slices):
        return True  # SpacingBetweenSlices is not decisive: scanners write the gap between slices there, and programs copy it
    stated = {frame.step for frame, _ in placed if frame.step > 0}
    if stated:
        known = (*_possible_steps(slices), *headers[0].numbers("SpacingBetweenSlices"))
        return all(any(abs(value - step) <= _STEP_TOLERANCE * step for step in known) for value in stated)
    gaps = np.diff(sorted({k for _, k in placed}))
    return len(gaps) < _MIN_REGULAR_PLANES - 1 or bool((gaps != gaps[0]).any())


def _has_neighbours(placed: Sequence[tuple[SegFrame, int]], slices: SliceGeometry) -> bool:
    """Return whether a segment has frames on two neighbouring slices, and as far apart as these slices."""
    normal = slice_normal(slices)
    heights = slices.positions @ normal
    levels = {(f.segment, k): heights[k] if f.matrix is None else f.matrix[:, 2] @ normal for f, k in placed}
    pairs = [(s, k) for s, k in levels if (s, k + 1) in levels]
    distances = [(levels[s, k + 1] - levels[s, k], heights[k + 1] - heights[k]) for s, k in pairs]
    return any(abs(value - step) <= _STEP_TOLERANCE * abs(step) for value, step in distances)


def _possible_steps(slices: SliceGeometry) -> tuple[float, ...]:
    """Return what programs may call the slice spacing: median or mean, along the normal or along a tilted stack."""
    across = np.abs(np.diff(slices.positions @ slice_normal(slices)))
    along = np.linalg.norm(np.diff(slices.positions, axis=0), axis=1)
    return float(np.median(across)), float(across.mean()), float(np.median(along)), float(along.mean())


def _smallest_step(slices: SliceGeometry) -> float:
    steps = np.abs(np.diff(slices.positions @ slice_normal(slices)))
    return float(steps.min()) if len(steps) else slice_distance(slices)
