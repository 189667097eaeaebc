"""Reading a 2-D mask that was saved as a picture in DICOM."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.pixels.utils import iter_pixels

from medfl.data.dicom.codecs import is_truncated
from medfl.data.dicom.headers import read_headers
from medfl.data.dicom.pixels import read_dataset, truncated_error
from medfl.data.dicom.sop_classes import check_image_classes
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError


def read_dicom_mask(path: Path, *, force: bool = False) -> NDArray[Any]:
    """Read the values of a mask as they are stored: they are numbers of classes, and no shades of grey.

    So nothing is inverted, rescaled or weighted by colour, as `medfl.data.dicom.image.read_dicom_image` does; and nothing is
    asked about names in the pixels, for they would be foreign values.

    Parameters
    ----------
    path : Path
        The file.
    force : bool
        Whether it may lack the 128-byte preamble.

    Returns
    -------
    ndarray
        (X, Y), of the type that is stored.

    Raises
    ------
    DataError
        ``DCM-READ``, ``DCM-SOPCLASS``, ``DCM-FRAMES``, ``DCM-CODEC``, ``DCM-TRUNCATED``, or ``LBL-COLOR`` for a mask painted in
        colours.
    """
    check_image_classes(read_headers([path], force=force))
    dataset = read_dataset(path, force=force)
    with silence_libraries():
        try:
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                raise DataError("DCM-FRAMES", "the object holds several frames.", "Export one mask for each image.")
            if is_truncated(dataset):
                raise truncated_error(1)
            # of colours "raw" would be blue and red against luminance, which differ where the colours are all grey
            (stored,) = iter_pixels(dataset, raw=int(dataset.SamplesPerPixel) == 1)
        except (DataError, MemoryError):
            raise
        except Exception:  # a decoder met bytes that are no image
            raise truncated_error(1) from None
    if stored.ndim == 3:
        if (stored != stored[..., :1]).any():
            raise DataError("LBL-COLOR", "the mask is painted in colours.", "Export it with one number a class.")
        stored = stored[..., 0]
    return np.ascontiguousarray(stored.T)
