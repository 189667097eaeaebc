"""SOP classes: those of volumes, those that are not images, and those with names burned into the pixels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

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
# storage of what is nobody's image: delivery of radiation, hanging protocols, colour palettes, implants (PS3.4 annex B)
_OTHER_STORAGE = tuple(f"1.2.840.10008.5.1.4.{part}." for part in (34, 38, 39, 43, 44, 45))
_SOP_CLASS_ROOT = "1.2.840.10008.5.1.4.1.1."  # of the storage SOP classes, PS3.4 table B.5-1
# Prefixes, after the root, of SOP classes that are not images of a patient, in plain words
_NON_IMAGE_CLASSES = {
    "66.4": "segmentation",
    "66.7": "segmentation",
    "66": "registration or raw data",
    "88.59": "list of key objects",
    "88": "report",
    "11": "presentation state",
    "481.1": "",  # an RT Image is an image
    "481.2": "radiotherapy dose",
    "481": "radiotherapy object",
    "4.2": "spectroscopy",
    "8": "overlay",
    "9": "waveform",
    "10": "lookup table",
    "67": "value mapping",
    "68": "surface scan",
    "78": "eye measurement",
    "79": "eye measurement",
    "80": "eye measurement",
    "90": "assessment",
    "91": "annotation",
    "131": "display",
    "200": "protocol",
    "201": "inventory",
    "30": "parametric map",
    "104": "document",
}
# The same for images that are not part of a volume
_CLASSES_2D = {"7": "secondary capture", "6": "ultrasound image", "3": "ultrasound image"}
_SECONDARY_CAPTURE = "7"
_BURNED_IN_MODALITIES = {"US": "ultrasound", "IVUS": "ultrasound", "ES": "endoscopy"}  # devices that burn in names
_OVERLAY_GROUPS = range(0x6000, 0x6020, 2)  # groups of overlay planes, PS3.3 section C.9.2


def _describe_sop_class(header: Header, table: dict[str, str]) -> str | None:
    """Return the plain words for the longest prefix of the SOP class in a table."""
    return _find_sop_class(header.text("SOPClassUID"), table)


@cache
def is_non_image_class(sop_class: str) -> bool:
    """Return whether objects of a SOP class are not images of a patient: reports, presentation states, doses, ..."""
    return bool(_find_sop_class(sop_class, _NON_IMAGE_CLASSES)) or sop_class.startswith(_OTHER_STORAGE)


@cache
def is_secondary_capture(sop_class: str) -> bool:
    """Return whether objects of a SOP class are secondary captures, such as pages that were saved from a screen."""
    return _find_sop_class(sop_class, {_SECONDARY_CAPTURE: "yes"}) is not None


@cache
def is_private_class(sop_class: str) -> bool:
    """Return whether a SOP class is a vendor's own (PS3.4 annex B lists those of the standard)."""
    return bool(sop_class) and not sop_class.startswith("1.2.840.10008.")


def _find_sop_class(sop_class: str, table: dict[str, str]) -> str | None:
    parts = sop_class.removeprefix(_SOP_CLASS_ROOT).split(".")
    if not sop_class.startswith(_SOP_CLASS_ROOT):
        return None
    prefixes = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((table[prefix] for prefix in prefixes if prefix in table), None)


def is_non_image(header: Header) -> bool:
    """Return whether an object is not an image of a patient, but a report, a segmentation, a dose, ..."""
    return bool(_describe_sop_class(header, _NON_IMAGE_CLASSES)) or header.text("Modality").upper() in NON_IMAGE_MODALITIES


def check_volume_classes(headers: Sequence[Header]) -> None:
    """Check that all objects are slices or frames of a volume, such as CT, MR and PET.

    Raises
    ------
    DataError
        ``DCM-SOPCLASS`` or ``DCM-MOSAIC``.
    """
    _require_none([header for header in headers if header.text("SOPClassUID") not in ("", *VOLUME_SOP_CLASSES)], len(headers))
    if any("MOSAIC" in header.image_type for header in headers):
        fix = 'Convert the series with dcm2niix, or set converter = "dcm2niix" in site.toml.'
        raise DataError("DCM-MOSAIC", "the images are Siemens mosaics: many slices in one image.", fix)


def check_image_classes(headers: Sequence[Header]) -> None:
    """Check that all objects are images of a patient.

    Raises
    ------
    DataError
        ``DCM-SOPCLASS``.
    """
    _require_none([header for header in headers if is_non_image(header)], len(headers))


def _require_none(unsuitable: Sequence[Header], count: int) -> None:
    if unsuitable:
        words = sorted({_describe_sop_class(header, _NON_IMAGE_CLASSES | _CLASSES_2D) or "" for header in unsuitable} - {""})
        described = f" ({', '.join(words)})" if words else ""
        what = f"{len(unsuitable)} of {count} object(s) have a SOP class that cannot be used here{described}."
        raise DataError("DCM-SOPCLASS", what, "Use the original images.")


def check_burned_in(headers: Sequence[Header], settings: SiteData, dataset: Dataset | None = None) -> None:
    """Check that no name is likely to be burned into the pixels.

    Images whose BurnedInAnnotation is ``YES`` are refused, whatever the site allows. Unless it is ``NO`` or the site allows
    them, so are those in which it is usual: ultrasound, endoscopy, secondary captures, angiography with overlays, and
    digitised film.

    Parameters
    ----------
    headers : sequence of Header
        The images.
    settings : SiteData
        The site's `burned_in`.
    dataset : Dataset, optional
        The whole file, if it has been read: overlays and film can only be recognised there.

    Raises
    ------
    DataError
        ``BURNED-IN``.
    """
    annotations = [header.text("BurnedInAnnotation").upper() for header in headers]
    n_annotated = annotations.count("YES")
    if n_annotated:
        what = f"{n_annotated} image(s) state that text is burned into the pixels."
        raise DataError("BURNED-IN", what, "Remove the text, and set BurnedInAnnotation to NO.")
    if settings.burned_in == "allow":
        return
    risks = [
        _burned_in_risk(header, dataset) for header, annotation in zip(headers, annotations, strict=True) if annotation != "NO"
    ]
    risks = [risk for risk in risks if risk]
    if risks:
        what = f"{len(risks)} {risks[0]} image(s) may have names burned in; they are left out."
        fix = 'Export them with BurnedInAnnotation NO, or set burned-in = "allow" in site.toml once somebody has checked them.'
        raise DataError("BURNED-IN", what, fix)


def _burned_in_risk(header: Header, dataset: Dataset | None) -> str:
    modality = header.text("Modality").upper()
    description = _describe_sop_class(header, _CLASSES_2D)
    if description:
        return description.removesuffix(" image")
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
