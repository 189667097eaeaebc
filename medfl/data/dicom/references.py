"""References of a SEG or RTSTRUCT to the images it was drawn on: the only link between a label and its series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import nullcontext
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path

from pydicom.dataset import Dataset

from medfl.data.dicom.headers import buffered_from_start
from medfl.data.dicom.parsing import parse_file
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.system.text import plural

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
        SOPInstanceUIDs of the images that it was drawn on.
    frame_of_reference : str
        FrameOfReferenceUID of the label; empty when the file names none, or several.
    images_by_frame : tuple of (str, frozenset of str)
        Each FrameOfReferenceUID that is used, with the images referenced in it, when there are several.
    alternatives : tuple of frozenset of str
        Sets of images of which each alone is what it was drawn on, such as two registered series; empty when there is one set.
    """

    path: Path
    modality: str
    images: frozenset[str]
    frame_of_reference: str
    images_by_frame: tuple[tuple[str, frozenset[str]], ...] = ()
    alternatives: tuple[frozenset[str], ...] = ()

    def images_in(self, frame_of_reference: str) -> frozenset[str]:
        """Return the images referenced in one frame of reference; all of them if nothing was drawn in it."""
        return dict(self.images_by_frame).get(frame_of_reference, self.images)

    def is_in_other_frame(self, frame_of_reference: str) -> bool:
        """Return whether everything was drawn in other frames of reference, as far as both sides name theirs."""
        frames = {frame for frame, _ in self.images_by_frame} or {self.frame_of_reference}
        return bool(frame_of_reference) and "" not in frames and frame_of_reference not in frames

    def fits(self, images: Set[str], frame_of_reference: str = "") -> bool:
        """Return whether images hold all that the label was drawn on, of which there is some."""
        referenced = self.images_in(frame_of_reference)
        sets = [referenced, *(each for each in self.alternatives if each <= referenced)]
        return any(bool(each) and each <= images for each in sets)


