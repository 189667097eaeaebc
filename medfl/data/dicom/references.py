"""What a DICOM-SEG or RTSTRUCT was drawn on: the only thing by which a label finds its series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from medfl.data.cases import Source
from medfl.data.dicom.headers import Header, read_headers
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError
from medfl.site import SiteData

LABEL_MODALITIES = ("SEG", "RTSTRUCT")  # modalities of objects that are drawn on images


@dataclass(frozen=True)
class LabelReferences:
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
    images_by_frame : tuple of (str, frozenset of str)
        Each FrameOfReferenceUID that something was drawn in with the images that are referred to in it, when they are several.
    """

    path: Path
    modality: str
    images: frozenset[str]
    frame_of_reference: str
    images_by_frame: tuple[tuple[str, frozenset[str]], ...] = ()

    def images_in(self, frame_of_reference: str) -> frozenset[str]:
        """Return the images that are referred to in one frame of reference; all of them if nothing was drawn in it."""
        return dict(self.images_by_frame).get(frame_of_reference, self.images)

    def is_in_other_frame(self, frame_of_reference: str) -> bool:
        """Return whether everything was drawn in other frames of reference, as far as both sides say it."""
        own = {frame for frame, _ in self.images_by_frame} or {self.frame_of_reference}
        return bool(frame_of_reference) and "" not in own and frame_of_reference not in own


def read_references(path: Path, *, force: bool = False) -> LabelReferences:
    """Read which images a DICOM-SEG or RTSTRUCT was drawn on.

    A SEG says it in ReferencedSeriesSequence and in the DerivationImageSequence of its frames, an RTSTRUCT in
    ReferencedFrameOfReferenceSequence and at each contour (PS3.3 C.8.20, C.8.8.5 and C.8.8.6); all of them count, but for
    frames of reference of an RTSTRUCT that no ROI lies in: planning systems list the images that were registered, too.

    Parameters
    ----------
    path : Path
        The file.
    force : bool
        Whether a file without the 128-byte preamble is read too.

    Raises
    ------
    DataError
        ``LBL-READ`` when the file cannot be read, or holds neither.
    """
    with silence_libraries():
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, force=force)
            modality = str(dataset.get("Modality", "")).upper()
            frames = _read_images_by_frame(dataset, modality)
        except Exception:  # pydicom raises nearly anything on a damaged file, and quotes what it read
            raise unreadable_label_error() from None
    if modality not in LABEL_MODALITIES:
        raise DataError("LBL-READ", "the label is neither a DICOM-SEG nor an RTSTRUCT.", "Export the label as one of them.")
    images = frozenset[str]().union(*frames.values())
    if len(frames) == 1:
        return LabelReferences(path, modality, images, next(iter(frames)))
    return LabelReferences(path, modality, images, "", tuple(sorted(frames.items())))


def check_references(drawn: LabelReferences, images: Set[str], frame_of_reference: str, how: SiteData) -> None:
    """Check that a label belongs to a series.

    Parameters
    ----------
    drawn : LabelReferences
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
        ``LBL-WRONG-SERIES`` when it refers to none of the images or was drawn in another frame of reference. An RTSTRUCT
        that names one frame only, and refers to images of the series only, is let through: its reader warns.
        ``LBL-PARTIAL-REF`` when it refers to others in this frame of reference as well.
    """
    own = drawn.images_in(frame_of_reference)
    shared, count = len(own & images), len(own)
    # some programs make up a frame of reference
    invented = drawn.modality == "RTSTRUCT" and not drawn.images_by_frame and shared == count
    if shared and drawn.is_in_other_frame(frame_of_reference) and not invented:
        raise wrong_frame_error("the label was")
    if shared and shared == count:
        return
    if shared:
        what = f"the label refers to {count} images, of which the series holds {shared}."
        raise DataError("LBL-PARTIAL-REF", what, "The series was probably exported again; export both together.")
    named = {drawn.frame_of_reference} | {frame for frame, _ in drawn.images_by_frame}
    together = bool(frame_of_reference) and frame_of_reference in named
    if together and how.label_match == "frame-of-reference":
        return
    what = f"the label refers to {count} image(s), none of them in this series."
    fix = "Choose the series it was drawn on, or export the label of this one."
    if together:
        fix += " Both lie in one frame of reference: if they belong together, set label-match = 'frame-of-reference'."
    raise DataError("LBL-WRONG-SERIES", what, fix)


