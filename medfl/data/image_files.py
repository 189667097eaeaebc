"""Reader of PNG, JPEG and other plain image files, as grey 2-D images or as 2-D masks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from medfl.data.library_output import silence_libraries
from medfl.data.volume import Volume
from medfl.errors import DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114])  # ITU-R 601, weights of red, green, blue
_HIGH_BIT_MODES = ("I", "I;16", "I;16B", "I;16L", "F")  # Pillow's modes of more than 8 bits


def read_image(path: Path) -> Volume:
    """Read an image file as grey values.

    Colours become ITU-R 601 luminance; 16 bits are kept; transparency is ignored. A picture that a camera turned is stood up as
    its EXIF orientation says, for so it was seen by whoever drew on it.

    Returns
    -------
    Volume
        Array of shape (1, X, Y): columns from left to right, rows from top to bottom.

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-FORMAT``, ``IMG-FRAMES`` or ``IMG-LARGE``.
    """
    with silence_libraries(), _open_image(path) as opened:
        try:
            image = ImageOps.exif_transpose(opened)
            through = {"P": "RGB", "PA": "RGB"}.get(image.mode, image.mode)  # the stored values are numbers of colours
            grey = image if image.mode in _HIGH_BIT_MODES else image.convert(through).convert("L")
            rows_first = np.asarray(grey, dtype=np.float32)
        except Exception:  # Pillow's plugins raise anything on a damaged file
            raise _damaged_error() from None
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
        ``IMG-MISSING``, ``IMG-FORMAT``, ``IMG-FRAMES``, ``IMG-LARGE``, or ``LBL-COLOR`` for a mask painted in colours.
    """
    with silence_libraries(), _open_image(path) as opened:
        try:
            image = ImageOps.exif_transpose(opened)
            stored = np.asarray(image if image.mode != "1" else image.convert("L"), dtype=np.float32)
        except Exception:
            raise _damaged_error() from None
        colours = {"RGB": 3, "RGBA": 3, "LA": 1, "PA": 1, "CMYK": 4}.get(image.mode, 0)
    if stored.ndim == 3:
        colour = stored[..., : colours or 3]
        if (colour != colour[..., :1]).any():
            raise DataError("LBL-COLOR", "the mask is painted in colours.", "Export it with one number a class.")
        stored = stored[..., 0]
    return np.ascontiguousarray(stored.T)


def _open_image(path: Path) -> Image.Image:
    if not path.is_file():
        raise DataError("IMG-MISSING", "the file does not exist.", "Check the index, or copy the file again.")
    try:
        image = Image.open(path)
    except Image.DecompressionBombError:
        max_megapixels = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        what = f"the image has more than {max_megapixels} million pixels, which is no X-ray, slice or photograph."
        raise DataError("IMG-LARGE", what, "Export the region that is meant, or a lower resolution.") from None
    except Exception:
        raise _damaged_error() from None
    try:
        frames = getattr(image, "n_frames", 1)
    except Exception:  # the list of pages is damaged
        image.close()
        raise _damaged_error() from None
    if frames > 1:
        image.close()
        raise DataError("IMG-FRAMES", f"the file holds {frames} images.", "Export one file for each image.")
    return image


def _damaged_error() -> DataError:
    return DataError("IMG-FORMAT", "the file is not a readable image (damaged, cut or of an unknown kind).", "Export it again.")
