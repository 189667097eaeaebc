"""Reading DICOM headers without pixels, and the few facts of them that medfl uses."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

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
_IDENTITY = (
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "PatientID",
    "IssuerOfPatientID",
    "Modality",
)
_TAGS = (
    *_IDENTITY,
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "SamplesPerPixel",
    "RescaleIntercept",
    *SPLITTERS,
)


@dataclass(frozen=True, eq=False)
class Header:
    """The header of one DICOM file.

    Parameters
    ----------
    path : Path
        The file.
    dataset : Dataset
        The attributes that medfl looks at; no pixels.
    """

    path: Path
    dataset: Dataset

    def text(self, keyword: str) -> str:
        """Return an attribute as text, empty when it is missing."""
        value = self.dataset.get(keyword)
        return "" if value is None else str(value).strip()

    @property
    def frames(self) -> int:
        """Number of frames, 1 for a classic image."""
        return int(self.dataset.get("NumberOfFrames") or 1)

    @property
    def image_type(self) -> tuple[str, ...]:
        """The words of ImageType in upper case."""
        value = self.dataset.get("ImageType") or ()
        return (value.upper(),) if isinstance(value, str) else tuple(str(word).upper() for word in value)

    @property
    def patient(self) -> str:
        """PatientID with its issuer, or empty when the file names no patient."""
        number = self.text("PatientID")
        return f"{number}|{self.text('IssuerOfPatientID')}" if number else ""


def read_header(path: Path) -> Header | None:
    """Read the header of a file, or return None when it is not DICOM."""
    with quiet():
        try:
            dataset = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
            for keyword in (*_IDENTITY, "ImageType"):
                str(dataset.get(keyword))
        except InvalidDicomError:
            return None
        except Exception:  # a damaged file: pydicom raises nearly anything
            return None
        for keyword in _TAGS:  # decoded here, not when they are asked for: the warnings of pydicom quote the value
            with contextlib.suppress(Exception):  # whoever needs a damaged one meets the error again
                dataset.get(keyword)
    return Header(path, dataset) if dataset.get("SOPInstanceUID") else None


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
