"""Device that made an image, according to its DICOM header."""

from __future__ import annotations

from medfl.data.cases import Source
from medfl.data.dicom.headers import Header
from medfl.data.dicom.source_headers import read_first_header
from medfl.data.quality.facts import ImagingDevice
from medfl.site import Site

_MAX_LENGTH = 40  # characters of a name: header text is somebody's typing
_MAX_TESLA = 100.0  # a field strength above this many tesla was written in gauss
_EMPTY_TEXTS = ("", "none", "unknown", "n/a")


def read_imaging_device(source: Source, site: Site) -> ImagingDevice:
    """Return what made an image, by the header of its first file; empty where that says nothing, as in NIfTI."""
    header = read_first_header(source, force=site.data.allow_headerless) if source.kind == "dicom" else None
    if header is None:
        return ImagingDevice()
    return ImagingDevice(
        _clean_text(header, "Manufacturer"), _clean_text(header, "ManufacturerModelName"), _field_strength(header)
    )


def _clean_text(header: Header, keyword: str) -> str:
    text = " ".join("".join(sign for sign in header.text(keyword) if sign.isprintable()).split())[:_MAX_LENGTH]
    return "" if text.casefold() in _EMPTY_TEXTS else text


def _field_strength(header: Header) -> float:
    try:
        (value,) = header.numbers("MagneticFieldStrength")
    except ValueError:
        return 0.0
    return round(value / 10_000 if value > _MAX_TESLA else value, 2)
