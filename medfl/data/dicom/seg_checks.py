"""Contradictions in a DICOM SEG: frames that lie elsewhere than their references, their numbers or another frame say."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from medfl.data.dicom.image_slices import NO_SLICE, SlicesByImage, referenced_slices
from medfl.data.dicom.seg_frames import SegFrame, repeated_frames_error
from medfl.data.dicom.slices import ACROSS_TOLERANCE, slice_distance, slice_normal
from medfl.data.findings import Finding
from medfl.data.volume import SliceGeometry
from medfl.errors import DataError

_ROUNDING_MM = 1e-3  # of coordinates
_MAX_SOURCE_STEPS = 1.0  # slice spacings between a frame that is between slices and the image that it refers to
_POSITION, _STACK_POSITION, _SEGMENT = Tag("ImagePositionPatient"), Tag("InStackPositionNumber"), Tag("ReferencedSegmentNumber")
_ORDERS = {_STACK_POSITION: "numbers in the stack", _POSITION: "dimension indices"}


def check_frames(frames: Sequence[SegFrame], dataset: Dataset, *, confirmed: bool) -> list[Finding]:
    """Check that frames do not repeat each other, and lie in the order that their numbers say (PS3.3 C.7.6.16 and C.7.6.17).

    Parameters
    ----------
    frames : sequence of SegFrame
        All frames.
    dataset : Dataset
        The DICOM SEG.
    confirmed : bool
        Whether each frame lies on the image that it refers to: some programs number positions in the order of their files.

    Returns
    -------
    list of Finding
        A warning ``LBL-FRAMES`` for dimension indices or numbers in the stack in another order than positions that images
        confirm.

    Raises
    ------
    DataError
        ``LBL-FRAMES``.
    """
    placed = [(frame, frame.matrix[:, 2]) for frame in frames if frame.matrix is not None]
    places = {(frame.segment, *np.round(position / _ROUNDING_MM).astype(np.int64).tolist()) for frame, position in placed}
    if len(places) < len(placed):
        raise repeated_frames_error(len(placed) - len(places))
    numbers = _read_numbers(dataset, len(frames))
    if _SEGMENT in numbers and not _is_one_to_one((frame.segment, numbers[_SEGMENT][frame.index]) for frame in frames):
        raise _contradiction("the dimension indices of the frames of the segmentation contradict their segment numbers.")
    wrong = [name for tag, name in _ORDERS.items() if tag in numbers and not _rises_with_position(placed, numbers[tag])]
    if not wrong:
        return []
    problem = _contradiction(f"the {' and the '.join(wrong)} of the frames of the segmentation contradict their positions.")
    if not confirmed:
        raise problem
    what = f"{problem.what} The frames lie on the images that they refer to, and were used."
    return [Finding.warning(problem.code, what, "Look at some of the cases.")]


def check_sources(frames: Sequence[SegFrame], slices: SliceGeometry, located: SlicesByImage) -> bool:
    """Check that frames lie on the images that they were drawn on (DerivationImageSequence, PS3.3 C.7.6.16.2.6).

    A frame on a slice must have that slice among its images; one between slices, of another grid, one that is near.

    Parameters
    ----------
    frames : sequence of SegFrame
        Frames, of which those with a position are checked.
    slices : SliceGeometry
        Slices of the series.
    located : mapping
        Slices of the images, of `medfl.data.dicom.image_slices.locate_images`.

    Returns
    -------
    bool
        Whether each frame was held against an image.

    Raises
    ------
    DataError
        ``LBL-FRAMES``.
    """
    normal, step = slice_normal(slices), slice_distance(slices)
    heights, tolerance = slices.positions @ normal, ACROSS_TOLERANCE * step + _ROUNDING_MM
    n_elsewhere = n_checked = 0
    for frame in frames:
        named = referenced_slices(frame.sources, located)
        if frame.matrix is None or not named or max(abs(normal @ frame.matrix[:, :2])) > 1e-3 * step:
            continue
        height, n_checked = float(frame.matrix[:, 2] @ normal), n_checked + 1
        distance = min((abs(height - heights[k]) for k in named - {NO_SLICE}), default=np.inf)
        on_slice = np.abs(heights - height).min() <= tolerance
        n_elsewhere += distance > (tolerance if on_slice else _MAX_SOURCE_STEPS * step + tolerance)
    if n_elsewhere:
        what = f"{n_elsewhere} of {n_checked} frames of the segmentation lie elsewhere than the image that they refer to."
        raise _contradiction(what)
    return n_checked == len(frames)


def _contradiction(what: str) -> DataError:
    return DataError("LBL-FRAMES", what, "Export the segmentation again from the program that it was drawn with.")


def _read_numbers(dataset: Dataset, count: int) -> dict[int, list[int]]:
    """Return the numbers of the frames, by the attribute that they count, as far as every frame has them."""
    try:
        pointers = [int(item.DimensionIndexPointer) for item in dataset.get("DimensionIndexSequence") or ()]
        contents = [group.FrameContentSequence[0] for group in dataset.get("PerFrameFunctionalGroupsSequence") or ()]
        values = [np.atleast_1d(content.get("DimensionIndexValues") or []).tolist() for content in contents]
    except (AttributeError, IndexError, TypeError, ValueError):
        return {}
    numbers: dict[int, list[int]] = {}
    for place, pointer in enumerate(pointers):
        if len(values) == count and all(len(value) == len(pointers) for value in values):
            numbers[pointer] = [int(value[place]) for value in values]
    stack = [content.get("InStackPositionNumber") for content in contents]
    if len(stack) == count and all(stack) and len({str(content.get("StackID")) for content in contents}) == 1:
        numbers[_STACK_POSITION] = [int(number) for number in stack]
    return numbers


def _rises_with_position(placed: Sequence[tuple[SegFrame, np.ndarray]], numbers: Sequence[int]) -> bool:
    """Return whether numbers of frames rise, or fall, from position to position within each segment; equal ones say nothing."""
    by_segment: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for frame, position in placed:
        matrix = frame.matrix
        assert matrix is not None
        by_segment[frame.segment].append((numbers[frame.index], float(position @ np.cross(matrix[:, 0], matrix[:, 1]))))
    for pairs in by_segment.values():
        if len({number for number, _ in pairs}) > 1:
            steps = np.diff([height for _, height in sorted(pairs)])
            if len({number for number, _ in pairs}) < len(pairs) or not ((steps > 0).all() or (steps < 0).all()):
                return False
    return True


def _is_one_to_one(pairs: Iterable[tuple[int, int]]) -> bool:
    distinct = set(pairs)
    ones, others = {one for one, _ in distinct}, {other for _, other in distinct}
    return len(others) <= 1 or len(ones) == len(others) == len(distinct)
