"""Damaged files of a case: which of its files cannot be read when it is opened alone. For people on the site's own machine."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from medfl.data.dicom.codecs import is_truncated
from medfl.data.dicom.headers import read_headers
from medfl.data.dicom.pixels import open_decoder, read_dataset, truncated_error
from medfl.data.image_files import IMAGE_SUFFIXES, read_image
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.data.nifti import read_nifti_values
from medfl.errors import DataError
from medfl.site import SiteData
from medfl.system.memory import is_out_of_memory

_NIFTI_SUFFIXES = (".nii", ".nii.gz")
_DAMAGES = (  # codes by which a file is damaged, rather than of another kind than the study asks for
    *("DCM-CODEC", "DCM-COLORSPACE", "DCM-HEADER", "DCM-PIXELS", "DCM-READ", "DCM-TRUNCATED"),
    *("FILE-DAMAGED", "IMG-ENCODING", "IMG-FORMAT", "IMG-READ", "NII-FORMAT", "NII-HEADER", "NII-TRUNCATED"),
)


def find_damaged_files(paths: Iterable[Path], settings: SiteData) -> list[tuple[Path, str]]:
    """Return the files that are there and cannot be read, in their order, each with the code of what is wrong.

    Parameters
    ----------
    paths : iterable of Path
        Files of the images and labels of a case.
    settings : SiteData
        Settings by which the site's data is read.
    """
    found = []
    for path in paths:
        code = _read_alone(path, settings)
        if code in _DAMAGES:
            found.append((path, code))
    return found


def _read_alone(path: Path, settings: SiteData) -> str:
    """Return the code of what is wrong with a file by itself; empty where nothing is, or it is gone, or of no use alone."""
    name = path.name.lower()
    try:
        if not path.is_file():
            return ""
        with silence_libraries():
            if name.endswith(_NIFTI_SUFFIXES):
                read_nifti_values(path, settings)
            elif name.endswith(IMAGE_SUFFIXES):
                read_image(path, settings)
            else:
                _read_dicom(path, settings)
    except DataError as error:
        return error.code
    except OSError:  # the disk fails, or this user may not open the file or its folder
        return "IMG-READ"
    except Exception as error:  # a library failed on what it holds, unless memory was lacking: that is no fault of the file
        return "" if is_out_of_memory(error) else "FILE-DAMAGED"
    return ""


def _read_dicom(path: Path, settings: SiteData) -> None:
    (header,) = read_headers([path], force=settings.allow_headerless)
    dataset = read_dataset(path, settings)
    if header.text("Modality") == "SEG":
        if is_truncated(dataset):
            raise truncated_error(1)
    elif header.text("Rows"):
        decoder = open_decoder(dataset)
        for frame in range(header.frame_count):
            with library_errors_as(lambda: truncated_error(1)):
                decoder.decode(frame)
