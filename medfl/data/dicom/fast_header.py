"""Fast reader of a few attributes in the first bytes of a DICOM file, many times faster than a full parser.

Anything unusual (big endian, deflated, an odd number, text in other characters than ASCII, Latin-1 and UTF-8) is left to
pydicom: for such a file `scan_header` returns False. Where it returns True, it has read what pydicom reads (PS3.5 chapter 7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from struct import Struct
from struct import error as StructError

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

Value = str | tuple[str, ...]  # an attribute as text; several values as several texts

MAGIC = b"DICM"
_PREAMBLE = 128
_UNSUPPORTED_SYNTAXES = (
    DeflatedExplicitVRLittleEndian.encode(),
    ExplicitVRBigEndian.encode(),
    b"1.2.840.113619.5.2",  # private, of GE
)
_IMPLICIT_SYNTAX = ImplicitVRLittleEndian.encode()
_SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FL FD IS LO LT PN SH SL SS ST TM UI UL US".split())
_LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())  # with a length of four bytes
_TRANSFER_SYNTAX = 0x00020010
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED_LENGTH = 0xFFFFFFFF
_MAX_DEPTH = 16  # of nested sequences
_ELEMENT, _IMPLICIT_ELEMENT, _LENGTH = Struct("<HH2sH").unpack_from, Struct("<HHL").unpack_from, Struct("<L").unpack_from
CHARACTER_SET = "SpecificCharacterSet"  # has to be among the attributes to read where text may be other than ASCII
_CODECS: dict[Value, str] = {"ISO_IR 100": "latin-1", "ISO_IR 192": "utf-8"}  # PS3.3 C.12.1.1.2; those without escape sequences
_TEXT_VRS = (b"LO", b"SH")
_PRINTABLE = re.compile(rb"[\x20-\x7e]*").fullmatch
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]").search
_INTEGER = re.compile(r"[+-]?\d+").fullmatch
_BINARY_VRS = {b"US": ("H", 2), b"SS": ("h", 2), b"UL": ("L", 4), b"SL": ("l", 4), b"FL": ("f", 4), b"FD": ("d", 8)}


def wanted_tags(keywords: tuple[str, ...]) -> dict[int, tuple[str, bytes]]:
    """Return keyword and value representation of attributes by tag."""
    tags = {keyword: tag_for_keyword(keyword) for keyword in keywords}
    return {tag: (keyword, dictionary_VR(tag).encode()) for keyword, tag in tags.items() if tag is not None}


def looks_headerless(data: bytes) -> bool:
    """Return whether the first bytes of a file are those of a DICOM data set without the 128-byte preamble."""
    if len(data) < 8 or data[_PREAMBLE : _PREAMBLE + 4] == MAGIC:
        return False
    group, element, vr, _ = _ELEMENT(data, 0)
    if group not in (0x0002, 0x0008) or element > 0x0100:
        return False
    length = _LENGTH(data, 4)[0]
    return vr in _SHORT_VRS or vr in _LONG_VRS or (length <= 256 and length % 2 == 0)


def scan_header(data: bytes, wanted: Mapping[int, tuple[str, bytes]], values: dict[str, Value]) -> bool:
    """Read attributes from the beginning of a file.

    Parameters
    ----------
    data : bytes
        The first bytes of the file, or the whole file.
    wanted : mapping of int to (str, bytes)
        Keyword and value representation of the attributes to read, by tag (see `wanted_tags`).
    values : dict of str to str or tuple of str
        Receives the values by keyword, decoded to text, even those read before something unusual.

    Returns
    -------
    bool
        Whether `values` is complete; if not, it takes more bytes, or pydicom.
    """
    if data[_PREAMBLE : _PREAMBLE + 4] != MAGIC:
        return False
    try:
        position, implicit = _read_file_meta(data)
        _walk_elements(data, position, implicit, wanted, values)
    except (ValueError, StructError):  # something unusual, or the end of the data
        return False
    finally:
        values.pop(CHARACTER_SET, None)  # it was needed to read the others
    return True


def is_surely_plain(data: bytes) -> bool:
    """Return whether the first bytes of a file leave no doubt that its data set is not deflated; it takes some microseconds."""
    if data[_PREAMBLE : _PREAMBLE + 4] != MAGIC:
        return False
    try:
        _read_file_meta(data)
    except (ValueError, StructError):
        return False
    return True


def _read_file_meta(data: bytes) -> tuple[int, bool]:
    """Return where the file meta information ends, and whether the data set has implicit value representations."""
    position, syntax = _PREAMBLE + 4, b""
    while True:
        group, element, vr, length = _ELEMENT(data, position)
        if group != 0x0002:
            if not syntax or syntax in _UNSUPPORTED_SYNTAXES:
                raise ValueError
            return position, syntax == _IMPLICIT_SYNTAX
        position += 8
        if vr in _LONG_VRS:
            (length,) = _LENGTH(data, position)
            position += 4
        elif vr not in _SHORT_VRS:
            raise ValueError
        if group << 16 | element == _TRANSFER_SYNTAX:
            syntax = data[position : position + length].rstrip(b"\0 ")
        position += length


def _walk_elements(
    data: bytes, position: int, implicit: bool, wanted: Mapping[int, tuple[str, bytes]], values: dict[str, Value]
) -> None:
    end, last, previous = len(data), max(wanted), 0
    while position < end:
        tag, vr, length, position = _read_element(data, position, implicit)
        if tag <= previous:
            raise ValueError("tags out of order: a repeated attribute, or damage")
        if tag > last:
            return
        previous = tag
        if length == _UNDEFINED_LENGTH:
            position = _skip_sequence(data, position, implicit)
            continue
        if position + length > end:
            raise ValueError
        if length and tag in wanted:
            keyword, expected = wanted[tag]
            if vr and vr != expected:
                raise ValueError
            value = _decode_value(data[position : position + length], expected, values)
            if value:
                values[keyword] = value
        position += length
    raise ValueError("no element after the last one wanted: the file may be truncated")


def _read_element(data: bytes, position: int, implicit: bool) -> tuple[int, bytes, int, int]:
    """Return tag, value representation, length and position of the value."""
    if implicit:
        group, element, length = _IMPLICIT_ELEMENT(data, position)
        return group << 16 | element, b"", length, position + 8
    group, element, vr, length = _ELEMENT(data, position)
    if vr in _SHORT_VRS:
        return group << 16 | element, vr, length, position + 8
    if vr in _LONG_VRS:
        return group << 16 | element, vr, _LENGTH(data, position + 8)[0], position + 12
    if group == 0xFFFE:  # items have no value representation
        return group << 16 | element, b"", _LENGTH(data, position + 4)[0], position + 8
    raise ValueError


def _skip_sequence(data: bytes, position: int, implicit: bool, depth: int = 0) -> int:
    """Return the position after a sequence of undefined length."""
    if depth > _MAX_DEPTH:
        raise ValueError
    in_item = False  # an item of undefined length
    while True:
        tag, _, length, position = _read_element(data, position, implicit)
        if tag == _ITEM and not in_item:
            in_item = length == _UNDEFINED_LENGTH
            position += 0 if in_item else length
        elif tag == _ITEM_END and in_item:
            in_item = False
        elif tag == _SEQUENCE_END and not in_item:
            return position
        elif in_item and tag not in (_ITEM, _SEQUENCE_END):
            position = _skip_sequence(data, position, implicit, depth + 1) if length == _UNDEFINED_LENGTH else position + length
        else:
            raise ValueError


def _decode_value(data: bytes, vr: bytes, values: Mapping[str, Value]) -> Value:
    if vr in _BINARY_VRS:
        format_character, size = _BINARY_VRS[vr]
        if len(data) % size:
            raise ValueError
        numbers = tuple(str(number) for number in Struct(f"<{len(data) // size}{format_character}").unpack(data))
        return numbers if len(numbers) > 1 else numbers[0]
    data = data.rstrip(b"\0 ")
    text = data.decode("ascii") if _PRINTABLE(data) else _decode_text(data, vr, values.get(CHARACTER_SET, ""))
    parts = tuple(part.strip() for part in text.split("\\")) if "\\" in text else (text.strip(),)
    if data and vr == b"DS":
        for part in parts:
            float(part)  # pydicom decides about anything else
    if data and vr == b"IS" and not all(map(_INTEGER, parts)):
        raise ValueError
    return parts if len(parts) > 1 else parts[0]


def _decode_text(data: bytes, vr: bytes, character_set: Value) -> str:
    if vr not in _TEXT_VRS or character_set not in _CODECS or _CONTROL(data):
        raise ValueError
    return data.decode(_CODECS[character_set])
