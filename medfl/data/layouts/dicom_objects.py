"""The DICOM objects of a folder, sorted by what they are: series of images, labels, and what cannot be read."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfl.data.dicom.headers import NON_IMAGE_MODALITIES, PROJECTION_MODALITIES
from medfl.data.dicom.references import LABEL_MODALITIES, LabelReferences
from medfl.data.findings import Finding
from medfl.data.index.file_facts import IndexedFile
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.study.sections import Modality

_MODALITIES: dict[Modality | None, tuple[str, ...]] = {"MR": ("MR",), "CT": ("CT",), "US": ("US",), "XR": PROJECTION_MODALITIES}


@dataclass
class DicomObjects:
    """The DICOM objects of a folder.

    Parameters
    ----------
    series : dict of str to list of IndexedFile
        Images of the modality of a study by SeriesInstanceUID.
    labels : list of LabelReferences
        DICOM-SEG and RTSTRUCT.
    label_files : list of IndexedFile
        Their files, in the same order.
    other_images : set of str
        SOPInstanceUIDs of the other images.
    unreadable, missing : Counter of str
        Files that cannot be read, and that a DICOMDIR names but that are not there, by SeriesInstanceUID; under the empty text
        those that belong to none of the series.
    headerless, files : int
        Files that look like DICOM without the 128-byte preamble and are passed over, and all that were looked at.
    without_modality : int
        Images that are passed over because neither Modality nor their SOP class says what they are.
    orphan_labels, unused_labels : int
        Labels that refer to no image here, and that do not fit a series which another label fits.
    label_candidates : dict of str to tuple of Path
        Labels that may be meant for a series that has no usable one, by SeriesInstanceUID.
    """

    series: dict[str, list[IndexedFile]] = field(default_factory=lambda: defaultdict(list))
    labels: list[LabelReferences] = field(default_factory=list)
    label_files: list[IndexedFile] = field(default_factory=list)
    other_images: set[str] = field(default_factory=set)
    unreadable: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    headerless: int = 0
    without_modality: int = 0
    files: int = 0
    orphan_labels: int = 0
    unused_labels: int = 0
    label_candidates: dict[str, tuple[Path, ...]] = field(default_factory=dict)

    def series_error(self, uid: str) -> DataError | None:
        """Return why a series is not whole, if it is not."""
        if self.unreadable[uid]:
            what = f"{self.unreadable[uid]} file(s) of the series cannot be read, so slices may be missing."
            return DataError("DCM-READ", what, "Export the series again.")
        if self.missing[uid]:
            what = f"{self.missing[uid]} file(s) of the series that the DICOMDIR names are missing."
            return DataError("DD-MISSING", what, "Copy the disc again, or export the series again.")
        if not uid and len({(item.patient, item.text("StudyInstanceUID"), item.path.parent) for item in self.series[uid]}) > 1:
            what = f"{len(self.series[uid])} image(s) have no SeriesInstanceUID, so nothing says which belong together."
            return DataError("DCM-HEADER", what, "Export them again. Check the anonymisation.")
        return None

    def treat_images_separately(self) -> None:
        """Take every image for whole by itself: what cannot be read is missing from no other."""
        self.unreadable = Counter({"": self.unreadable.total()})
        self.missing = Counter({"": self.missing.total()})

    def warnings(self) -> list[Finding]:
        """Return warnings about the folder as a whole."""
        warnings = []
        if self.unreadable[""]:
            what = f"{self.unreadable['']} DICOM file(s) cannot be read and are passed over."
            warnings.append(Finding.warning("DCM-READ", what, "Export them again."))
        if self.missing[""]:
            what = f"{self.missing['']} file(s) that a DICOMDIR names are missing."
            warnings.append(Finding.warning("DD-MISSING", what, "Copy the disc again, if its images belong to the study."))
        if self.headerless:
            warnings.append(
                Finding.from_error(_headerless_error(self.headerless, f"{self.headerless} file(s)"), level="warning")
            )
        if self.without_modality:
            what = f"{self.without_modality} DICOM image(s) name no Modality and are passed over."
            warnings.append(Finding.warning("DCM-HEADER", what, "Export them again. Check the anonymisation."))
        if self.orphan_labels:
            what = f"{self.orphan_labels} label(s) refer to no image that lies here and are passed over."
            warnings.append(Finding.warning("LBL-WRONG-SERIES", what, "Export the images that they were drawn on, too."))
        if self.unused_labels:
            what = (
                f"{self.unused_labels} DICOM label(s) do not fit a series as a whole, while another one does; they are passed "
                "over."
            )
            fix = "Nothing to do if they were drawn on other images; else export all images that they refer to."
            warnings.append(Finding.warning("LBL-UNUSED", what, fix))
        return warnings

    def require_images(self) -> None:
        """Refuse a folder in which nothing but files without preamble lie.

        Raises
        ------
        DataError
            ``DCM-NONE``.
        """
        if self.headerless and not self.series and not self.other_images:
            raise _headerless_error(self.headerless, f"no DICOM series found in {self.files} files; {self.headerless} files")


def sort_objects(items: Sequence[IndexedFile], modality: Modality | None, settings: SiteData) -> DicomObjects:
    """Sort files by what they are.

    Parameters
    ----------
    items : sequence of IndexedFile
        Files of the index.
    modality : str, optional
        Modality of the study; without one, images of every modality are used.
    settings : SiteData
        Whether files without preamble count.
    """
    found = DicomObjects(files=sum(item.kind != "media" for item in items))
    for item in items:
        if item.kind == "dicom" or (item.kind == "headerless" and settings.allow_headerless):
            _add_file(item, modality, found)
        found.headerless += item.kind == "headerless" and not settings.allow_headerless
    for item in items:
        if item.kind in ("damaged", "unopened"):
            uid = item.text("SeriesInstanceUID")
            found.unreadable[uid if uid in found.series else ""] += 1
    present = {item.path_text.casefold() for item in items} if any(item.kind == "media" for item in items) else set()
    for item in items:
        for name, uid in item.dicomdir_entries:
            if os.path.join(item.path.parent, name).casefold() not in present:  # a file system may change the letters
                found.missing[uid if uid in found.series else ""] += 1
    return found


def count_shared_images(items: Iterable[IndexedFile]) -> int:
    """Return how many images lie under more than one patient id."""
    patients: dict[str, str] = {}
    twice = set()
    for item in items:
        sop = item.text("SOPInstanceUID")
        if sop and patients.setdefault(sop, item.patient) != item.patient:
            twice.add(sop)
    return len(twice)


def _add_file(item: IndexedFile, modality: Modality | None, found: DicomObjects) -> None:
    drawn = item.references if item.modality in LABEL_MODALITIES else None
    if drawn:
        found.labels.append(drawn)
        found.label_files.append(item)
    elif item.modality not in NON_IMAGE_MODALITIES and (modality is None or item.modality in _MODALITIES[modality]):
        found.series[item.text("SeriesInstanceUID")].append(item)
    else:
        found.without_modality += not item.modality
        found.other_images.add(item.text("SOPInstanceUID"))


def _headerless_error(count: int, which: str) -> DataError:
    what = f"{which} look like DICOM without the 128-byte header."
    return DataError("DCM-NONE", what, "Set allow-headerless = true in the table 'data' of site.toml.")
