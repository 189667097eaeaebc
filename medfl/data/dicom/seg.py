"""Reading DICOM-SEG onto the grid of the series that it was drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medfl.data.cases import Source
from medfl.data.dicom.headers import read_headers
from medfl.data.quiet import quiet
from medfl.data.volume import LPS, Volume
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_NAMES = "Name the segments as the study does, or set 'classes' in site.toml to the names used at this site."


def referenced_images(path: Path) -> frozenset[str]:
    """Return the SOPInstanceUIDs of the images that a DICOM-SEG was drawn on; local only.

    Raises
    ------
    DataError
        ``LBL-READ`` when the file can not be read.
    """
    with quiet():
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True)
            return frozenset(_references(dataset))
        except Exception:
            raise _unreadable() from None


def _references(dataset: Dataset) -> Iterator[str]:
    for series in dataset.get("ReferencedSeriesSequence") or ():
        for instance in series.get("ReferencedInstanceSequence") or ():
            yield str(instance.ReferencedSOPInstanceUID)
    groups = [*(dataset.get("SharedFunctionalGroupsSequence") or ()), *(dataset.get("PerFrameFunctionalGroupsSequence") or ())]
    for group in groups:
        for derivation in group.get("DerivationImageSequence") or ():
            for image in derivation.get("SourceImageSequence") or ():
                yield str(image.ReferencedSOPInstanceUID)


def read_seg(path: Path, image: Volume, image_source: Source, study: Study, site: Site) -> NDArray[np.uint8]:
    """Read a DICOM-SEG as a mask on the grid of its source series.

    Segments are matched to classes by SegmentLabel, whatever the case of the letters, against the names of the study and those
    that the site gives.

    Parameters
    ----------
    path : Path
        The DICOM-SEG.
    image : Volume
        The source series, as read.
    image_source : Source
        Its files.
    study, site
        Name the classes.

    Returns
    -------
    ndarray
        (X, Y, Z), uint8.

    Raises
    ------
    DataError
        ``LBL-READ``, ``LBL-WRONG-SERIES``, ``LBL-PARTIAL-REF``, ``LBL-CLASSNAME``, ``LBL-OVERLAP`` or ``LBL-GEOMETRY``.
    """
    import highdicom  # half a second that a site without DICOM does not pay

    _check_references(path, image_source)
    with quiet():
        try:
            segmentation = highdicom.seg.segread(path)
            labels = {int(n): str(segmentation.get_segment_description(n).segment_label) for n in segmentation.segment_numbers}
        except Exception:
            raise _unreadable() from None
        classes = _classes(labels, study, site)
        grid = _grid(image)
        mask = np.zeros(image.shape, dtype=np.uint8)
        for number, value in classes.items():
            marked = _segment(segmentation, number, grid)
            if (mask[marked] != 0).any() and (mask[marked] != value)[mask[marked] != 0].any():
                what = "segments of different classes overlap, and a voxel can have one class only."
                raise DataError("LBL-OVERLAP", what, "Export the segmentation without overlaps.")
            mask[marked] = value
    return mask


def _check_references(path: Path, image_source: Source) -> None:
    if image_source.kind != "dicom":
        raise DataError("LBL-WRONG-SERIES", "a DICOM-SEG needs the DICOM series it was drawn on.", "Use the original series.")
    referenced = referenced_images(path)
    own = {header.text("SOPInstanceUID") for header in read_headers(image_source.paths)}
    shared = len(referenced & own)
    if not shared:
        what = f"the segmentation refers to {len(referenced)} image(s), none of them in this series."
        raise DataError("LBL-WRONG-SERIES", what, "Export the segmentation of this series.")
    if shared < len(referenced):
        what = f"the segmentation refers to {len(referenced)} images, of which the series holds {shared}."
        raise DataError("LBL-PARTIAL-REF", what, "The series was probably exported again; export both together.")


def _classes(labels: dict[int, str], study: Study, site: Site) -> dict[int, int]:
    """Return the class of each segment number; the background needs no segment."""
    known = {name.casefold(): value for value, name in enumerate(study.task.classes)}
    known |= {name.casefold(): value for value, name in enumerate(site.classes)}
    result = {number: known.get(label.strip().casefold(), -1) for number, label in labels.items()}
    unknown = sum(value < 0 for value in result.values())
    if unknown:
        what = f"{unknown} of {len(labels)} segment(s) have a name that is no class of the study."
        raise DataError("LBL-CLASSNAME", what, _NAMES)
    return {number: value for number, value in result.items() if value > 0}


def _grid(image: Volume) -> Any:
    """Return the grid of a volume the way highdicom tells it: slices, rows, columns, LPS."""
    import highdicom

    affine = (LPS @ image.affine)[:, [2, 1, 0, 3]]
    return highdicom.VolumeGeometry(affine, image.shape[::-1], "PATIENT")


def _segment(segmentation: Any, number: int, grid: Any) -> NDArray[np.bool_]:
    try:
        volume = segmentation.get_volume(segment_numbers=[number], combine_segments=False, dtype=np.float32, rtol=0.05)
        stacked = np.asarray(volume.match_geometry(grid, tol=1e-2).array)[..., 0]
    except (ValueError, RuntimeError, IndexError, AttributeError, KeyError, TypeError):
        what = "the segmentation does not lie on the grid of its series, or a segment is damaged."
        raise DataError("LBL-GEOMETRY", what, "Export the segmentation again, in the resolution of the series.") from None
    return np.asarray(stacked.transpose(2, 1, 0) >= 0.5, dtype=np.bool_)


def _unreadable() -> DataError:
    return DataError("LBL-READ", "the segmentation object can not be read.", "Export it again as DICOM-SEG.")
