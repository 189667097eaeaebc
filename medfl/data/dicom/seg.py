"""Reading DICOM-SEG onto the grid of the series that it was drawn on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import iter_pixels

from medfl.data.cases import Source
from medfl.data.classes import class_values
from medfl.data.dicom.headers import Header
from medfl.data.dicom.references import check_belongs, source_images, unreadable
from medfl.data.dicom.seg_grids import on_other_grid
from medfl.data.dicom.slices import acquired, draw_on, nearest_slice, plane
from medfl.data.grids import NEAR
from medfl.data.quiet import quiet
from medfl.data.volume import Native, Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

Mask = NDArray[np.uint8]
_LABELMAP = 0  # number that stands for all segments of a frame of type LABELMAP


@dataclass(frozen=True, eq=False)
class _Frame:
    index: int
    segment: int
    matrix: NDArray[np.float64] | None  # where it lies, as `slices.plane` tells it; None when the frame does not say
    sources: tuple[str, ...]


def read_seg(path: Path, image: Volume, image_source: Source, study: Study, site: Site) -> Mask:
    """Read a DICOM-SEG as a mask on the grid of its source series.

    Segments are matched to classes by SegmentLabel (see `medfl.data.classes`); several of one class are joined. A FRACTIONAL
    segment counts where it reaches half of its MaximumFractionalValue. Frames are placed by their PlanePositionSequence,
    one by one, so that their order, gaps and number do not matter; frames without a position by the image they refer to.

    Parameters
    ----------
    path : Path
        The DICOM-SEG.
    image : Volume
        The source series, as read.
    image_source : Source
        Its files.
    study, site
        Name the classes; the site says whether a segmentation on another grid may be resampled.

    Returns
    -------
    ndarray
        (X, Y, Z), uint8.

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-WRONG-SERIES``, ``LBL-PARTIAL-REF``, ``LBL-CLASSNAME``, ``LBL-OVERLAP``, ``LBL-VALUES`` or
        ``LBL-GEOMETRY``.
    """
    headers = check_belongs(path, image_source, site.data)
    dataset, values = _open(path, study, site)
    slices = acquired(image)
    with quiet():
        slots = _slots(_frames(dataset), dataset, slices, headers)
        if slots is None:
            return on_other_grid(dataset, values, image, resample=site.data.label_geometry == "resample")
        mask = _painted(dataset, values, slots, slices.shape)
    if image.native is None:
        return mask
    from medfl.data.dicom.straighten import labels_onto

    return np.asarray(labels_onto(mask, image.native, image), dtype=np.uint8)


def read_flat_seg(path: Path, image: Volume, image_source: Source, study: Study, site: Site) -> Mask:
    """Read a DICOM-SEG of one 2-D image, such as an X-ray, that has no place in a patient.

    Parameters and errors are those of `read_seg`.

    Returns
    -------
    ndarray
        (X, Y), uint8.
    """
    headers = check_belongs(path, image_source, site.data)
    dataset, values = _open(path, study, site)
    own = {header.text("SOPInstanceUID") for header in headers}
    with quiet():
        frames = [frame for frame in _frames(dataset) if not frame.sources or own & set(frame.sources)]
        if (int(dataset.Columns), int(dataset.Rows)) != image.shape:
            raise DataError("LBL-GEOMETRY", "image and segmentation have different sizes.", "Export them in one size.")
        return _painted(dataset, values, [(frame, 0) for frame in frames], (*image.shape, 1))[..., 0]


def _open(path: Path, study: Study, site: Site) -> tuple[Dataset, dict[int, int]]:
    """Return the object, and the class of each of its segments by number."""
    with quiet():
        try:
            dataset = pydicom.dcmread(path, force=site.data.allow_headerless)
            labels = {int(s.SegmentNumber): str(s.get("SegmentLabel", "")) for s in dataset.SegmentSequence}
        except Exception:
            raise unreadable() from None
    labelmap = _kind(dataset) == "LABELMAP"
    named = {n: label for n, label in labels.items() if not (labelmap and n == 0)}  # 0 is the background there
    return dataset, dict(zip(named, class_values(list(named.values()), study, site, "segments"), strict=True))


def _kind(dataset: Dataset) -> str:
    return str(dataset.get("SegmentationType", "BINARY")).upper()


def _frames(dataset: Dataset) -> list[_Frame]:
    """Return what is said of each frame, in the order of the pixel data."""
    try:
        shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        groups = list(dataset.get("PerFrameFunctionalGroupsSequence") or [])
        if len(groups) != int(dataset.get("NumberOfFrames") or 1):
            raise unreadable()
        labelmap = _kind(dataset) == "LABELMAP"
        return [_frame(index, group, shared, labelmap) for index, group in enumerate(groups)]
    except (AttributeError, TypeError, ValueError, IndexError, KeyError):
        raise unreadable() from None


def _frame(index: int, group: Dataset, shared: Dataset, labelmap: bool) -> _Frame:
    def said(sequence: str, keyword: str) -> object:
        holder = group if group.get(sequence) else shared
        return holder[sequence][0].get(keyword) if holder.get(sequence) else None

    number = _LABELMAP if labelmap else int(str(said("SegmentIdentificationSequence", "ReferencedSegmentNumber")))
    place = [
        said("PlanePositionSequence", "ImagePositionPatient"),
        said("PlaneOrientationSequence", "ImageOrientationPatient"),
        said("PixelMeasuresSequence", "PixelSpacing"),
    ]
    matrix = None
    if all(place):
        position, orientation, pixel = (np.array(part, dtype=np.float64) for part in place)
        matrix = plane(position, orientation, (float(pixel[0]), float(pixel[1])))
    return _Frame(index, number, matrix, tuple(source_images(group)))


def _slots(
    frames: Sequence[_Frame], dataset: Dataset, slices: Native, headers: Sequence[Header]
) -> list[tuple[_Frame, int]] | None:
    """Return the slice that each frame lies on, or None when they lie on another grid than the series."""
    if (int(dataset.Columns), int(dataset.Rows)) != slices.shape[:2]:
        return None
    allowed = NEAR * min(*slices.pixel, _smallest_step(slices))
    places = dict(_places(headers, slices))
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
    return slots


def _smallest_step(slices: Native) -> float:
    steps = np.linalg.norm(np.diff(slices.positions, axis=0), axis=1)
    return float(steps.min(initial=np.inf))


def _places(headers: Sequence[Header], slices: Native) -> Iterator[tuple[str, int]]:
    """Yield the slice that each image of the series lies on."""
    for header in headers:
        try:
            position = np.array(header.numbers("ImagePositionPatient"), dtype=np.float64)
        except ValueError:
            continue
        if position.shape == (3,):
            yield header.text("SOPInstanceUID"), int(np.linalg.norm(slices.positions - position, axis=1).argmin())


def _painted(dataset: Dataset, values: Mapping[int, int], slots: Sequence[tuple[_Frame, int]], shape: tuple[int, ...]) -> Mask:
    labelmap = _kind(dataset) == "LABELMAP"
    wanted = [(frame, k) for frame, k in slots if labelmap or values.get(frame.segment, -1) != 0]
    if any(not labelmap and frame.segment not in values for frame, _ in wanted):
        raise unreadable()  # a frame of a segment that is not there
    mask = np.zeros(shape, dtype=np.uint8)
    table = _table(dataset, values)
    try:
        pixels = iter_pixels(dataset, raw=True, indices=[frame.index for frame, _ in wanted]) if wanted else ()
        for (frame, k), stored in zip(wanted, pixels, strict=True):
            drawn = _looked_up(stored, table) if labelmap else (stored >= table[0]) * np.uint8(values[frame.segment])
            draw_on(mask[:, :, k], drawn.T)
    except DataError:
        raise
    except Exception:
        raise unreadable() from None
    return mask


def _table(dataset: Dataset, values: Mapping[int, int]) -> NDArray[np.int64]:
    """Return the class of each stored value of a LABELMAP, -1 for none; else the stored value that counts as marked."""
    if _kind(dataset) == "LABELMAP":
        table = np.full(2 ** int(dataset.BitsAllocated), -1)
        table[0] = 0
        padding = dataset.get("PixelPaddingValue")
        if isinstance(padding, int) and 0 <= padding < len(table):
            table[padding] = 0  # where nothing was stored
        for number, value in values.items():
            table[number] = value
        return table
    most = int(dataset.get("MaximumFractionalValue") or 1) if _kind(dataset) == "FRACTIONAL" else 1
    return np.array([(most + 1) // 2])


def _looked_up(stored: NDArray[np.integer], table: NDArray[np.int64]) -> Mask:
    found = table[stored]
    if (found < 0).any():
        what = "the segmentation holds values that belong to none of its segments."
        raise DataError("LBL-VALUES", what, "Export the segmentation again.")
    return np.asarray(found, dtype=np.uint8)
