"""What made an image, as its DICOM header says."""

from __future__ import annotations

from medfl.data.cases import Source
from medfl.data.dicom.headers import Header, read_header
from medfl.data.quality.facts import Device
from medfl.site import Site

_LONGEST = 40  # characters of a name: header text is somebody's typing
_GAUSS = 100.0  # a field strength above this many tesla was written in gauss
_NOTHING = ("", "none", "unknown", "n/a")


def device_of(source: Source, site: Site) -> Device:
    """Return what made an image, by the header of its first file; empty where that tells nothing, as NIfTI does."""
    header = read_header(source.paths[0], force=site.data.allow_headerless) if source.kind == "dicom" else None
    if header is None:
        return Device()
    return Device(_words(header, "Manufacturer"), _words(header, "ManufacturerModelName"), _tesla(header))


def _words(header: Header, keyword: str) -> str:
    text = " ".join("".join(sign for sign in header.text(keyword) if sign.isprintable()).split())[:_LONGEST]
    return "" if text.casefold() in _NOTHING else text


def _tesla(header: Header) -> float:
    try:
        (value,) = header.numbers("MagneticFieldStrength")
    except ValueError:
        return 0.0
    return round(value / 10_000 if value > _GAUSS else value, 2)
