"""The frames of a DICOM-SEG: what each shows, where it lies, and which slice of the series that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.dicom.headers import Header
from medfl.data.dicom.references import source_images, unreadable_label_error
from medfl.data.dicom.slices import nearest_slice, plane_matrix, slice_normal
from medfl.data.mask_alignment import CORNER_TOLERANCE
from medfl.data.volume import SliceGeometry
from medfl.errors import DataError

_ALL_SEGMENTS = 0  # number that stands for all segments of a frame of type LABELMAP
_STEP_TOLERANCE = 0.05  # share by which the steps of frames and slices may differ
_MIN_REGULAR_PLANES = 3  # planes from which on one distance between all of them is no chance


@dataclass(frozen=True, eq=False)
class SegFrame:
    """One frame of a DICOM-SEG.

    Parameters
    ----------
    index : int
        Its place in the pixel data.
    segment : int
        Number of its segment; 0 for all of them.
    orientation : ndarray, optional
        ImageOrientationPatient, (6,), when the file says it.
    matrix : ndarray, optional
        Where it lies, as `medfl.data.dicom.slices.plane` tells it, when the file says it.
    step : float
        SpacingBetweenSlices in mm; 0 when the file does not say it.
    sources : tuple of str
        SOPInstanceUIDs of the images that it was drawn on.
    """

    index: int
    segment: int
    orientation: NDArray[np.float64] | None
    matrix: NDArray[np.float64] | None
    step: float
    sources: tuple[str, ...]


def segmentation_type(dataset: Dataset) -> str:
    """Return the SegmentationType in capital letters."""
    return str(dataset.get("SegmentationType", "BINARY")).upper()


def read_frames(dataset: Dataset) -> list[SegFrame]:
    """Return what is said of each frame, in the order of the pixel data.

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
        return [_read_frame(index, group, shared, labelmap) for index, group in enumerate(groups)]
    except (AttributeError, TypeError, ValueError, IndexError, KeyError):
        raise unreadable_label_error() from None


def _read_frame(index: int, group: Dataset, shared: Dataset, labelmap: bool) -> SegFrame:
    def said(sequence: str, keyword: str) -> object:
        holder = group if group.get(sequence) else shared
        return holder[sequence][0].get(keyword) if holder.get(sequence) else None

    number = _ALL_SEGMENTS if labelmap else int(str(said("SegmentIdentificationSequence", "ReferencedSegmentNumber")))
    place = [
        said("PlanePositionSequence", "ImagePositionPatient"),
        said("PlaneOrientationSequence", "ImageOrientationPatient"),
        said("PixelMeasuresSequence", "PixelSpacing"),
    ]
    step = float(str(said("PixelMeasuresSequence", "SpacingBetweenSlices") or 0))
    position, orientation, pixel = (None if part is None else np.array(part, dtype=np.float64) for part in place)
    if orientation is not None and orientation.shape != (6,):
        raise unreadable_label_error()
    matrix = None
    if position is not None and orientation is not None and pixel is not None:
        matrix = plane_matrix(position, orientation, (float(pixel[0]), float(pixel[1])))
    return SegFrame(index, number, orientation, matrix, step, tuple(source_images(group)))


def match_frames(
    frames: Sequence[SegFrame], dataset: Dataset, slices: SliceGeometry, headers: Sequence[Header]
) -> list[tuple[SegFrame, int]] | None:
    """Return the slice that each frame lies on, or None when they lie on another grid than the series.

    That the planes of the frames are slices of the series is not enough: a segmentation of every second slice, or of thinner
    ones, has another grid, while one without its empty frames has not.

    Parameters
    ----------
    frames : sequence of SegFrame
        All of them.
    dataset : Dataset
        The DICOM-SEG.
    slices : SliceGeometry
        The slices of the series as they were acquired.
    headers : sequence of Header
        The files of the series.

    Raises
    ------
    DataError
        ``LBL-GEOMETRY`` for a frame that says nowhere where it lies.
    """
    if (int(dataset.Columns), int(dataset.Rows)) != slices.shape[:2]:
        return None
    allowed = CORNER_TOLERANCE * min(*slices.pixel_spacing, _smallest_step(slices))
    places = dict(_locate_images(headers, slices))
    slots = []
    for frame in frames:
        if frame.matrix is not None:
            k, off = nearest_slice(slices, frame.matrix)
            if not off <= allowed:
                return None
        else:
            found = {places[uid] for uid in frame.sources if uid in places}
            if len(found) != 1:
                what = "a frame of the segmentation says neither where it lies nor on which one image it was drawn."
                raise DataError("LBL-GEOMETRY", what, "Export the segmentation again, with positions.")
            k = found.pop()
        slots.append((frame, k))
    return slots if _has_slice_step(slots, slices, headers) else None


def _has_slice_step(slots: Sequence[tuple[SegFrame, int]], slices: SliceGeometry, headers: Sequence[Header]) -> bool:
    """Return whether frames have the step of the slices: one plane of a segment on each, and none left out by rule."""
    if len({(frame.segment, k) for frame, k in slots}) < len(slots):
        return False
    if len(slices.positions) < 2 or _has_neighbours(slots, slices):
        return True  # whatever the file states: scanners write the gap between slices there, and programs copy it
    stated = {frame.step for frame, _ in slots if frame.step > 0}
    if stated:
        known = (*_possible_steps(slices), *headers[0].numbers("SpacingBetweenSlices"))
        return all(any(abs(own - step) <= _STEP_TOLERANCE * step for step in known) for own in stated)
    gaps = np.diff(sorted({k for _, k in slots}))
    return len(gaps) < _MIN_REGULAR_PLANES - 1 or bool((gaps != gaps[0]).any())


def _has_neighbours(slots: Sequence[tuple[SegFrame, int]], slices: SliceGeometry) -> bool:
    """Return whether frames of a segment lie on two neighbouring slices, as far apart as these."""
    normal = slice_normal(slices)
    heights = slices.positions @ normal
    levels = {(f.segment, k): heights[k] if f.matrix is None else f.matrix[:, 2] @ normal for f, k in slots}
    pairs = [(s, k) for s, k in levels if (s, k + 1) in levels]
    apart = [(levels[s, k + 1] - levels[s, k], heights[k + 1] - heights[k]) for s, k in pairs]
    return any(abs(own - step) <= _STEP_TOLERANCE * abs(step) for own, step in apart)


def _possible_steps(slices: SliceGeometry) -> tuple[float, ...]:
    """Return what programs may call the distance of slices: usual or mean, across the slices or along a tilted stack."""
    across = np.abs(np.diff(slices.positions @ slice_normal(slices)))
    along = np.linalg.norm(np.diff(slices.positions, axis=0), axis=1)
    return float(np.median(across)), float(across.mean()), float(np.median(along)), float(along.mean())


def _smallest_step(slices: SliceGeometry) -> float:
    steps = np.linalg.norm(np.diff(slices.positions, axis=0), axis=1)
    return float(steps.min(initial=np.inf))


def _locate_images(headers: Sequence[Header], slices: SliceGeometry) -> Iterator[tuple[str, int]]:
    """Yield the slice that each image of the series lies on."""
    for header in headers:
        try:
            position = np.array(header.numbers("ImagePositionPatient"), dtype=np.float64)
        except ValueError:
            continue
        if position.shape == (3,):
            yield header.text("SOPInstanceUID"), int(np.linalg.norm(slices.positions - position, axis=1).argmin())
