"""Kinds of DICOM objects: what can be a volume, what is no image at all, and what often has names drawn into it."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import (
    CTImageStorage,
    MRImageStorage,
    NuclearMedicineImageStorage,
    PositronEmissionTomographyImageStorage,
)

from medfl.data.dicom.frames import ENHANCED_SOP_CLASSES
from medfl.data.dicom.headers import NON_IMAGE_MODALITIES, Header
from medfl.errors import DataError
from medfl.site import SiteData

VOLUME_SOP_CLASSES = (
    CTImageStorage,
    MRImageStorage,
    PositronEmissionTomographyImageStorage,
    NuclearMedicineImageStorage,
    *ENHANCED_SOP_CLASSES,
)
_SOP_CLASS_ROOT = "1.2.840.10008.5.1.4.1.1."  # of the SOP classes of PS3.4 table B.5-1
# The beginnings behind the root that are no pictures of a patient, in plain words
_NON_IMAGE_CLASSES = {
    "66.4": "segmentation",
    "66.7": "segmentation",
    "66": "registration or raw data",
    "88.59": "list of key objects",
    "88": "report",
    "11": "presentation state",
    "481.1": "",  # an RT Image is a picture
    "481.2": "radiotherapy dose",
    "481": "radiotherapy object",
    "4.2": "spectroscopy",
    "9": "waveform",
    "30": "parametric map",
    "104": "document",
}
# What is a picture, but of no volume
_CLASSES_2D = {"7": "secondary capture", "6": "ultrasound image", "3": "ultrasound image"}
_SECONDARY_CAPTURE = "7"
_BURNED_IN_MODALITIES = {
    "US": "ultrasound",
    "IVUS": "ultrasound",
    "ES": "endoscopy",
}  # Modality whose devices write names into pictures
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)  # groups of overlay planes, PS3.3 section C.9.2


def _describe_sop_class(header: Header, table: dict[str, str]) -> str | None:
    """Return the plain words of the longest beginning of the SOP class that the table knows."""
    parts = header.text("SOPClassUID").removeprefix(_SOP_CLASS_ROOT).split(".")
    if not header.text("SOPClassUID").startswith(_SOP_CLASS_ROOT):
        return None
    found = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((table[beginning] for beginning in found if beginning in table), None)


def is_non_image(header: Header) -> bool:
    """Return whether an object is no picture of a patient: a report, a segmentation, a dose."""
    return bool(_describe_sop_class(header, _NON_IMAGE_CLASSES)) or header.text("Modality").upper() in NON_IMAGE_MODALITIES


def check_volume_classes(headers: Sequence[Header]) -> None:
    """Check that all objects are slices or frames of a volume, as CT, MR and PET are.

    Raises
    ------
    DataError
        ``DCM-SOPCLASS`` or ``DCM-MOSAIC``.
    """
    _require_none([header for header in headers if header.text("SOPClassUID") not in ("", *VOLUME_SOP_CLASSES)], len(headers))
    if any("MOSAIC" in header.image_type for header in headers):
        fix = 'Convert the series with dcm2niix, or set converter = "dcm2niix" in site.toml.'
        raise DataError("DCM-MOSAIC", "the images are Siemens mosaics: many slices in one picture.", fix)


def check_image_classes(headers: Sequence[Header]) -> None:
    """Check that all objects are pictures of a patient at all.

    Raises
    ------
    DataError
        ``DCM-SOPCLASS``.
    """
    _require_none([header for header in headers if is_non_image(header)], len(headers))


def _require_none(wrong: Sequence[Header], count: int) -> None:
    if wrong:
        words = sorted({_describe_sop_class(header, _NON_IMAGE_CLASSES | _CLASSES_2D) or "" for header in wrong} - {""})
        named = f" ({', '.join(words)})" if words else ""
        what = f"{len(wrong)} of {count} object(s) are not an image of the kind this project uses{named}."
        raise DataError("DCM-SOPCLASS", what, "Use the original images.")


def check_burned_in(headers: Sequence[Header], how: SiteData, dataset: Dataset | None = None) -> None:
    """Check that no name is likely to be drawn into the pixels.

    Refused are images that say so themselves, whatever the site allows; and unless they say ``NO`` or the site allows them,
    the kinds where it is usual: ultrasound, endoscopy, secondary captures, angiography with overlays, digitised film.

    Parameters
    ----------
    headers : sequence of Header
        The images.
    how : SiteData
        Its ``burned_in``.
    dataset : Dataset, optional
        The whole file where it is one: overlays and film are told there only.

    Raises
    ------
    DataError
        ``BURNED-IN``.
    """
    said = [header.text("BurnedInAnnotation").upper() for header in headers]
    stated = said.count("YES")
    if stated:
        what = f"{stated} image(s) state that text is drawn into the pixels."
        raise DataError("BURNED-IN", what, "Remove the text, and set BurnedInAnnotation to NO.")
    if how.burned_in == "allow":
        return
    risks = [_burned_in_risk(header, dataset) for header, word in zip(headers, said, strict=True) if word != "NO"]
    risks = [risk for risk in risks if risk]
    if risks:
        what = f"{len(risks)} {risks[0]} image(s) may hold burned-in names; they are left out."
        fix = 'Export them with BurnedInAnnotation NO, or set burned-in = "allow" in site.toml once somebody has looked.'
        raise DataError("BURNED-IN", what, fix)


def _burned_in_risk(header: Header, dataset: Dataset | None) -> str:
    modality = header.text("Modality").upper()
    kind = _describe_sop_class(header, _CLASSES_2D)
    if kind:
        return kind.removesuffix(" image")
    if modality in _BURNED_IN_MODALITIES:
        return _BURNED_IN_MODALITIES[modality]
    if dataset is None:
        return ""
    if modality == "XA" and any((group, 0x3000) in dataset for group in _OVERLAY_GROUPS):
        return "angiography"
    if modality in ("DX", "CR", "MG") and (
        str(dataset.get("DetectorType") or "").upper() == "FILM" or str(dataset.get("ConversionType") or "").upper() == "DF"
    ):
        return "digitised film"
    return ""
