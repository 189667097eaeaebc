"""Reader of one DICOM file as a 2-D image: X-ray, ultrasound, photographs, single slices."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from medfl.data.dicom.declared_size import check_headers_size
from medfl.data.dicom.frames import frame_headers, is_enhanced
from medfl.data.dicom.headers import Header, read_headers
from medfl.data.dicom.identity import missing_uid_warnings
from medfl.data.dicom.picture_geometry import read_picture_geometry
from medfl.data.dicom.pixels import apply_rescale, high_bits_warning, open_decoder, read_dataset, truncated_error
from medfl.data.dicom.sop_classes import check_burned_in, check_image_classes
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.data.pictures.picture import LUMINANCE_WEIGHTS
from medfl.data.volume import Volume
from medfl.errors import DataError
from medfl.site import SiteData

_DEFAULTS = SiteData()
_MEASURING_MODALITIES = ("CT", "MR", "PT", "NM")  # whose values are measured, and not inverted by how they are shown


def read_dicom_image(path: Path, settings: SiteData = _DEFAULTS, *, header: Header | None = None) -> Volume:
    """Read one DICOM file as a 2-D image.

    The modality LUT is applied, the VOI LUT (window) never: it is a setting for viewing, and differs between hospitals.
    MONOCHROME1 is inverted, except for modalities that measure. Colours become ITU-R 601 luminance. The image is turned by what
    its header says of the patient, and pixels that are not square are made so (`medfl.data.dicom.picture_geometry`).

    Parameters
    ----------
    path : Path
        The file.
    settings : SiteData
        The site's `burned_in` and `allow_headerless`.
    header : Header, optional
        Header of the file; None: it is read.

    Returns
    -------
    Volume
        Array (1, X, Y), by the convention of `medfl.data.volume.Volume`.

    Raises
    ------
    DataError
        ``DCM-READ``, ``DCM-SOPCLASS``, ``BURNED-IN``, ``DCM-FRAMES``, ``DCM-CODEC``, ``DCM-HEADER``, ``DCM-IOP``,
        ``DCM-SIDES``, ``IMG-SPACING``, ``DCM-PIXELS``, ``DCM-COLORSPACE``, ``IMG-LARGE`` or ``DCM-TRUNCATED``.
    """
    header = header or read_headers([path], force=settings.allow_headerless)[0]
    check_image_classes([header])
    check_headers_size([header], settings)
    check_burned_in([header], settings)  # before its pixels are read
    dataset = read_dataset(path, settings)
    check_burned_in([header], settings, dataset)
    with silence_libraries(), library_errors_as(partial(truncated_error, 1)):
        if int(dataset.get("NumberOfFrames") or 1) > 1:
            raise DataError("DCM-FRAMES", "the object holds several frames.", "Export the intended frame as a single image.")
        decoder = open_decoder(dataset)
        invert = header.text("Modality").upper() not in _MEASURING_MODALITIES
        frame_header = single_frame_header(header, settings)
        rows_first = _to_grey(decoder.decode(0), dataset, frame_header, invert=invert)
        geometry = read_picture_geometry(dataset, frame_header)
    warnings = [*missing_uid_warnings([header]), *([high_bits_warning(1)] if decoder.has_foreign_bits else [])]
    return Volume(geometry.arrange(rows_first.T)[np.newaxis], warnings=tuple(warnings), picture=geometry)


def single_frame_header(header: Header, settings: SiteData) -> Header:
    """Return the header of the only frame of an enhanced object, whose rescaling is in functional groups."""
    return frame_headers(header, force=settings.allow_headerless)[0] if is_enhanced(header) else header


def _to_grey(stored: NDArray[Any], dataset: Dataset, header: Header, *, invert: bool) -> NDArray[np.float32]:
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)  # the stored values are indices of colours
    if stored.ndim == 3:
        return np.asarray(stored[..., :3] @ LUMINANCE_WEIGHTS, dtype=np.float32)
    grey = np.asarray(apply_rescale(stored, header, dataset, stored.shape), dtype=np.float32)
    if invert and dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        return np.asarray(grey.max() + grey.min() - grey, dtype=np.float32)
    return grey
