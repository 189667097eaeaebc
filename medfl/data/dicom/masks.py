"""Reader of a 2-D mask that was saved as a DICOM image."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut

from medfl.data.dicom.declared_size import check_headers_size
from medfl.data.dicom.headers import Header, read_headers
from medfl.data.dicom.image import single_frame_header
from medfl.data.dicom.picture_geometry import read_picture_geometry
from medfl.data.dicom.pixels import open_decoder, read_dataset, truncated_error
from medfl.data.dicom.sop_classes import check_image_classes
from medfl.data.library_output import library_errors_as, silence_libraries
from medfl.data.pictures.drawn_values import drawn_values
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.pictures.palettes import MARKED
from medfl.data.pictures.picture import Picture
from medfl.errors import DataError
from medfl.site import SiteData

_DEFAULTS = SiteData()


def read_dicom_mask(
    path: Path, settings: SiteData = _DEFAULTS, *, header: Header | None = None
) -> tuple[NDArray[Any], PictureGeometry]:
    """Read the values of a mask: they are class numbers, not grey values.

    Unlike in `medfl.data.dicom.image.read_dicom_image`, nothing is rescaled or weighted by colour, and nothing is
    asked about names in the pixels, as those would be values of no class. Palettes are read as in
    `medfl.data.pictures.drawn_values`, and black and white in MONOCHROME1 as a picture in which 0 is white.

    Parameters
    ----------
    path : Path
        The file.
    settings : SiteData
        The site's `allow_headerless`, `mask_values`, `max_megapixels` and `max_megavoxels`.
    header : Header, optional
        Header of the file; None: it is read.

    Returns
    -------
    values : ndarray
        (X, Y) as stored.
    geometry : PictureGeometry
        How the patient lies in it.

    Raises
    ------
    DataError
        ``DCM-READ``, ``DCM-SOPCLASS``, ``DCM-FRAMES``, ``DCM-CODEC``, ``DCM-HEADER``, ``DCM-PIXELS``, ``DCM-COLORSPACE``,
        ``DCM-TRUNCATED``, ``DCM-IOP``, ``DCM-SIDES``, ``IMG-SPACING``, ``LBL-COLOR``, ``LBL-PALETTE``, ``LBL-LOSSY`` or
        ``IMG-LARGE``.
    """
    header = header or read_headers([path], force=settings.allow_headerless)[0]
    check_image_classes([header])
    check_headers_size([header], settings)
    dataset = read_dataset(path, settings)
    with silence_libraries(), library_errors_as(partial(truncated_error, 1)):
        if int(dataset.get("NumberOfFrames") or 1) > 1:
            raise DataError("DCM-FRAMES", "the object holds several frames.", "Export one mask for each image.")
        geometry = read_picture_geometry(dataset, single_frame_header(header, settings))
        values = _read_values(dataset, settings.mask_values)
    return np.ascontiguousarray(values.T), geometry


def _read_values(dataset: Dataset, mask_values: str) -> NDArray[Any]:
    decoder = open_decoder(dataset)
    samples = decoder.decode(0)
    photometric, bits = dataset.get("PhotometricInterpretation"), int(dataset.get("BitsStored") or 0)
    is_unsigned = samples.dtype.kind == "u" and 1 < bits <= 16
    white = (1 << bits) - 1 if is_unsigned and photometric != "PALETTE COLOR" else None
    inverted = photometric == "MONOCHROME1" and (mask_values == "shown" or _is_black_and_white(samples, bits))
    if inverted:
        white = int(samples.max(initial=0)) or (1 << bits) - 1
    palette = _read_palette(samples, dataset) if photometric == "PALETTE COLOR" else None
    return drawn_values(Picture(samples, white, palette, inverted=inverted, lossy=decoder.is_lossy), mask_values)


def _is_black_and_white(samples: NDArray[Any], bits: int) -> bool:
    """Return whether the values of a mask are black and white rather than numbers of classes."""
    low, high, white = int(samples.min(initial=0)), int(samples.max(initial=0)), (1 << bits) - 1
    if bits == 1 or high == white:
        return True
    return high in (MARKED, white >> 1) and bool(((samples == low) | (samples == high)).all())


def _read_palette(samples: NDArray[Any], dataset: Dataset) -> NDArray[np.uint8]:
    """Return the colour of each number up to the largest that the table or the mask has."""
    entries, first, bits = (int(value) for value in dataset.RedPaletteColorLookupTableDescriptor)
    numbers = np.arange(max(first + (entries or 1 << 16), int(samples.max(initial=0)) + 1), dtype=np.uint16)
    colours = apply_color_lut(numbers, dataset)
    return np.asarray(colours >> 8 if colours.dtype.itemsize > 1 and bits > 8 else colours, dtype=np.uint8)
