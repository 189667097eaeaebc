"""Parsing of a DICOM file with pydicom, a deflated one no further than its header says: 2 MB may inflate to gigabytes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom.dataset import Dataset, FileDataset
from pydicom.filereader import _at_pixel_data, _read_file_meta_info, read_partial, read_preamble
from pydicom.filereader import read_dataset as parse_elements
from pydicom.pixels.utils import get_expected_length
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian

from medfl.data.dicom.fast_header import is_surely_plain
from medfl.data.size_limits import check_declared_size
from medfl.errors import DataError
from medfl.site import SiteData

StopWhen = Callable[[BaseTag, str | None, int], bool]

_BEGINNING = 2048  # bytes that hold the file meta information of nearly any file
_CHUNK = 2**20  # bytes read at a time
_MAX_HEADER = 2**26  # bytes of a deflated data set in front of its pixels
_DEFAULTS = SiteData()


def parse_file(
    source: Path | BinaryIO,
    settings: SiteData = _DEFAULTS,
    *,
    force: bool = False,
    stop_before_pixels: bool = False,
    stop_when: StopWhen | None = None,
    specific_tags: Sequence[int | str] | None = None,
) -> FileDataset:
    """Parse a file as `pydicom.dcmread` does.

    Parameters
    ----------
    source : Path or BinaryIO
        The file, or the same opened and at its start.
    settings : SiteData
        The site's `max_megapixels` and `max_megavoxels`, for deflated pixels.
    force, stop_before_pixels, stop_when, specific_tags
        As for `pydicom.dcmread` and `pydicom.filereader.read_partial`.

    Raises
    ------
    DataError
        ``IMG-LARGE`` or ``DCM-PIXELS`` for a deflated file (PS3.5 section A.5) that inflates to more than it should.
    Exception
        What pydicom raises, which is nearly anything, for a damaged file.
    """
    stop = _at_pixel_data if stop_before_pixels else stop_when
    tags: list[BaseTag | int] | None = [Tag(tag) for tag in specific_tags] if specific_tags else None
    if isinstance(source, Path):
        with source.open("rb") as file:
            return _parse(file, settings, force, stop, tags)
    return _parse(source, settings, force, stop, tags)


def _parse(
    file: BinaryIO, settings: SiteData, force: bool, stop: StopWhen | None, tags: list[BaseTag | int] | None
) -> FileDataset:
    deflated = _open_deflated(file, force)
    if deflated is None:
        file.seek(0)
        return read_partial(file, stop, force=force, specific_tags=tags)
    preamble, meta = deflated
    return _parse_deflated(file, settings, preamble, meta, stop, tags)


def _open_deflated(file: BinaryIO, force: bool) -> tuple[bytes | None, Dataset] | None:
    """Return preamble and file meta information of a deflated file, which is left at its data set; None for others."""
    beginning = file.read(_BEGINNING)
    file.seek(0)
    if is_surely_plain(beginning):
        return None
    try:
        preamble = read_preamble(file, force)
        meta = _read_file_meta_info(file)
    except Exception:  # pydicom says it again
        return None
    return (preamble, meta) if meta.get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian else None


def _parse_deflated(
    file: BinaryIO,
    settings: SiteData,
    preamble: bytes | None,
    meta: Dataset,
    stop: StopWhen | None,
    tags: list[BaseTag | int] | None,
) -> FileDataset:
    inflater = _Inflater(file)
    inflater.inflate_to(_MAX_HEADER)
    if not inflater.is_complete and stop is None:
        inflater.inflate_to(_pixel_end(inflater, settings))
        if not inflater.is_complete:
            what = "the deflated file holds more bytes than its header says that it has pixels."
            raise DataError("DCM-PIXELS", what, "Export the images again from the PACS, uncompressed if it can.")
    buffer = inflater.open()
    elements = parse_elements(buffer, False, True, stop_when=stop, specific_tags=tags)
    if not inflater.is_complete and buffer.tell() >= inflater.size:
        raise ValueError("the header is longer than any that is known")
    dataset = FileDataset(buffer, elements, preamble, meta, is_implicit_VR=False, is_little_endian=True)  # type: ignore[arg-type]
    dataset.set_original_encoding(False, True, elements._character_set)
    return dataset


def _pixel_end(inflater: _Inflater, settings: SiteData) -> int:
    """Return where the data set ends at the latest if its pixels are as many as its header says."""
    buffer = inflater.open()
    header = parse_elements(buffer, False, True, stop_when=_at_pixel_data)
    if buffer.tell() >= inflater.size:
        raise ValueError("the header is longer than any that is known")
    frames, bits = int(header.get("NumberOfFrames") or 1), int(header.BitsAllocated)
    planes = -(-frames // 8) if bits == 1 else frames
    check_declared_size((int(header.Columns), int(header.Rows), planes)[: 2 if planes == 1 else 3], settings)
    return buffer.tell() + int(get_expected_length(header)) + _MAX_HEADER


class _Inflater:
    """Deflated bytes (RFC 1951), inflated as far as they are asked for."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._decoder = file, zlib.decompressobj(-zlib.MAX_WBITS)
        self._parts: list[bytes] = []
        self.size = 0

    @property
    def is_complete(self) -> bool:
        return self._decoder.eof

    def inflate_to(self, size: int) -> None:
        """Inflate until there are so many bytes, or all."""
        while self.size < size and not self._decoder.eof:
            data = self._decoder.unconsumed_tail or self._file.read(_CHUNK)
            part = self._decoder.decompress(data, min(_CHUNK, size - self.size))
            if not data and not part:
                raise EOFError("the deflated data set is cut")
            self._parts.append(part)
            self.size += len(part)

    def open(self) -> BytesIO:
        """Return what was inflated as a file."""
        self._parts = [b"".join(self._parts)]
        return BytesIO(self._parts[0])
