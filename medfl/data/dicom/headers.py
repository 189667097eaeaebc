"""Reading DICOM headers without pixels, and the few facts of them that medfl uses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue

from medfl.data.quiet import quiet
from medfl.errors import DataError

PROJECTION = ("CR", "DX", "MG", "RG", "XA", "RF", "PX", "IO")  # modalities of projection X-ray
NOT_IMAGES = ("SEG", "SR", "PR", "KO", "RTDOSE", "RTSTRUCT", "RTPLAN", "DOC", "REG", "FID", "AU", "ECG")
SPLITTERS = (
    "EchoTime",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "InversionTime",
    "FlipAngle",
    "AcquisitionNumber",
    "ImageType",
)
IDENTITY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "PatientID",
    "IssuerOfPatientID",
    "Modality",
)
PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns", "NumberOfFrames")
PIXELS = ("SamplesPerPixel", "PhotometricInterpretation", "RescaleSlope", "RescaleIntercept", "BurnedInAnnotation")
DEVICE = ("Manufacturer", "ManufacturerModelName", "MagneticFieldStrength", "KVP", "ConvolutionKernel")
KEYWORDS = (*IDENTITY, *PLACE, *PIXELS, *DEVICE, *SPLITTERS)

Value = str | tuple[str, ...]  # an attribute as text; several values as several texts


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
        return tuple(float(part) for part in ((value,) if isinstance(value, str) else value) if part)

    @property
    def frames(self) -> int:
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


def read_header(path: Path) -> Header | None:
    """Read the header of a file, or return None when it is not DICOM."""
    with quiet():  # the warnings of pydicom quote the value
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(KEYWORDS))
            identity = {keyword: _value(dataset.get(keyword)) for keyword in (*IDENTITY, "ImageType")}
        except Exception:  # no DICOM, or a damaged file: pydicom raises nearly anything
            return None
        values = {keyword: value for keyword, value in identity.items() if value}
        for keyword in set(KEYWORDS) - set(identity):
            try:
                value = _value(dataset.get(keyword))
            except Exception:
                value = "damaged"  # no number: whoever needs it meets the error
            if value:
                values[keyword] = value
    return Header(path, values) if values.get("SOPInstanceUID") else None


def _value(value: object) -> Value:
    if value is None:
        return ""
    if isinstance(value, MultiValue):
        return tuple(str(part).strip() for part in value)
    return str(value).strip()


def read_headers(paths: Iterable[Path]) -> list[Header]:
    """Read the headers of the files of one series.

    Raises
    ------
    DataError
        ``DCM-READ`` when one of them is missing or not DICOM.
    """
    headers = [read_header(path) for path in paths]
    found = [header for header in headers if header is not None]
    if not found or len(found) < len(headers):
        what = f"{len(headers) - len(found)} of {len(headers)} file(s) are missing or no readable DICOM."
        raise DataError("DCM-READ", what, "Export the series again.")
    return found


def looks_like_dicom(path: Path) -> bool:
    """Return whether a file has the magic word of DICOM behind its 128-byte preamble."""
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def load_datasets(headers: Sequence[Header]) -> list[Dataset]:
    """Read the whole files, pixels included and still compressed.

    Raises
    ------
    DataError
        ``DCM-READ``.
    """
    with quiet():
        try:
            return [pydicom.dcmread(header.path) for header in headers]
        except Exception:
            raise DataError("DCM-READ", "a file of the series can not be read.", "Export the series again.") from None
