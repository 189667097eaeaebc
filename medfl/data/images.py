"""Reading PNG, JPEG and other plain image files as grey 2-D images or as 2-D masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfl.data.quiet import quiet
from medfl.data.volume import Volume
from medfl.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R 601, weights of red, green, blue
_DEEP = ("I", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes of more than 8 bits


def read_image(path: Path) -> Volume:
    """Read an image file as grey values.

    Colours become ITU-R 601 luminance; 16 bits are kept.

    Returns
    -------
    Volume
        Array of shape (1, X, Y): columns from left to right, rows from top to bottom.

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-FORMAT`` or ``IMG-FRAMES``.
    """
    with quiet(), _opened(path) as image:
        try:
            grey = image if image.mode in _DEEP else image.convert("RGB" if image.mode == "P" else image.mode).convert("L")
            rows_first = np.asarray(grey, dtype=np.float32)
        except Exception:  # Pillow's plugins raise anything on a damaged file
            raise _damaged() from None
    return Volume(np.ascontiguousarray(rows_first.T)[np.newaxis])


def read_mask_image(path: Path) -> NDArray[np.float32]:
    """Read the values of a mask file as they are stored, without turning colours into anything.

    Returns
    -------
    ndarray
        Shape (X, Y).

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-FORMAT``, ``IMG-FRAMES``, or ``LBL-COLOR`` for a mask painted in colours.
    """
    with quiet(), _opened(path) as image:
        try:
            stored = np.asarray(image if image.mode != "1" else image.convert("L"), dtype=np.float32)
        except Exception:
            raise _damaged() from None
        colours = {"RGB": 3, "RGBA": 3, "LA": 1, "CMYK": 4}.get(image.mode, 0)
    if stored.ndim == 3:
        colour = stored[..., : colours or 3]
        if (colour != colour[..., :1]).any():
            raise DataError("LBL-COLOR", "the mask is painted in colours.", "Export it with one number a class.")
        stored = stored[..., 0]
    return np.ascontiguousarray(stored.T)


def _opened(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError("IMG-MISSING", "the file does not exist.", "Check the index, or copy the file again.")
    try:
        image = Image.open(path)
    except Exception:
        raise _damaged() from None
    if getattr(image, "n_frames", 1) > 1:
        image.close()
        raise DataError("IMG-FRAMES", "the file holds several images.", "Export one file for each image.")
    return image


def _damaged() -> DataError:
    return DataError("IMG-FORMAT", "the file is not a readable image (damaged, cut or of an unknown kind).", "Export it again.")
