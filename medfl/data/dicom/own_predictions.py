"""What tells a segmentation that medfl predicted from one that somebody drew."""

from __future__ import annotations

from medfl.data.dicom.headers import Header

MANUFACTURER = "medfl"  # in the segmentations and reports that medfl writes
QUALIFICATION = "RESEARCH"  # their ContentQualification, PS3.3 C.8.13.2


def is_own_prediction(header: Header) -> bool:
    """Return whether a DICOM object is a segmentation that a model of medfl predicted."""
    marks = tuple(header.text(keyword).strip() for keyword in ("Modality", "Manufacturer", "ContentQualification"))
    return marks == ("SEG", MANUFACTURER, QUALIFICATION)