def read_references(path: Path, *, force: bool = False, file: RawIOBase | None = None) -> LabelReferences:
    """Read which images a SEG or RTSTRUCT was drawn on.

    A SEG references them in ReferencedSeriesSequence and in the DerivationImageSequence of its frames, an RTSTRUCT in
    ReferencedFrameOfReferenceSequence and at each contour (PS3.3 C.8.20, C.8.8.5 and C.8.8.6). All of these count, except
    frames of reference of an RTSTRUCT without any ROI, and series without an image that a frame or contour was drawn on:
    programs also list registered series. Where only series are listed, or each frame was drawn on an image of each of them,
    any of them may be the one.

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
    opened = nullcontext(path) if file is None else buffered_from_start(file)
    with silence_libraries(), library_errors_as(unreadable_label_error), opened as start:
        dataset = parse_file(start, stop_before_pixels=True, force=force)
    return find_references(dataset, path)


def find_references(dataset: Dataset, path: Path) -> LabelReferences:
    """Return which images a SEG or RTSTRUCT was drawn on, as `read_references` does, from its data set.

    Raises
    ------
    DataError
        ``LBL-READ``.
    """
    with silence_libraries(), library_errors_as(unreadable_label_error):
        modality = str(dataset.get("Modality", "")).upper()
        frames = _read_sets_by_frame(dataset, modality)
    if modality not in LABEL_MODALITIES:
        raise DataError("LBL-READ", "the label is neither a DICOM SEG nor an RTSTRUCT.", "Export the label as one of them.")
    by_frame = {frame: frozenset[str]().union(*sets) for frame, sets in frames.items()}
    alternatives = [each for sets in frames.values() if len(sets) > 1 for each in sets]
    images, sorted_sets = frozenset[str]().union(*by_frame.values()), tuple(sorted(alternatives, key=sorted))
    if len(frames) == 1:
        return LabelReferences(path, modality, images, next(iter(frames)), alternatives=sorted_sets)
    return LabelReferences(path, modality, images, "", tuple(sorted(by_frame.items())), sorted_sets)


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
    fits = references.fits(images, frame_of_reference)
    # some programs make up a frame of reference
    invented = references.modality == "RTSTRUCT" and not references.images_by_frame and fits
    if shared and references.is_in_other_frame(frame_of_reference) and not invented:
        raise wrong_frame_error("the label was")
    if fits:
        return
    if shared:
        what = f"the label references {plural(count, 'image')}, of which the series has {shared}."
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


def source_image_items(group: Dataset) -> Iterator[Dataset]:
    """Yield the references to the images that one functional group of a SEG was derived from."""
    for derivation in group.get("DerivationImageSequence") or ():
        yield from derivation.get("SourceImageSequence") or ()


def _uids(items: Iterable[Dataset]) -> frozenset[str]:
    return frozenset(str(item.ReferencedSOPInstanceUID) for item in items)


def _alternatives(drawn: Sequence[frozenset[str]], series: Sequence[frozenset[str]]) -> list[frozenset[str]]:
    """Return the sets of images of which each alone is what a label was drawn on.

    Parameters
    ----------
    drawn : sequence of frozenset of str
        Images that each frame or contour references.
    series : sequence of frozenset of str
        Images of each series that the label lists.
    """
    own = frozenset[str]().union(*drawn)
    listed = [images for images in series if images and (not own or images & own)]
    complete = [images for images in listed if all(images & item for item in drawn if item)]  # everything was drawn on them
    return complete if complete and len(listed) > 1 else [own.union(*listed)]


def _seg_sets(dataset: Dataset) -> list[frozenset[str]]:
    series: dict[str, frozenset[str]] = {}
    for n, item in enumerate(dataset.get("ReferencedSeriesSequence") or ()):
        uid = str(item.get("SeriesInstanceUID") or n)
        series[uid] = series.get(uid, frozenset()) | _uids(item.get("ReferencedInstanceSequence") or ())
    groups = (*(dataset.get("PerFrameFunctionalGroupsSequence") or ()), *(dataset.get("SharedFunctionalGroupsSequence") or ()))
    return _alternatives([_uids(source_image_items(group)) for group in groups], list(series.values()))


def _read_sets_by_frame(dataset: Dataset, modality: str) -> dict[str, list[frozenset[str]]]:
    """Return the sets of images, of which each alone may be meant, by frame of reference, perhaps with an empty UID."""
    if modality != "RTSTRUCT":
        images = _seg_sets(dataset) if modality == "SEG" else [frozenset[str]()]
        return {str(dataset.get("FrameOfReferenceUID") or ""): images}
    listed, drawn = _listed_series(dataset), defaultdict[str, list[frozenset[str]]](list)
    frames = roi_frames(dataset)
    used: set[str] = set()
    for roi in dataset.get("ROIContourSequence") or ():
        frame = frames.get(int(roi.ReferencedROINumber), "")
        if roi.get("ContourSequence"):
            used.add(frame)
        drawn[frame] += [_uids(contour.get("ContourImageSequence") or ()) for contour in roi.get("ContourSequence") or ()]
    if not used or "" in used:  # nothing is drawn, or its frame of reference is not named
        used = set(listed) | set(drawn)
    sets = {frame: _alternatives([*drawn[frame], *drawn[""]], [*listed[frame], *listed[""]]) for frame in used}
    return sets or {"": [frozenset()]}


def _listed_series(dataset: Dataset) -> defaultdict[str, list[frozenset[str]]]:
    """Return the images of each series that an RTSTRUCT lists, by frame of reference."""
    series: dict[tuple[str, str], frozenset[str]] = {}
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        for study in frame.get("RTReferencedStudySequence") or ():
            for n, item in enumerate(study.get("RTReferencedSeriesSequence") or ()):
                key = str(frame.get("FrameOfReferenceUID") or ""), str(item.get("SeriesInstanceUID") or n)
                series[key] = series.get(key, frozenset()) | _uids(item.get("ContourImageSequence") or ())
    listed = defaultdict[str, list[frozenset[str]]](list)
    for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
        listed[str(frame.get("FrameOfReferenceUID") or "")] = []
    for (uid, _), images in series.items():
        listed[uid].append(images)
    return listed


def roi_frames(dataset: Dataset) -> dict[int, str]:
    """Return the FrameOfReferenceUID that each ROI of an RTSTRUCT was drawn in, by its number.

    Where an ROI names none, it is the only one that the file lists; empty if there are several.
    """
    listed = {str(frame.get("FrameOfReferenceUID") or "") for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ()}
    only = listed.pop() if len(listed) == 1 else ""
    rois = dataset.get("StructureSetROISequence") or ()
    return {int(roi.ROINumber): str(roi.get("ReferencedFrameOfReferenceUID") or only) for roi in rois}
