"""Reader of a 2-D mask that was saved as a DICOM image."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.headers import Header, read_headers
from medfl.data.dicom.pixels import open_decoder, read_dataset, truncated_error
from medfl.data.dicom.sop_classes import check_image_classes
from medfl.data.library_output import silence_libraries
from medfl.errors import DataError


def read_dicom_mask(path: Path, *, force: bool = False, header: Header | None = None) -> NDArray[Any]:
    """Read the stored values of a mask: they are class numbers, not grey values.

    Unlike in `medfl.data.dicom.image.read_dicom_image`, nothing is inverted, rescaled or weighted by colour, and nothing is
    asked about names in the pixels, as those would be values of no class.

    Parameters
    ----------
    path : Path
        The file.
    force : bool
        Whether the file may lack the 128-byte preamble.
    header : Header, optional
        Header of the file; None: it is read.

    Returns
    -------
    ndarray
        (X, Y), of the stored type.

    Raises
    ------
    DataError
        ``DCM-READ``, ``DCM-SOPCLASS``, ``DCM-FRAMES``, ``DCM-CODEC``, ``DCM-HEADER``, ``DCM-PIXELS``, ``DCM-COLORSPACE``,
        ``DCM-TRUNCATED``, or ``LBL-COLOR`` for a mask in colours.
    """
    check_image_classes([header] if header else read_headers([path], force=force))
    dataset = read_dataset(path, force=force)
    with silence_libraries():
        try:
            if int(dataset.get("NumberOfFrames") or 1) > 1:
                raise DataError("DCM-FRAMES", "the object holds several frames.", "Export one mask for each image.")
            stored = open_decoder(dataset).decode(0)
        except (DataError, MemoryError):
            raise
        except Exception:  # a decoder failed on damaged pixels
            raise truncated_error(1) from None
    if stored.ndim == 3:
        if (stored != stored[..., :1]).any():
            raise DataError("LBL-COLOR", "the mask is painted in colours.", "Export it with one number per class.")
        stored = stored[..., 0]
    return np.ascontiguousarray(stored.T)
