"""Attributes that tell volumes apart and are rarely needed: of free text, of few modalities, and b-values of vendors."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medfl.data.dicom.headers import Header, to_text
from medfl.data.dicom.keywords import FURTHER_KEYWORDS
from medfl.data.dicom.parsing import parse_file
from medfl.data.library_output import silence_libraries

B_VALUE = "DiffusionBValue"
# vendor's private creator, group and element, and the form of the value where its representation is lost (UN)
_ATTRIBUTES = (
    ("SIEMENS MR HEADER", 0x0019, 0x0C, None),
    ("GEMS_PARM_01", 0x0043, 0x39, None),
    ("Philips Imaging DD 001", 0x2001, 0x03, Struct("<f")),
    ("Image Private Header", 0x0065, 0x09, Struct("<d")),  # United Imaging
)
_GE_FLAG = 1_000_000_000  # added by GE to b-values of several directions


def add_further_attributes(headers: Sequence[Header], *, force: bool = False) -> list[Header]:
    """Return headers with the attributes of `FURTHER_KEYWORDS`, and b-values where DiffusionBValue (C.8.13.5.9) is missing.

    The files are opened again: this is for series in which nothing else tells the images apart, or whose selection asks for it.

    Parameters
    ----------
    headers : sequence of Header
        The images of a series.
    force : bool
        Whether files may lack the 128-byte preamble.
    """
    if len({header.path for header in headers}) < len(headers):  # frames, which have functional groups
        return list(headers)
    asks_b_value = not any(header.text(B_VALUE) or header.text("Modality").upper() != "MR" for header in headers)
    return [_with_attributes(header, force=force, asks_b_value=asks_b_value) for header in headers]


def _with_attributes(header: Header, *, force: bool, asks_b_value: bool) -> Header:
    with silence_libraries():
        try:
            dataset = parse_file(header.path, stop_before_pixels=True, force=force)
            found = {keyword: to_text(dataset.get(keyword)) for keyword in FURTHER_KEYWORDS}
            b_value = _private_b_value(dataset) if asks_b_value else None
        except Exception:  # what cannot be read has no value here, and is refused when its pixels are read
            return header
    if b_value is not None:
        found[B_VALUE] = f"{b_value:.10g}"
    return Header(header.path, {**header.values, **{keyword: value for keyword, value in found.items() if value}})


def _private_b_value(dataset: Dataset) -> float | None:
    for creator, group, element, form in _ATTRIBUTES:
        try:
            found = dataset.private_block(group, creator)[element].value
        except KeyError:
            continue
        value = _to_number(found, form)
        if value is not None:
            return value % _GE_FLAG if creator == "GEMS_PARM_01" else value
    return None


def _to_number(value: object, form: Struct | None) -> float | None:
    if isinstance(value, MultiValue | list):
        value = value[0] if value else None
    try:
        if isinstance(value, bytes):
            return float(form.unpack(value)[0] if form else value.decode("ascii").rstrip("\0 ").split("\\")[0])
        return None if value in (None, "") else float(str(value).split("\\")[0])
    except (ValueError, StructError):
        return None
