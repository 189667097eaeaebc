"""Reading DICOM headers without pixels, and the few facts of them that medfl uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom
from pydicom.dataset import Dataset
from pydicom.filereader import read_partial
from pydicom.multival import MultiValue

from medfl.data.dicom.fast_header import MAGIC, Value, looks_headerless, scan_header, wanted_tags
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError

PROJECTION_MODALITIES = ("CR", "DX", "MG", "RG", "XA", "RF", "PX", "IO")  # modalities of projection X-ray
NON_IMAGE_MODALITIES = ("SEG", "SR", "PR", "KO", "RTDOSE", "RTSTRUCT", "RTPLAN", "DOC", "REG", "FID", "AU", "ECG")
VOLUME_KEYWORDS = (
    "EchoTime",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "InversionTime",
    "FlipAngle",
    "KVP",
    "ConvolutionKernel",
    "AcquisitionNumber",
    "ImageType",
)
IDENTITY_KEYWORDS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "IssuerOfPatientID",
    "Modality",
)
GEOMETRY_KEYWORDS = (
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "NumberOfFrames",
)
PIXEL_KEYWORDS = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsStored",
    "HighBit",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "BurnedInAnnotation",
)
CONCATENATION_KEYWORDS = (
    "ConcatenationUID",
    "InConcatenationTotalNumber",
)  # of a multi-frame object that was cut into several files
DEVICE_KEYWORDS = ("Manufacturer", "ManufacturerModelName", "MagneticFieldStrength")
KEYWORDS = (
    *IDENTITY_KEYWORDS,
    *GEOMETRY_KEYWORDS,
    *PIXEL_KEYWORDS,
    *CONCATENATION_KEYWORDS,
    *DEVICE_KEYWORDS,
    *VOLUME_KEYWORDS,
)

FileKind = Literal["dicom", "headerless", "damaged", "other"]
_READ_SIZES = (16 * 1024, 256 * 1024)  # bytes that are read at first, and when these do not hold the whole header
_WANTED_TAGS = wanted_tags(KEYWORDS)
_LAST_TAG = max(_WANTED_TAGS)
_DECIMAL = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")  # PS3.5 section 6.2; `float` takes "1_0" and "nan", too


@dataclass(frozen=True, eq=False)
class Header:
    """What medfl looks at in the header of one DICOM file. Local only.

    Parameters
    ----------
    path : Path
        The file.
    values : mapping of str to str or tuple of str
        Attributes by keyword, those of `KEYWORDS` that the file has; decoded to text so that they can be kept in an index.
    """

    path: Path
    values: Mapping[str, Value]

    def text(self, keyword: str) -> str:
        """Return an attribute as text, its values joined by backslashes as in the file; empty when it is missing."""
        value = self.values.get(keyword, "")
        return value if isinstance(value, str) else "\\".join(value)

    def numbers(self, keyword: str) -> tuple[float, ...]:
        """Return the values of an attribute as numbers, none when it is missing.

        Raises
        ------
        ValueError
            When one is no number.
        """
        value = self.values.get(keyword, ())
        parts = [part for part in ((value,) if isinstance(value, str) else value) if part]
        if not all(map(_DECIMAL.fullmatch, parts)):
            raise ValueError("no decimal string")
        return tuple(map(float, parts))

    @property
    def frame_count(self) -> int:
        """Number of frames, 1 for a classic image."""
        return int(self.text("NumberOfFrames") or 1)

    @property
    def image_type(self) -> tuple[str, ...]:
        """The words of ImageType in upper case."""
        return tuple(self.text("ImageType").upper().split("\\"))

    @property
    def patient(self) -> str:
        """PatientID with its issuer, or empty when the file names no patient."""
        number = self.text("PatientID")
        return f"{number}|{self.text('IssuerOfPatientID')}" if number else ""


def read_header(path: Path, *, force: bool = False) -> Header | None:
    """Read the header of a file, or return None when it is not DICOM; `force` reads files without preamble, too."""
    try:
        seen = probe_file(path)
    except OSError:
        return None
    usable = seen.kind == "dicom" or (force and seen.kind == "headerless")
    return Header(path, seen.values) if usable else None


@dataclass(frozen=True, eq=False)
class FileProbe:
    """What a look at the beginning of a file tells.

    Parameters
    ----------
    kind : {"dicom", "headerless", "damaged", "other"}
        A DICOM file with a header that can be read, one without the 128-byte preamble, one whose header cannot be read, or no
        DICOM file.
    values : mapping of str to str or tuple of str
        As in `Header`; of a damaged file what could be made out.
    """

    kind: FileKind
    values: Mapping[str, Value]


def probe_file(path: Path) -> FileProbe:
    """Look at the beginning of a file.

    Raises
    ------
    OSError
        When it cannot be opened or read.
    """
    values: dict[str, Value] = {}
    with open(path, "rb", buffering=0) as file:
        data = b""
        for size in _READ_SIZES:
            data += file.read(size)
            if scan_header(data, _WANTED_TAGS, values) and values.get("SOPInstanceUID"):
                return FileProbe("dicom", values)
            if len(data) < size or data[128:132] != MAGIC:
                break
    kind: FileKind = "dicom" if data[128:132] == MAGIC else "headerless" if looks_headerless(data) else "other"
    if kind == "other":
        return FileProbe(kind, {})
    parsed = _parse_header(path)
    if parsed.get("SOPInstanceUID"):
        return FileProbe(kind, parsed)
    return FileProbe("damaged" if kind == "dicom" else "other", values | parsed)


def _parse_header(path: Path) -> dict[str, Value]:
    """Read the header with pydicom; empty when it cannot."""
    values: dict[str, Value] = {}
    with silence_libraries():  # the warnings of pydicom quote the value
        try:
            with open(path, "rb") as file:
                dataset = read_partial(file, lambda tag, *_: tag > _LAST_TAG, force=True, specific_tags=list(_WANTED_TAGS))
        except OSError:
            raise
        except Exception:  # a damaged file: pydicom raises nearly anything
            return values
        for keyword in KEYWORDS:
            try:
                value = _to_text(dataset.get(keyword))
            except Exception:
                value = "" if keyword in IDENTITY_KEYWORDS else "damaged"  # no number: whoever needs it meets the error
            if value:
                values[keyword] = value
    return values


def _to_text(value: object) -> Value:
    if value is None:
        return ""
    if isinstance(value, MultiValue | list):  # a list for several binary numbers
        return tuple(str(part).strip() for part in value)
    return str(value).strip()


def read_headers(paths: Iterable[Path], *, force: bool = False) -> list[Header]:
    """Read the headers of the files of one series.

    Raises
    ------
    DataError
        ``DCM-READ`` when one of them is missing or not DICOM.
    """
    headers = [read_header(path, force=force) for path in paths]
    found = [header for header in headers if header is not None]
    if not found or len(found) < len(headers):
        what = f"{len(headers) - len(found)} of {len(headers)} file(s) are missing or no readable DICOM."
        raise DataError("DCM-READ", what, "Export the series again.")
    return found


def looks_like_dicom(path: Path) -> bool:
    """Return whether a file has the magic word of DICOM behind its 128-byte preamble."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == MAGIC
    except OSError:
        return False


def load_datasets(headers: Sequence[Header], *, force: bool = False) -> list[Dataset]:
    """Read the whole files, pixels included and still compressed.

    Raises
    ------
    DataError
        ``DCM-READ``.
    """
    with silence_libraries():
        try:
            return [pydicom.dcmread(header.path, force=force) for header in headers]
        except Exception:
            raise DataError("DCM-READ", "a file of the series cannot be read.", "Export the series again.") from None
