"""Reader of PNG, JPEG and other plain image files, as grey 2-D images or as 2-D masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.findings import Finding
from medfl.data.pictures.decoding import decode_picture
from medfl.data.pictures.drawn_values import drawn_values
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.pictures.picture import to_grey
from medfl.data.volume import Volume
from medfl.site import SiteData

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
_DEFAULTS = SiteData()
_DENSITY_WARNING = Finding.warning(
    "IMG-SPACING",
    "the resolution that the file states cannot be right, so its pixels are taken for square.",
    "Nothing needs to be done if they are; otherwise export the picture again.",
)


def read_image(path: Path, settings: SiteData = _DEFAULTS) -> Volume:
    """Read an image file as the grey values that a viewer shows.

    Colours become ITU-R 601 luminance; 16 bits are kept. A picture that a camera turned is stood up as its EXIF orientation
    says, for so it was seen by whoever drew on it. Pixels that the file says are not square are made so.

    Parameters
    ----------
    path : Path
        A PNG, JPEG, BMP or TIFF file.
    settings : SiteData
        The site's `max_megapixels`.

    Returns
    -------
    Volume
        Array of shape (1, X, Y): columns from left to right, rows from top to bottom.

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-FORMAT``, ``IMG-FRAMES``, ``IMG-LARGE``, ``IMG-ENCODING``, ``IMG-ALPHA``, ``IMG-SPACING`` or
        ``FILE-DAMAGED``.
    """
    picture = decode_picture(path, settings)
    geometry = picture.geometry
    grey = geometry.arrange(picture.stand_up(to_grey(picture)))
    return Volume(grey[np.newaxis], picture=geometry, warnings=(_DENSITY_WARNING,) if picture.has_wrong_density else ())


def read_mask_image(path: Path, settings: SiteData = _DEFAULTS) -> NDArray[Any]:
    """Read the values that were drawn in a mask file (`medfl.data.pictures.drawn_values`).

    Parameters and errors are those of `read_image`; and ``LBL-COLOR``, ``LBL-PALETTE``, ``LBL-ALPHA`` or ``LBL-LOSSY``.

    Returns
    -------
    ndarray
        Shape (X, Y), turned as a camera asks for.
    """
    return read_mask_picture(path, settings)[0]


def read_mask_picture(path: Path, settings: SiteData = _DEFAULTS) -> tuple[NDArray[Any], PictureGeometry]:
    """Read a mask file as `read_mask_image`, with its geometry."""
    picture = decode_picture(path, settings)
    values = picture.stand_up(drawn_values(picture, settings.mask_values))
    return np.ascontiguousarray(values), picture.geometry
