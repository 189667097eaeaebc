"""Reader of DICOM headers, without pixels: the few attributes that medfl uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader, RawIOBase
from pathlib import Path
from typing import BinaryIO, Literal

from pydicom.multival import MultiValue

from medfl.data.dicom.fast_header import CHARACTER_SET, MAGIC, Value, looks_headerless, scan_header, wanted_tags
from medfl.data.dicom.keywords import IDENTITY_KEYWORDS, KEYWORDS, SELECTION_KEYWORDS
from medfl.data.dicom.parsing import parse_file
from medfl.data.library_output import silence_libraries
from medfl.data.patient_ids import join_issuer
from medfl.errors import DataError

PROJECTION_MODALITIES = ("CR", "DX", "MG", "RG", "XA", "RF", "PX", "IO")  # modalities of projection X-ray
NON_IMAGE_MODALITIES = ("SEG", "SR", "PR", "KO", "RTDOSE", "RTSTRUCT", "RTPLAN", "DOC", "REG", "FID", "AU", "ECG")
FileKind = Literal["dicom", "headerless", "damaged", "other"]
_SOP_CLASS_ROOT = "1.2.840.10008.5.1.4.1.1."  # of the storage SOP classes, PS3.4 table B.5-1
MODALITY_BY_CLASS = {  # of the SOP classes that belong to one
    _SOP_CLASS_ROOT + part: modality
    for modality, parts in {
        "CR": "1",
        "DX": "1.1 1.1.1",
        "MG": "1.2 1.2.1",
        "CT": "2 2.1 2.2",
        "MR": "4 4.1 4.3 4.4",
        "US": "3.1 6.1",
        "XA": "12.1 12.1.1",
        "RF": "12.2 12.2.1",
        "NM": "20",
        "PT": "128 128.1 130",
        "SEG": "66.4",
        "RTSTRUCT": "481.3",
    }.items()
    for part in parts.split()
}
_IMAGE_KEYWORDS = ("Rows", "Columns", "PhotometricInterpretation")  # a header that was read so far is one of an image
_READ_SIZES = (16 * 1024, 256 * 1024)  # bytes read at first, and again when these do not hold the whole header
_WANTED_TAGS = wanted_tags((CHARACTER_SET, *KEYWORDS))
_TEXT_KEYWORDS = (*IDENTITY_KEYWORDS, *SELECTION_KEYWORDS)
_LAST_TAG = max(_WANTED_TAGS)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # PS3.5 section 6.2; `float` also accepts "1_0" and "nan"


@dataclass(frozen=True, eq=False)
class Header:
    """Attributes of one DICOM file that medfl uses. They never leave the site.

    Parameters
    ----------
    path : Path
        The file.
    values : mapping of str to str or tuple of str
        Attributes of `KEYWORDS` that the file has, by keyword; decoded to text so that an index can hold them.
    """

    path: Path
    values: Mapping[str, Value]

    def text(self, keyword: str) -> str:
        """Return an attribute as text, its values joined by backslashes as in the file; empty when it is missing."""
        value = self.values.get(keyword, "")
        return value if isinstance(value, str) else "\\".join(value)

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return the values of an attribute as numbers, or none when it is missing.

        Raises
        ------
        ValueError
            When one is not a number.
        """
        value = self.values.get(keyword, ())
        parts = [part for part in ((value,) if isinstance(value, str) else value) if part]
        if not all(map(_DECIMAL.fullmatch, parts)):
            raise ValueError("not a decimal string")
        return tuple(map(float, parts))

    @property
    def frame_count(self) -> int:
        """Number of frames, 1 for a single-frame image."""
        return int(self.text("NumberOfFrames") or 1)

    @property
    def image_type(self) -> tuple[str, ...]:
        """Values of ImageType, in upper case."""
        return tuple(self.text("ImageType").upper().split("\\"))

    @property
    def patient(self) -> str:
        """PatientID with its issuer, or empty when the file names no patient."""
        return join_issuer(self.text("PatientID"), self.text("IssuerOfPatientID"))


def read_header(path: Path, *, force: bool = False) -> Header | None:
    """Read the header of a file, or return None when it is not DICOM; `force` also reads files without preamble."""
    try:
        probe = probe_file(path)
    except OSError:
        return None
    usable = probe.kind == "dicom" or (force and probe.kind == "headerless")
    return Header(path, probe.values) if usable else None