def wrong_frame_error(subject: str) -> DataError:
    """Return the error of what was drawn in another frame of reference than that of the series."""
    what = f"{subject} drawn in another frame of reference than that of the series, so its millimetres mean other places."
    fix = "Choose the series it was drawn on. If it is this one, the program invented a frame of reference: export it again."
    return DataError("LBL-WRONG-SERIES", what, fix)


def check_label_series(path: Path, image_source: Source, how: SiteData) -> list[Header]:
    """Check that a label file belongs to the series of a case, and return the headers of the series.

    Raises
    ------
    DataError
        ``LBL-READ``, and those of `check_references`.
    """
    if image_source.kind != "dicom":
        what = "a label in DICOM needs the DICOM series it was drawn on."
        raise DataError("LBL-WRONG-SERIES", what, "Use the original series, or export the label as NIfTI.")
    drawn = read_references(path, force=how.allow_headerless)
    headers = read_headers(image_source.paths, force=how.allow_headerless)
    check_references(drawn, {header.text("SOPInstanceUID") for header in headers}, get_frame_of_reference(headers), how)
    return headers


def get_frame_of_reference(headers: Sequence[Header]) -> str:
    """Return the FrameOfReferenceUID of a series; empty when it names none, or several."""
    frames = {header.text("FrameOfReferenceUID") for header in headers}
    return frames.pop() if len(frames) == 1 else ""


def unreadable_label_error() -> DataError:
    """Return the error of a label file that cannot be read."""
    return DataError("LBL-READ", "the label cannot be read (damaged or cut).", "Export it again as DICOM-SEG or RTSTRUCT.")


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


def _contour_images(holder: Dataset) -> Iterator[str]:
    for image in holder.get("ContourImageSequence") or ():
        yield str(image.ReferencedSOPInstanceUID)


def _read_images_by_frame(dataset: Dataset, modality: str) -> dict[str, frozenset[str]]:
    """Return the images that an object refers to by frame of reference; there is at least one, perhaps without a name."""
    if modality != "RTSTRUCT":
        return {str(dataset.get("FrameOfReferenceUID") or ""): frozenset(_seg_images(dataset) if modality == "SEG" else ())}
    listed: dict[str, set[str]] = defaultdict(set)
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        own = listed[str(frame.get("FrameOfReferenceUID") or "")]
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                own.update(_contour_images(series))
    frames = roi_frames(dataset)
    used: set[str] = set()
    for region in dataset.get("ROIContourSequence") or ():
        frame = frames.get(int(region.ReferencedROINumber), "")
        if region.get("ContourSequence"):
            used.add(frame)
        for contour in region.get("ContourSequence") or ():
            listed[frame].update(_contour_images(contour))
    if not used or "" in used:  # nothing is drawn, or nobody says where
        used = set(listed)
    return {frame: frozenset(listed[frame] | listed[""]) for frame in used} or {"": frozenset()}


def roi_frames(dataset: Dataset) -> dict[int, str]:
    """Return the FrameOfReferenceUID that each ROI of an RTSTRUCT was drawn in, by its number.

    Where an ROI says nothing and the file lists one frame of reference, it is that one; else it is empty.
    """
    listed = {str(frame.get("FrameOfReferenceUID") or "") for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ()}
    only = listed.pop() if len(listed) == 1 else ""
    regions = dataset.get("StructureSetROISequence") or ()
    return {int(region.ROINumber): str(region.get("ReferencedFrameOfReferenceUID") or only) for region in regions}
