"""Shape of a pixel by the densities that a PNG, JPEG or BMP file states."""

from __future__ import annotations

from typing import Any

from medfl.data.pictures.geometry import MAX_ASPECT, PixelSize, check_pixel_size

_X_RESOLUTION, _Y_RESOLUTION = 0x011A, 0x011B  # EXIF


def read_pixel_size(image: Any) -> PixelSize | None:
    """Return width and height of a pixel of an opened image by its densities: pHYs, JFIF, EXIF, or those of BMP.

    Every JFIF and BMP file has fields for these, which some programs fill with anything: what cannot be right is ignored there.

    Raises
    ------
    DataError
        ``IMG-SPACING`` for a density that was stated on purpose and cannot be right.
    """
    across, down = _read_densities(image)
    if not (across > 0 and down > 0) or has_wrong_density(image):
        return None
    return check_pixel_size(1 / across, 1 / down)


def has_wrong_density(image: Any) -> bool:
    """Return whether an opened image states densities that cannot be right, in fields that every file of its kind has."""
    if image.format != "BMP" and "jfif_density" not in image.info:
        return False
    low, high = sorted(_read_densities(image))
    return low != high and not 0 < high <= MAX_ASPECT * low


def _read_densities(image: Any) -> tuple[float, float]:
    info = image.info
    if image.format in ("JPEG", "MPO"):
        exif = image.getexif()
        across, down = info.get("jfif_density") or (exif.get(_X_RESOLUTION, 0), exif.get(_Y_RESOLUTION, 0))
    else:
        across, down = info.get("aspect") or info.get("dpi") or (0, 0)
    return float(across), float(down)