@dataclass(frozen=True, eq=False)
class FileProbe:
    """Kind of a file, judged by its beginning, with its attributes.

    Parameters
    ----------
    kind : {"dicom", "headerless", "damaged", "other"}
        A DICOM file with a readable header, one without the 128-byte preamble, one with an unreadable header, or a file that
        is not DICOM.
    values : mapping of str to str or tuple of str
        Values as in `Header`; for a damaged file, those that could be read.
    """

    kind: FileKind
    values: Mapping[str, Value]


def probe_file(path: Path) -> FileProbe:
    """Determine the kind of a file from its beginning, and read its attributes.

    Raises
    ------
    OSError
        When the file cannot be opened or read.
    """
    with open(path, "rb", buffering=0) as file:
        return probe_open_file(file)


def probe_open_file(file: RawIOBase) -> FileProbe:
    """Look at the beginning of a file that was opened without a buffer and is at its start.

    Raises
    ------
    OSError
        When it cannot be read.
    """
    values: dict[str, Value] = {}
    data = b""
    for size in _READ_SIZES:
        data += file.read(size) or b""
        if scan_header(data, _WANTED_TAGS, values) and values:
            return FileProbe("dicom", _with_modality(values))
        if len(data) < size or data[128:132] != MAGIC:
            break
    kind: FileKind = "dicom" if data[128:132] == MAGIC else "headerless" if looks_headerless(data) else "other"
    if kind == "other":
        return FileProbe(kind, {})
    parsed = _parse_header(file)
    if parsed.get("SOPInstanceUID") or all(map(parsed.get, _IMAGE_KEYWORDS)):
        return FileProbe(kind, _with_modality(parsed))
    return FileProbe("damaged" if kind == "dicom" else "other", values | parsed)


def _with_modality(values: dict[str, Value]) -> dict[str, Value]:
    """Return values with the modality that the SOP class has, where none is named."""
    modality = "" if values.get("Modality") else MODALITY_BY_CLASS.get(str(values.get("SOPClassUID", "")), "")
    return {**values, "Modality": modality} if modality else values


def _parse_header(file: RawIOBase) -> dict[str, Value]:
    """Read the header with pydicom; return nothing if it cannot."""
    values: dict[str, Value] = {}
    with silence_libraries():  # the warnings of pydicom quote the value
        try:
            with buffered_from_start(file) as start:
                dataset = parse_file(
                    start, force=True, stop_when=lambda tag, *_: tag > _LAST_TAG, specific_tags=list(_WANTED_TAGS)
                )
        except OSError:
            raise
        except Exception:  # a damaged file: pydicom raises nearly anything
            return values
        for keyword in KEYWORDS:
            try:
                value = to_text(dataset.get(keyword))
            except Exception:
                value = "" if keyword in _TEXT_KEYWORDS else "damaged"  # not a number: an error for whoever reads it
            if value:
                values[keyword] = value
    return values


def to_text(value: object) -> Value:
    """Return a value of pydicom as text, several values as several texts; empty when there is none."""
    if value is None:
        return ""
    if isinstance(value, MultiValue | list):  # several binary numbers are a list
        return tuple(str(part).strip() for part in value)
    return str(value).strip()


@contextmanager
def buffered_from_start(file: RawIOBase) -> Iterator[BinaryIO]:
    """Lend an open file to a parser that reads it in small pieces from its start; the file stays open."""
    file.seek(0)
    buffered = BufferedReader(file)
    try:
        yield buffered
    finally:
        buffered.detach()


def read_headers(paths: Iterable[Path], *, force: bool = False) -> list[Header]:
    """Read the headers of the files of one series.

    Raises
    ------
    DataError
        ``DCM-READ`` when a file is missing or not DICOM.
    """
    return require_headers([read_header(path, force=force) for path in paths])


def require_headers(headers: Sequence[Header | None]) -> list[Header]:
    """Return the headers of the files of one series if there is one of each.

    Raises
    ------
    DataError
        ``DCM-READ``.
    """
    readable = [header for header in headers if header is not None]
    if not readable or len(readable) < len(headers):
        what = f"{len(headers) - len(readable)} of {len(headers)} file(s) are missing or not readable as DICOM."
        raise DataError("DCM-READ", what, "Export the series again.")
    return readable


def looks_like_dicom(path: Path) -> bool:
    """Return whether a file has the prefix DICM after a preamble of 128 bytes (PS3.10 section 7.1)."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == MAGIC
    except OSError:
        return False
