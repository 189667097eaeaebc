"""Slices that the images of a series are, so that a label's references can be held against its positions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medfl.data.dicom.frames import frame_headers, frame_number, is_enhanced
from medfl.data.dicom.headers import Header
from medfl.data.dicom.slices import ACROSS_TOLERANCE, slice_distance
from medfl.data.volume import SliceGeometry

NO_SLICE = -1  # of an image of the series that is none of the volume's slices, such as a localizer

SlicesByImage = Mapping[str, Mapping[int, int]]  # SOPInstanceUID: number of the frame (0 if there is one only): slice


@dataclass(frozen=True)
class ImageReference:
    """Reference to an image (PS3.3 table 10-3).

    Parameters
    ----------
    uid : str
        ReferencedSOPInstanceUID.
    frames : tuple of int
        ReferencedFrameNumber; empty for the whole object.
    """

    uid: str
    frames: tuple[int, ...] = ()


def read_image_references(items: Iterable[Dataset]) -> Iterator[ImageReference]:
    """Yield the references of a sequence such as ContourImageSequence or SourceImageSequence."""
    for item in items:
        frames = item.get("ReferencedFrameNumber") or ()
        numbers = frames if isinstance(frames, MultiValue | list | tuple) else (frames,)
        yield ImageReference(str(item.ReferencedSOPInstanceUID), tuple(int(number) for number in numbers))


def locate_images(
    headers: Sequence[Header], slices: SliceGeometry, *, force: bool = False
) -> tuple[dict[str, dict[int, int]], SliceGeometry]:
    """Return the slice of each image of a series, and of each frame of an enhanced object.

    Parameters
    ----------
    headers : sequence of Header
        Headers of the files of the series.
    slices : SliceGeometry
        Slices of the volume.
    force : bool
        Whether files may lack the 128-byte preamble.

    Returns
    -------
    located : dict
        By SOPInstanceUID and number of the frame; `NO_SLICE` for an image at the position of no slice. Images that state no
        position are left out.
    slices : SliceGeometry
        The slices where their images say that they are: those of a volume are a little evened out.

    Raises
    ------
    DataError
        ``DCM-READ`` or ``DCM-NO-GEOMETRY``.
    """
    located: dict[str, dict[int, int]] = {}
    positions = slices.positions.copy()
    tolerance = ACROSS_TOLERANCE * slice_distance(slices) + min(slices.pixel_spacing)
    for header in headers:
        for frame in frame_headers(header, force=force) if is_enhanced(header) else [header]:
            try:
                position = np.array(frame.numbers("ImagePositionPatient"), dtype=np.float64)
            except ValueError:
                continue
            if position.shape != (3,):
                continue
            distances = np.linalg.norm(slices.positions - position, axis=1)
            nearest = int(distances.argmin()) if distances.min() <= tolerance else NO_SLICE
            located.setdefault(header.text("SOPInstanceUID"), {})[frame_number(frame)] = nearest
            if nearest != NO_SLICE:
                positions[nearest] = position
    return located, replace(slices, positions=positions)


def referenced_slices(references: Iterable[ImageReference], located: SlicesByImage) -> set[int]:
    """Return the slices that references name, as far as they name images of the series."""
    found: set[int] = set()
    for reference in references:
        frames = located.get(reference.uid, {})
        if len(frames) == 1:
            found.update(frames.values())
        elif frames:  # without a number, any of the frames may be meant
            found.update(frames.get(number, NO_SLICE) for number in reference.frames)
    return found
