"""Reader of DICOM SEG as a mask on the grid of the series that it was drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.cases import Source
from medfl.data.classes import names_a_foreground, names_to_classes
from medfl.data.dicom.headers import Header
from medfl.data.dicom.image_slices import locate_images
from medfl.data.dicom.label_dataset import read_label_dataset
from medfl.data.dicom.references import unreadable_label_error
from medfl.data.dicom.seg_checks import check_frames, check_sources
from medfl.data.dicom.seg_frames import (
    ORIENTATION_TOLERANCE,
    SegFrame,
    match_frames,
    read_frames,
    repeated_frames_error,
    segmentation_type,
)
from medfl.data.dicom.seg_grids import resample_seg
from medfl.data.dicom.seg_pixels import paint_frames
from medfl.data.dicom.slices import get_slice_geometry, plane_matrix
from medfl.data.findings import Finding
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.data.mask_alignment import CORNER_TOLERANCE
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

Mask = NDArray[np.uint8]


def read_seg(path: Path, image: Volume, image_source: Source, study: Study, site: Site) -> tuple[Mask, list[Finding]]:
    """Read a DICOM SEG as a mask on the grid of its source series.

    Segments are matched to classes by SegmentLabel (see `medfl.data.classes`); several of one class are joined. A FRACTIONAL
    segment counts where it reaches half of its MaximumFractionalValue. Each frame is placed by its PlanePositionSequence,
    so that order, gaps and number of frames do not matter; a frame without a position by the image that it references.

    Parameters
    ----------
    path : Path
        The DICOM SEG.
    image : Volume
        The source series, as read.
    image_source : Source
        Files of the series.
    study, site
        They name the classes; the site says whether a segmentation on another grid may be resampled.

    Returns
    -------
    mask : ndarray
        (X, Y, Z), uint8.
    warnings : list of Finding
        ``LBL-FRAMES`` for dimension indices or numbers in the stack in another order than the positions.

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-WRONG-SERIES``, ``LBL-PARTIAL-REF``, ``LBL-CLASSNAME``, ``LBL-OVERLAP``, ``LBL-VALUES``,
        ``LBL-GEOMETRY``, or ``LBL-FRAMES`` for frames that contradict each other or the images that they refer to.
    """
    dataset, headers = read_label_dataset(path, image_source, site.data)
    classes = read_segments(dataset, study, site)
    located, slices = locate_images(headers, get_slice_geometry(image), force=site.data.allow_headerless)
    with silence_libraries():
        frames = read_frames(dataset, slices)
        warnings = check_frames(frames, dataset, confirmed=check_sources(frames, slices, located))
        placed = match_frames(frames, dataset, slices, headers, located)
        if placed is None:
            return resample_seg(dataset, classes, image, resample=site.data.label_geometry == "resample"), warnings
        mask = paint_frames(dataset, classes, placed, slices.shape)
    if image.acquired_geometry is None:
        return mask, warnings
    from medfl.data.dicom.resample_stack import resample_labels

    return np.asarray(resample_labels(mask, image.acquired_geometry, image), dtype=np.uint8), warnings


def read_seg_2d(path: Path, image: Volume, image_source: Source, study: Study, site: Site) -> Mask:
    """Read a DICOM SEG of one 2-D image, such as an X-ray, that has no position in space.

    Parameters and errors are those of `read_seg`.

    Returns
    -------
    ndarray
        (X, Y), uint8.
    """
    dataset, headers = read_label_dataset(path, image_source, site.data)
    classes = read_segments(dataset, study, site)
    images = {header.text("SOPInstanceUID") for header in headers}
    with silence_libraries():
        frames = read_frames(dataset)
        frames = [f for f in frames if not f.sources or images & {source.uid for source in f.sources}]
        picture = image.picture or PictureGeometry((image.shape[0], image.shape[1]))
        if (int(dataset.Columns), int(dataset.Rows)) != picture.shape:
            raise DataError("LBL-GEOMETRY", "image and segmentation have different sizes.", "Export them in the same size.")
        _check_position(frames, headers, picture.shape)
        if len({frame.segment for frame in frames}) < len(frames):
            raise repeated_frames_error(len(frames) - len({frame.segment for frame in frames}))
        mask = paint_frames(dataset, classes, [(frame, 0) for frame in frames], (*picture.shape, 1))[..., 0]
    return picture.arrange(mask, nearest=True)


def _check_position(frames: Sequence[SegFrame], headers: Sequence[Header], shape: tuple[int, ...]) -> None:
    """Refuse frames with another position or orientation than their image, as far as both state them."""
    try:
        geometry = [
            np.array(headers[0].numbers(keyword), dtype=np.float64)
            for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
        ]
    except ValueError:
        return
    position, orientation, pixel_spacing = geometry
    n_rotated = n_shifted = 0
    if orientation.shape == (6,):
        orientations = [frame.orientation for frame in frames if frame.orientation is not None]
        n_rotated = sum(not np.abs(other - orientation).max() <= ORIENTATION_TOLERANCE for other in orientations)
    if [values.size for values in geometry] == [3, 6, 2]:
        image_matrix = plane_matrix(position, orientation, (float(pixel_spacing[0]), float(pixel_spacing[1])))
        corners = np.array([[i, j, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1)]).T
        apart = [np.abs((frame.matrix - image_matrix) @ corners).max() for frame in frames if frame.matrix is not None]
        n_shifted = sum(not distance <= CORNER_TOLERANCE * pixel_spacing.min() for distance in apart)
    if n_rotated or n_shifted:
        fault = "rotated against the image" if n_rotated else "not at the position of the image"
        what = f"{n_rotated or n_shifted} frame(s) of the segmentation are {fault}."
        raise DataError("LBL-GEOMETRY", what, "Export the segmentation of this image.")


def read_segments(dataset: Dataset, study: Study, site: Site) -> dict[int, int]:
    """Return the class of each segment by its number; pixels need not have been read.

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-VALUES`` or ``LBL-CLASSNAME``.
    """
    with silence_libraries(), library_errors_as(unreadable_label_error):
        numbers = [int(segment.SegmentNumber) for segment in dataset.SegmentSequence]
        labels = {int(s.SegmentNumber): str(s.get("SegmentLabel", "")) for s in dataset.SegmentSequence}
        if min(int(dataset[keyword].value) for keyword in ("Rows", "Columns", "BitsAllocated")) < 1:
            raise unreadable_label_error()
    if len(labels) < len(numbers):
        what = "two segments of the label have one number, so it is unknown which of them a voxel belongs to."
        raise DataError("LBL-READ", what, "Export the segmentation again, with a number of its own for each segment.")
    named = dict(labels)
    if segmentation_type(dataset) == "LABELMAP" and names_a_foreground(named.pop(0, ""), study, site):  # 0 is the background
        what = "the segmentation gives the number 0, which stands for the background, to a segment of another class."
        raise DataError("LBL-VALUES", what, "Export the segmentation again, with segment numbers from 1 on.")
    return dict(zip(named, names_to_classes(list(named.values()), study, site, "segments"), strict=True))
