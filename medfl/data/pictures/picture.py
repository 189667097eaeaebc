"""Picture: the samples of a file as stored, with all that says what a viewer shows of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfl.data.pictures.geometry import PictureGeometry, PixelSize
from medfl.data.pictures.turn import EXIF_TURNS
from medfl.errors import DataError

LUMINANCE_WEIGHTS = np.array([0.299, 0.587, 0.114])  # ITU-R 601, weights of red, green, blue
_EIGHT_BITS = 255


@dataclass(frozen=True, eq=False)
class Picture:
    """Samples of a picture as stored.

    Parameters
    ----------
    samples : ndarray
        Greys or numbers of colours, (rows, columns), or colours, (rows, columns, 3).
    white : int, optional
        The largest value of a sample; None for types that have none, such as floating point.
    palette : ndarray, optional
        Colour of each number, (n, 3), uint8.
    alpha : ndarray, optional
        Opacity of each pixel, (rows, columns), 0 to 1; None when all are opaque.
    inverted : bool
        Whether 0 is shown white.
    fax : bool
        Whether it is one (CCITT Group 3 or 4), which everybody sees as shown.
    lossy : bool
        Whether the compression changed values.
    orientation : int, optional
        Orientation of EXIF and TIFF; None when the file states none.
    pixel_size : tuple of float, optional
        Width and height of a pixel as stored, up to a factor.
    has_wrong_density : bool
        Whether the file states densities that cannot be right, so that pixels are taken for square.
    """

    samples: NDArray[Any]
    white: int | None = None
    palette: NDArray[np.uint8] | None = None
    alpha: NDArray[np.float32] | None = None
    inverted: bool = False
    fax: bool = False
    lossy: bool = False
    orientation: int | None = None
    pixel_size: PixelSize | None = None
    has_wrong_density: bool = False

    @property
    def geometry(self) -> PictureGeometry:
        """Geometry after the turn that a camera asks for."""
        rows, columns = self.samples.shape[:2]
        return camera_geometry((columns, rows), self.orientation, self.pixel_size)

    def stand_up(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of the samples, (rows, columns), as a picture (X, Y) that is turned as the camera asks for."""
        camera = EXIF_TURNS.get(self.orientation or 0)
        return values.T if camera is None else camera.apply(values.T)

    def shown(self) -> NDArray[Any]:
        """Return the colours, (rows, columns, 3), or greys, (rows, columns), that a viewer shows, at the stored depth."""
        if self.palette is not None:
            return np.asarray(self.palette[self.samples])
        return (self.white or 0) - self.samples if self.inverted else self.samples


def camera_geometry(shape: tuple[int, int], orientation: int | None, pixel_size: PixelSize | None) -> PictureGeometry:
    """Return the geometry of a picture file: columns, rows and pixels as stored, turned as EXIF says."""
    camera = EXIF_TURNS.get(orientation or 0)
    if camera is not None:
        shape = camera.apply_to_sides(shape)
        pixel_size = pixel_size and camera.apply_to_sides(pixel_size)
    return PictureGeometry(shape, camera, pixel_size=pixel_size)


def to_grey(picture: Picture) -> NDArray[np.float32]:
    """Return the grey values that a viewer shows, (rows, columns).

    Colours become ITU-R 601 luminance, in whole numbers for 8 bits. Fewer than 8 bits are spread over 0 to 255; more are kept.

    Raises
    ------
    DataError
        ``IMG-ALPHA`` when pixels are transparent: what is seen there depends on what lies behind.
    """
    if picture.alpha is not None:
        share = float((picture.alpha < 1).mean())
        what = f"{max(100 * share, 0.01):.3g} % of the pixels are transparent, so their grey value is not known."
        raise DataError("IMG-ALPHA", what, "Flatten the picture on the background that is meant, and export it again.")
    shown = picture.shown()
    if shown.ndim == 3 and shown.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(shown)).convert("L"), dtype=np.float32)
    if shown.ndim == 3:
        return np.asarray(np.round(shown @ LUMINANCE_WEIGHTS), dtype=np.float32)
    grey = np.asarray(shown, dtype=np.float32)
    return grey * (_EIGHT_BITS // picture.white) if picture.white is not None and picture.white < _EIGHT_BITS else grey
