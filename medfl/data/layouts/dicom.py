"""Layout `dicom`: a tree of DICOM files in any order, as a PACS exports it. The headers say what belongs together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from medfl.data.cases import Source
from medfl.data.dicom.headers import PROJECTION, Header, looks_like_dicom, read_header
from medfl.data.dicom.seg import referenced_images
from medfl.data.layouts.entries import Entry, Listing, class_texts, no_label
from medfl.data.layouts.sources import visible_files
from medfl.errors import DataError
from medfl.site import Site
from medfl.study import Study

_MODALITIES = {"MR": ("MR",), "CT": ("CT",), "US": ("US",), "XR": PROJECTION}
_CONSTANT = 3  # studies that all carry one PatientID: it was set by an anonymiser


@dataclass
class Found:
    """The DICOM objects of a folder.

    Parameters
    ----------
    series : dict of str to list of Header
        Images by SeriesInstanceUID.
    segmentations : dict of Path to frozenset of str
        SOPInstanceUIDs of the images that each DICOM-SEG was drawn on.
    unreadable : int
        DICOM files that could not be read.
    """

    series: dict[str, list[Header]] = field(default_factory=lambda: defaultdict(list))
    segmentations: dict[Path, frozenset[str]] = field(default_factory=dict)
    unreadable: int = 0


def is_dicom(root: Path) -> bool:
    """Return whether a folder holds a DICOM file at any depth."""
    return any(looks_like_dicom(path) for path in visible_files(root))


def scan(files: Iterable[Path], modality: str) -> Found:
    """Read the headers of all files; keep segmentations, and images of the modality of a study."""
    found = Found()
    for path in files:
        header = read_header(path)
        if header is None:
            found.unreadable += _may_be_dicom(path)
            continue
        if header.text("Modality").upper() == "SEG":
            try:
                found.segmentations[path] = referenced_images(path)
            except DataError:
                found.unreadable += 1
        elif header.text("Modality").upper() in _MODALITIES[modality]:
            found.series[header.text("SeriesInstanceUID")].append(header)
    return found


def _may_be_dicom(path: Path) -> bool:
    """Return whether a file without a readable header is DICOM, or can not be opened, so that nobody can tell."""
    try:
        path.open("rb").close()
    except OSError:
        return True
    return looks_like_dicom(path)


def label_of(headers: Sequence[Header], segmentations: dict[Path, frozenset[str]]) -> Source | DataError:
    """Return the one DICOM-SEG that was drawn on a series."""
    own = {header.text("SOPInstanceUID") for header in headers}
    drawn_here = [path for path, images in segmentations.items() if images & own]
    if len(drawn_here) > 1:
        what = f"{len(drawn_here)} segmentations were drawn on this series."
        return DataError("LBL-SEVERAL", what, "Keep the one that is meant in the folder.")
    return Source("dicom", (drawn_here[0],)) if drawn_here else no_label()


def list_dicom(site: Site, study: Study) -> Listing:
    """List one case a series, or in a study of dimension 2 one an image. The patient is PatientID with its issuer.

    Series that no segmentation refers to are passed over when another series of the patient has one. In classification, the
    columns `patient` and `label` of the site's index give the class of a PatientID.

    Raises
    ------
    DataError
        ``ID-CONSTANT`` when all studies share one PatientID; ``INDEX-*`` in classification.
    """
    found = scan(visible_files(site.root), study.task.modality)
    _check_ids([header for headers in found.series.values() for header in headers])
    masks = study.task.kind == "segmentation"
    entries = _drawn(found) if masks else _classed(found, class_texts(site, site.root / site.data.index), study)
    warnings = []
    if found.unreadable:
        what = f"{found.unreadable} DICOM file(s) can not be read and are passed over."
        warnings.append(DataError("DCM-READ", what, "Export them again."))
    passed_over = len(found.series) - len({entry.key for entry in entries}) if masks else 0
    if passed_over > 0:
        what = f"{passed_over} series without a segmentation are passed over; their patients have another one."
        warnings.append(DataError("DCM-UNUSED-SERIES", what, "Nothing to do."))
    return Listing(tuple(entries), patient_ids=True, warnings=tuple(warnings))


def _check_ids(headers: Sequence[Header]) -> None:
    patients = {header.patient for header in headers}
    studies = {header.text("StudyInstanceUID") for header in headers}
    if len(patients) == 1 and len(studies) >= _CONSTANT:
        what = f"{len(studies)} studies share one PatientID, so patients can not be kept apart."
        raise DataError("ID-CONSTANT", what, "Export with a pseudonymous ID for each patient, or use an index with patients.")


def _drawn(found: Found) -> list[Entry]:
    by_patient: dict[str, list[Entry]] = defaultdict(list)
    for uid, headers in sorted(found.series.items()):
        label = label_of(headers, found.segmentations)
        entry = Entry(uid, headers[0].patient, Source("dicom", tuple(h.path for h in headers)), label)
        by_patient[entry.patient].append(entry)
    entries = []
    for theirs in by_patient.values():
        labelled = [e for e in theirs if not (isinstance(e.label, DataError) and e.label.code == "LBL-MISSING")]
        entries += labelled or theirs[:1]
    return entries


def _classed(found: Found, texts: dict[str, str], study: Study) -> list[Entry]:
    entries = []
    for uid, headers in sorted(found.series.items()):
        if study.task.dimension == 3:
            entries.append(_entry(uid, headers, texts))
        else:
            entries += [_entry(header.text("SOPInstanceUID"), [header], texts) for header in headers]
    return entries


def _entry(key: str, headers: Sequence[Header], texts: dict[str, str]) -> Entry:
    text = texts.get(headers[0].text("PatientID"), "")
    return Entry(key, headers[0].patient, Source("dicom", tuple(header.path for header in headers)), text)
