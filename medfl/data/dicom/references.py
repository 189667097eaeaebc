"""What a DICOM-SEG or RTSTRUCT was drawn on: the only thing by which a label finds its series."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from medfl.data.cases import Source
from medfl.data.dicom.headers import Header, read_headers
from medfl.data.quiet import quiet
from medfl.errors import DataError
from medfl.site import SiteData

LABELS = ("SEG", "RTSTRUCT")  # modalities of objects that are drawn on images


@dataclass(frozen=True)
class Drawn:
    """One DICOM object with labels. Local only.

    Parameters
    ----------
    path : Path
        The file.
    modality : {"SEG", "RTSTRUCT"}
        What it is.
    images : frozenset of str
        SOPInstanceUIDs of the images that it refers to.
    frame_of_reference : str
        FrameOfReferenceUID of what was drawn; empty when the file names none, or several.
    """

    path: Path
    modality: str
    images: frozenset[str]
    frame_of_reference: str


def read_drawn(path: Path, *, force: bool = False) -> Drawn:
    """Read which images a DICOM-SEG or RTSTRUCT was drawn on.

    A SEG says it in ReferencedSeriesSequence and in the DerivationImageSequence of its frames, an RTSTRUCT in
    ReferencedFrameOfReferenceSequence and at each contour (PS3.3 C.8.20, C.8.8.5 and C.8.8.6); all of them count.

    Parameters
    ----------
    path : Path
        The file.
    force : bool
        Whether a file without the 128-byte preamble is read too.

    Raises
    ------
    DataError
        ``LBL-READ`` when the file can not be read, or holds neither.
    """
    with quiet():
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=force)
            modality = str(dataset.get("Modality", "")).upper()
            references = _seg_images if modality == "SEG" else _rtstruct_images
            images = frozenset(references(dataset)) if modality in LABELS else frozenset()
            frames = set(_frames_of_reference(dataset, modality))
        except Exception:  # pydicom raises nearly anything on a damaged file, and quotes what it read
            raise unreadable() from None
    if modality not in LABELS:
        raise DataError("LBL-READ", "the label is neither a DICOM-SEG nor an RTSTRUCT.", "Export the label as one of them.")
    return Drawn(path, modality, images, frames.pop() if len(frames) == 1 else "")


def check_drawn(drawn: Drawn, images: Set[str], frame_of_reference: str, how: SiteData) -> None:
    """Check that a label belongs to a series.

    Parameters
    ----------
    drawn : Drawn
        The label.
    images : set of str
        SOPInstanceUIDs of all images of the series.
    frame_of_reference : str
        FrameOfReferenceUID of the series.
    how : SiteData
        With ``label-match = "frame-of-reference"`` a label without any reference to the series will do, if it was drawn in the
        same frame of reference. Whether it then lies inside the volume is for the reader to check.

    Raises
    ------
    DataError
        ``LBL-WRONG-SERIES`` when it refers to none of the images, ``LBL-PARTIAL-REF`` when it refers to others as well.
    """
    shared, count = len(drawn.images & images), len(drawn.images)
    if shared and shared == count:
        return
    if shared:
        what = f"the label refers to {count} images, of which the series holds {shared}."
        raise DataError("LBL-PARTIAL-REF", what, "The series was probably exported again; export both together.")
    together = bool(frame_of_reference) and drawn.frame_of_reference == frame_of_reference
    if together and how.label_match == "frame-of-reference":
        return
    what = f"the label refers to {count} image(s), none of them in this series."
    fix = "Choose the series it was drawn on, or export the label of this one."
    if together:
        fix += " Both lie in one frame of reference: if they belong together, set label-match = 'frame-of-reference'."
    raise DataError("LBL-WRONG-SERIES", what, fix)


def check_belongs(path: Path, image_source: Source, how: SiteData) -> list[Header]:
    """Check that a label file belongs to the series of a case, and return the headers of the series.

    Raises
    ------
    DataError
        ``LBL-READ``, and those of `check_drawn`.
    """
    if image_source.kind != "dicom":
        what = "a label in DICOM needs the DICOM series it was drawn on."
        raise DataError("LBL-WRONG-SERIES", what, "Use the original series, or export the label as NIfTI.")
    drawn = read_drawn(path, force=how.allow_headerless)
    headers = read_headers(image_source.paths, force=how.allow_headerless)
    frames = {header.text("FrameOfReferenceUID") for header in headers}
    check_drawn(drawn, {header.text("SOPInstanceUID") for header in headers}, frames.pop() if len(frames) == 1 else "", how)
    return headers


def unreadable() -> DataError:
    """Return the error of a label file that can not be read."""
    return DataError("LBL-READ", "the label can not be read (damaged or cut).", "Export it again as DICOM-SEG or RTSTRUCT.")


def source_images(group: Dataset) -> Iterator[str]:
    """Yield the SOPInstanceUIDs that one functional group of a SEG was derived from."""
    for derivation in group.get("DerivationImageSequence") or ():
        for image in derivation.get("SourceImageSequence") or ():
            yield str(image.ReferencedSOPInstanceUID)


def _seg_images(dataset: Dataset) -> Iterator[str]:
    for series in dataset.get("ReferencedSeriesSequence") or ():
        for instance in series.get("ReferencedInstanceSequence") or ():
            yield str(instance.ReferencedSOPInstanceUID)
    for keyword in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in dataset.get(keyword) or ():
            yield from source_images(group)


def _rtstruct_images(dataset: Dataset) -> Iterator[str]:
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                yield from _contour_images(series)
    for region in dataset.get("ROIContourSequence") or ():
        for contour in region.get("ContourSequence") or ():
            yield from _contour_images(contour)


def _contour_images(holder: Dataset) -> Iterator[str]:
    for image in holder.get("ContourImageSequence") or ():
        yield str(image.ReferencedSOPInstanceUID)


def _frames_of_reference(dataset: Dataset, modality: str) -> Iterator[str]:
    holders = [dataset] if modality == "SEG" else list(dataset.get("ReferencedFrameOfReferenceSequence") or ())
    for holder in holders:
        if holder.get("FrameOfReferenceUID"):
            yield str(holder.FrameOfReferenceUID)
    if modality == "RTSTRUCT" and not holders:
        for region in dataset.get("StructureSetROISequence") or ():
            if region.get("ReferencedFrameOfReferenceUID"):
                yield str(region.ReferencedFrameOfReferenceUID)
