"""b-values that vendors write into private attributes, where DiffusionBValue (PS3.3 C.8.13.5.9) is missing."""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from struct import error as StructError

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medfl.data.dicom.headers import Header
from medfl.data.dicom.parsing import parse_file
from medfl.data.library_output import silence_libraries

KEYWORD = "DiffusionBValue"
# vendor's private creator, group and element, and the form of the value where its representation is lost (UN)
_ATTRIBUTES = (
    ("SIEMENS MR HEADER", 0x0019, 0x0C, None),
    ("GEMS_PARM_01", 0x0043, 0x39, None),
    ("Philips Imaging DD 001", 0x2001, 0x03, Struct("<f")),
    ("Image Private Header", 0x0065, 0x09, Struct("<d")),  # United Imaging
)
_GE_FLAG = 1_000_000_000  # added by GE to b-values of several directions


def add_private_b_values(headers: Sequence[Header], *, force: bool = False) -> list[Header]:
    """Return headers with the b-values of private attributes, if they are MR images and none has a DiffusionBValue.

    Their files are opened again: this is for series in which nothing else tells the images apart.

    Parameters
    ----------
    headers : sequence of Header
        The images of a series.
    force : bool
        Whether files may lack the 128-byte preamble.
    """
    if any(header.text(KEYWORD) or header.text("Modality").upper() != "MR" for header in headers):
        return list(headers)
    if len({header.path for header in headers}) < len(headers):  # frames, which have functional groups
        return list(headers)
    return [_with_b_value(header, force=force) for header in headers]


def _with_b_value(header: Header, *, force: bool) -> Header:
    with silence_libraries():
        try:
            dataset = parse_file(header.path, stop_before_pixels=True, force=force)
            value = _private_b_value(dataset)
        except Exception:  # what cannot be read has no value here, and is refused when its pixels are read
            value = None
    return header if value is None else Header(header.path, {**header.values, KEYWORD: f"{value:.10g}"})


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
