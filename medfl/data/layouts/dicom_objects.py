"""The DICOM objects of a folder, sorted by what they are: series of images, labels, and what cannot be read."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from medfl.data.dicom.references import LabelReferences
from medfl.data.findings import Finding
from medfl.data.index.file_facts import IndexedFile
from medfl.data.layouts.own_predictions import predicted_labels_warning
from medfl.data.layouts.series_faults import fault_error, headerless_error
from medfl.errors import DataError


@dataclass
class DicomObjects:
    """The DICOM objects of a folder, as `medfl.data.layouts.object_sorting.sort_objects` finds them.

    Parameters
    ----------
    series : dict of str to list of IndexedFile
        Images of the modality of a study by SeriesInstanceUID.
    set_aside : dict of str to list of IndexedFile
        Series of the same modality that are no images of the study: scouts, and pages of a screen.
    not_meant : int
        Images of that modality that the study or the site does not mean.
    doubtful : set of str
        Paths of images in `series` without a Modality to rely on.
    labels : list of LabelReferences
        DICOM-SEG and RTSTRUCT.
    label_files : list of IndexedFile
        Their files, in the same order.
    other_images : set of str
        SOPInstanceUIDs of the other images.
    faults : dict of str to Counter of str
        How many files of a series are missing or in doubt, by SeriesInstanceUID and by what is wrong with them
        (`medfl.data.layouts.series_faults`); under the empty text those that belong to none of the series.
    fault_files : dict of str to list of Path
        The files behind `faults`, by SeriesInstanceUID; for people on this machine.
    headerless, files : int
        Files that look like DICOM without the 128-byte preamble and are passed over, and all that were looked at.
    orphan_labels, unused_labels : int
        Labels that refer to no image here, and that do not fit a series which another label fits.
    predicted_labels : int
        Segmentations that medfl predicted, and that the site does not allow as labels.
    label_candidates : dict of str to tuple of Path
        Labels that may be meant for a series that has no usable one, by SeriesInstanceUID.
    """

    series: dict[str, list[IndexedFile]] = field(default_factory=lambda: defaultdict(list))
    set_aside: dict[str, list[IndexedFile]] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    labels: list[LabelReferences] = field(default_factory=list)
    label_files: list[IndexedFile] = field(default_factory=list)
    other_images: set[str] = field(default_factory=set)
    faults: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    fault_files: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    not_meant: int = 0
    headerless: int = 0
    files: int = 0
    orphan_labels: int = 0
    unused_labels: int = 0
    predicted_labels: int = 0
    label_candidates: dict[str, tuple[Path, ...]] = field(default_factory=dict)

    def series_error(self, uid: str) -> DataError | None:
        """Return why a series is not whole, if it is not."""
        return fault_error(self.faults.get(uid, Counter()))

    def series_damages(self, uid: str) -> tuple[Path, ...]:
        """Return the files for which a series is not whole."""
        return tuple(dict.fromkeys(self.fault_files.get(uid, ())))

    def image_error(self, item: IndexedFile) -> DataError | None:
        """Return why an image by itself cannot be used, if what surrounds it does not matter."""
        return fault_error(Counter(modality=1)) if item.path_text in self.doubtful else None

    def treat_images_separately(self) -> None:
        """Take every image for whole by itself: what cannot be read is missing from no other."""
        total = sum(self.faults.values(), Counter[str]())
        self.faults = defaultdict(Counter, {"": Counter(damaged=total["damaged"], absent=total["absent"])})

    def warnings(self) -> list[Finding]:
        """Return warnings about the folder as a whole."""
        warnings = []
        stray = self.faults.get("", Counter())
        if stray["damaged"]:
            what = f"{stray['damaged']} DICOM file(s) cannot be read and are passed over."
            warnings.append(Finding.warning("DCM-READ", what, "Export them again."))
        if stray["modality"]:
            what = f"{stray['modality']} DICOM file(s) have no Modality and are passed over."
            warnings.append(Finding.warning("DCM-HEADER", what, "Export them again. Check the anonymisation."))
        if stray["absent"]:
            what = f"{stray['absent']} file(s) that a DICOMDIR names are missing."
            warnings.append(Finding.warning("DD-MISSING", what, "Copy the disc again, if its images belong to the study."))
        if self.headerless:
            error = headerless_error(f"{self.headerless} file(s)")
            warnings.append(Finding.from_error(error, level="warning"))
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
        if self.predicted_labels:
            warnings.append(predicted_labels_warning(self.predicted_labels))
        return warnings

    def require_images(self) -> None:
        """Refuse a folder in which nothing but files without preamble lie.

        Raises
        ------
        DataError
            ``DCM-NONE``.
        """
        if self.headerless and not self.series and not self.other_images:
            raise headerless_error(f"no DICOM series found in {self.files} files; {self.headerless} files")


def count_shared_images(items: Iterable[IndexedFile]) -> int:
    """Return how many images lie under more than one patient id."""
    patients: dict[str, str] = {}
    twice = set()
    for item in items:
        sop = item.text("SOPInstanceUID")
        if sop and patients.setdefault(sop, item.patient) != item.patient:
            twice.add(sop)
    return len(twice)
