"""References of a SEG or RTSTRUCT to the images it was drawn on: the only link between a label and its series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Set
from contextlib import nullcontext
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from medfl.data.dicom.headers import buffered_from_start
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError
from medfl.site import SiteData

LABEL_MODALITIES = ("SEG", "RTSTRUCT")  # of objects that are drawn on images


@dataclass(frozen=True)
class LabelReferences:
    """References of one DICOM object with labels. They never leave the site.

    Parameters
    ----------
    path : Path
        The file.
    modality : {"SEG", "RTSTRUCT"}
        Modality of the object.
    images : frozenset of str
        SOPInstanceUIDs of the images that it references.
    frame_of_reference : str
        FrameOfReferenceUID of the label; empty when the file names none, or several.
    images_by_frame : tuple of (str, frozenset of str)
        Each FrameOfReferenceUID that is used, with the images referenced in it, when there are several.
    """

    path: Path
    modality: str
    images: frozenset[str]
    frame_of_reference: str
    images_by_frame: tuple[tuple[str, frozenset[str]], ...] = ()

    def images_in(self, frame_of_reference: str) -> frozenset[str]:
        """Return the images referenced in one frame of reference; all of them if nothing was drawn in it."""
        return dict(self.images_by_frame).get(frame_of_reference, self.images)

    def is_in_other_frame(self, frame_of_reference: str) -> bool:
        """Return whether everything was drawn in other frames of reference, as far as both sides name theirs."""
        frames = {frame for frame, _ in self.images_by_frame} or {self.frame_of_reference}
        return bool(frame_of_reference) and "" not in frames and frame_of_reference not in frames


def read_references(path: Path, *, force: bool = False, file: RawIOBase | None = None) -> LabelReferences:
    """Read which images a SEG or RTSTRUCT was drawn on.

    A SEG references them in ReferencedSeriesSequence and in the DerivationImageSequence of its frames, an RTSTRUCT in
    ReferencedFrameOfReferenceSequence and at each contour (PS3.3 C.8.20, C.8.8.5 and C.8.8.6). All of these count, except
    frames of reference of an RTSTRUCT without any ROI: planning systems also list registered images.

    Parameters
    ----------
    path : Path
        The file.
    force : bool
        Whether the file may lack the 128-byte preamble.
    file : RawIOBase, optional
        The same file, already open; None: it is opened.

    Raises
    ------
    DataError
        ``LBL-READ`` when the file cannot be read, or is neither.
    """
    with silence_libraries():
        try:
            with nullcontext(path) if file is None else buffered_from_start(file) as start:
                dataset = pydicom.dcmread(start, stop_before_pixels=True, force=force)
        except Exception:  # pydicom raises nearly anything on a damaged file, and quotes what it read
            raise unreadable_label_error() from None
    return find_references(dataset, path)


def find_references(dataset: Dataset, path: Path) -> LabelReferences:
    """Return which images a SEG or RTSTRUCT was drawn on, as `read_references` does, from its data set.

    Raises
    ------
    DataError
        ``LBL-READ``.
    """
    with silence_libraries():
        try:
            modality = str(dataset.get("Modality", "")).upper()
            frames = _read_images_by_frame(dataset, modality)
        except Exception:
            raise unreadable_label_error() from None
    if modality not in LABEL_MODALITIES:
        raise DataError("LBL-READ", "the label is neither a DICOM SEG nor an RTSTRUCT.", "Export the label as one of them.")
    images = frozenset[str]().union(*frames.values())
    if len(frames) == 1:
        return LabelReferences(path, modality, images, next(iter(frames)))
    return LabelReferences(path, modality, images, "", tuple(sorted(frames.items())))


def check_references(references: LabelReferences, images: Set[str], frame_of_reference: str, settings: SiteData) -> None:
    """Check that a label belongs to a series.

    Parameters
    ----------
    references : LabelReferences
        References of the label.
    images : set of str
        SOPInstanceUIDs of all images of the series.
    frame_of_reference : str
        FrameOfReferenceUID of the series.
    settings : SiteData
        With ``label-match = "frame-of-reference"``, a label without any reference to the series is accepted if it was drawn in
        the same frame of reference. The reader then checks that it is inside the volume.

    Raises
    ------
    DataError
        ``LBL-WRONG-SERIES`` when the label references none of the images or was drawn in another frame of reference. An
        RTSTRUCT that names a single frame of reference, and references images of the series only, is accepted: its reader
        warns. ``LBL-PARTIAL-REF`` when it references other images in this frame of reference as well.
    """
    referenced = references.images_in(frame_of_reference)
    shared, count = len(referenced & images), len(referenced)
    # some programs make up a frame of reference
    invented = references.modality == "RTSTRUCT" and not references.images_by_frame and shared == count
    if shared and references.is_in_other_frame(frame_of_reference) and not invented:
        raise wrong_frame_error("the label was")
    if shared and shared == count:
        return
    if shared:
        what = f"the label references {count} images, of which the series has {shared}."
        raise DataError("LBL-PARTIAL-REF", what, "The series was probably exported again; export both together.")
    named = {references.frame_of_reference} | {frame for frame, _ in references.images_by_frame}
    same_frame = bool(frame_of_reference) and frame_of_reference in named
    if same_frame and settings.label_match == "frame-of-reference":
        return
    what = f"the label references {count} image(s), none of them in this series."
    fix = "Choose the series it was drawn on, or export the label of this one."
    if same_frame:
        fix += " Both have the same frame of reference: if they belong together, set label-match = 'frame-of-reference'."
    raise DataError("LBL-WRONG-SERIES", what, fix)


def wrong_frame_error(subject: str) -> DataError:
    """Return the error for a label in another frame of reference than that of the series."""
    what = f"{subject} drawn in another frame of reference than that of the series, so its coordinates mean other positions."
    fix = "Choose the series it was drawn on. If it is this one, the program made up a frame of reference: export it again."
    return DataError("LBL-WRONG-SERIES", what, fix)


def unreadable_label_error() -> DataError:
    """Return the error for a label file that cannot be read."""
    return DataError(
        "LBL-READ", "the label cannot be read (damaged or truncated).", "Export it again as DICOM SEG or RTSTRUCT."
    )


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


def _contour_images(item: Dataset) -> Iterator[str]:
    for image in item.get("ContourImageSequence") or ():
        yield str(image.ReferencedSOPInstanceUID)


def _read_images_by_frame(dataset: Dataset, modality: str) -> dict[str, frozenset[str]]:
    """Return the referenced images by frame of reference, of which there is at least one, perhaps with an empty UID."""
    if modality != "RTSTRUCT":
        return {str(dataset.get("FrameOfReferenceUID") or ""): frozenset(_seg_images(dataset) if modality == "SEG" else ())}
    listed: dict[str, set[str]] = defaultdict(set)
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        images = listed[str(frame.get("FrameOfReferenceUID") or "")]
        for study in frame.get("RTReferencedStudySequence") or ():
            for series in study.get("RTReferencedSeriesSequence") or ():
                images.update(_contour_images(series))
    frames = roi_frames(dataset)
    used: set[str] = set()
    for roi in dataset.get("ROIContourSequence") or ():
        frame = frames.get(int(roi.ReferencedROINumber), "")
        if roi.get("ContourSequence"):
            used.add(frame)
        for contour in roi.get("ContourSequence") or ():
            listed[frame].update(_contour_images(contour))
    if not used or "" in used:  # nothing is drawn, or its frame of reference is not named
        used = set(listed)
    return {frame: frozenset(listed[frame] | listed[""]) for frame in used} or {"": frozenset()}


def roi_frames(dataset: Dataset) -> dict[int, str]:
    """Return the FrameOfReferenceUID that each ROI of an RTSTRUCT was drawn in, by its number.

    Where an ROI names none, it is the only one that the file lists; empty if there are several.
    """
    listed = {str(frame.get("FrameOfReferenceUID") or "") for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ()}
    only = listed.pop() if len(listed) == 1 else ""
    rois = dataset.get("StructureSetROISequence") or ()
    return {int(roi.ROINumber): str(roi.get("ReferencedFrameOfReferenceUID") or only) for roi in rois}
