"""Decoding of picture files into their samples: PNG, JPEG and BMP by Pillow, TIFF by tifffile where it keeps more."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medfl.data.library_output import silence_libraries
from medfl.data.pictures.densities import has_wrong_density, read_pixel_size
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.pictures.integrity import check_jpeg, check_png, check_png_pixels, damaged_error
from medfl.data.pictures.picture import Picture, camera_geometry
from medfl.data.pictures.pillow_modes import check_numbers, encoding_error, from_pillow
from medfl.data.size_limits import check_declared_size, without_pillow_limit
from medfl.errors import DataError
from medfl.site import SiteData

_FORMATS = ("PNG", "JPEG", "BMP")  # the reader of JPEG also opens what phones call MPO
_TIFF_MAGIC = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_BROKEN_STREAM = "broken data stream"  # what Pillow says of compressed pixels that do not fit their checksum
_MAX_FILE_BYTES = 1 << 30  # of a file; what it declares has a ceiling of its own
_ORIENTATION = 0x0112  # EXIF and TIFF
_DEPTH_BYTE, _COLOUR_BYTE, _INTERLACE_BYTE = 24, 25, 28  # of the header of a PNG file
_BMP_SIZE_BYTE, _BMP_DEPTH_BYTE, _BMP_COMPRESSION_BYTE = 14, 28, 30
_BMP_OLD_SIZE, _BMP_OLD_DEPTH_BYTE = 12, 24  # of the header of OS/2
_BMP_MODES = {"1": 1, "L": 8}  # bits of a pixel that Pillow unpacks where the table is grey, whatever the file says
_GREY = 0  # colour type of PNG
_LOW_BYTES = {2: "RGB;16L", 6: "RGBA;16L"}  # raw modes of Pillow that take the second byte of each sample


def decode_picture(path: Path, settings: SiteData) -> Picture:
    """Read a picture file once and decode its samples at the depth of the file, after checking its checksums.

    Parameters
    ----------
    path : Path
        A PNG, JPEG, BMP or TIFF file, told by its content.
    settings : SiteData
        The site's ceiling on sizes.

    Raises
    ------
    DataError
        ``IMG-MISSING``, ``IMG-LARGE``, ``IMG-FORMAT``, ``IMG-FRAMES``, ``IMG-ENCODING``, ``IMG-SPACING`` or
        ``FILE-DAMAGED``.
    """
    data = _read_file(path)
    with silence_libraries(), without_pillow_limit():
        try:
            if data[:4] in _TIFF_MAGIC:
                from medfl.data.pictures.tiff import decode_tiff

                return decode_tiff(data, settings)
            return _decode(data, settings)
        except (DataError, MemoryError):
            raise
        except Exception as error:  # Pillow's plugins raise anything on a damaged file
            raise damaged_error() if _BROKEN_STREAM in str(error) else damaged_picture_error() from None


def read_picture_geometry(path: Path, settings: SiteData) -> PictureGeometry:
    """Read the geometry of a picture from its header alone.

    Raises
    ------
    DataError
        ``IMG-LARGE``, ``IMG-FORMAT``, ``IMG-FRAMES`` or ``IMG-SPACING``.
    OSError
        When the file cannot be opened.
    """
    with silence_libraries(), without_pillow_limit(), path.open("rb") as file:
        try:
            if file.read(4) in _TIFF_MAGIC:
                from medfl.data.pictures.tiff import read_tiff_geometry

                file.seek(0)
                return read_tiff_geometry(file, settings)
            file.seek(0)
            with Image.open(file, formats=_FORMATS) as image:
                check_declared_size(image.size, settings)
                return camera_geometry(image.size, image.getexif().get(_ORIENTATION), read_pixel_size(image))
        except (DataError, MemoryError):
            raise
        except Exception:
            raise damaged_picture_error() from None


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise DataError("IMG-MISSING", "the file does not exist.", "Check the index, or copy the file again.")
        if path.stat().st_size > _MAX_FILE_BYTES:
            raise DataError("IMG-LARGE", "the picture file is larger than 1 GiB.", "Export the region that is meant.")
        return path.read_bytes()
    except OSError:
        raise DataError("IMG-READ", "a file could not be read.", "Check disk, network drive and permissions.") from None


def _decode(data: bytes, settings: SiteData) -> Picture:
    with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
        check_declared_size(image.size, settings)
        if image.format != "MPO":  # a photograph, with a second view, a preview or a map beside it
            check_single(getattr(image, "n_frames", 1))
        lossy = image.format in ("JPEG", "MPO")
        if lossy:
            check_jpeg(data)
        if image.format == "JPEG" and image.mode == "CMYK" and "adobe" not in image.info:
            raise encoding_error("its ink colours do not say whether 0 is white or black")
        if image.format == "PNG":
            picture = _decode_png(data, image)
        elif image.format == "BMP" and (depth := _bmp_depth(data)) != _BMP_MODES.get(image.mode, depth):
            picture = _decode_two_colours(data, image, depth)
        else:
            orientation = image.getexif().get(_ORIENTATION)
            picture = from_pillow(image, lossy=lossy, orientation=orientation, pixel_size=read_pixel_size(image))
        return replace(picture, has_wrong_density=has_wrong_density(image))


def _decode_png(data: bytes, image: Any) -> Picture:
    check_png(data)
    bits = data[_DEPTH_BYTE]
    if bits == 16 and data[_COLOUR_BYTE] != _GREY:
        picture = _decode_deep_png(data, image)
    else:
        orientation = image.getexif().get(_ORIENTATION)
        picture = from_pillow(image, bits=bits, orientation=orientation, pixel_size=read_pixel_size(image))
    if data[_INTERLACE_BYTE] or not picture.samples[-1].any():  # rows that are missing are 0: no need to inflate all twice
        check_png_pixels(data)
    return picture


def _decode_deep_png(data: bytes, image: Any) -> Picture:
    """Return 16-bit colours or greys with transparency, which Pillow cuts to 8 bits: the two bytes of a sample in turn."""
    colour = data[_COLOUR_BYTE]
    with Image.open(io.BytesIO(data), formats=("PNG",)) as second:
        second.tile = [second.tile[0]._replace(args=_LOW_BYTES.get(colour, "RGBA"))]  # of greys, all four bytes at once
        low = np.asarray(second)
    if colour in _LOW_BYTES:
        samples = np.asarray(image).astype(np.uint16) << 8 | low
    else:
        samples = low[..., ::2].astype(np.uint16) << 8 | low[..., 1::2]
    alpha = None
    if colour != 2:
        samples, alpha = samples[..., :-1], samples[..., -1].astype(np.float32) / 65535
    elif (key := image.info.get("transparency")) is not None:
        alpha = (samples != np.array(key)).any(axis=-1).astype(np.float32)
    return Picture(
        samples[..., 0] if samples.shape[-1] == 1 else samples,
        white=65535,
        alpha=None if alpha is None or (alpha == 1).all() else alpha,
        orientation=image.getexif().get(_ORIENTATION),
        pixel_size=read_pixel_size(image),
    )


def _bmp_depth(data: bytes) -> int:
    return data[_BMP_OLD_DEPTH_BYTE if data[_BMP_SIZE_BYTE] == _BMP_OLD_SIZE else _BMP_DEPTH_BYTE]


def _decode_two_colours(data: bytes, image: Any, depth: int) -> Picture:
    """Return the pixels of a BMP file of one byte each, with a table of black and white."""
    if (image.mode, depth) != ("1", 8) or data[_BMP_SIZE_BYTE] == _BMP_OLD_SIZE or data[_BMP_COMPRESSION_BYTE]:
        raise encoding_error("its table of greys is shorter than its pixels may ask for")
    (tile,) = image.tile
    (width, height), stride = image.size, -(-image.size[0] // 4) * 4
    rows = np.frombuffer(data, dtype=np.uint8, count=stride * height, offset=tile.offset).reshape(height, stride)[:, :width]
    upright = rows[::-1] if tile.args[-1] == -1 else rows  # rows begin at the bottom
    check_numbers(upright, np.zeros((2, 3), dtype=np.uint8))
    return Picture(upright, white=1, pixel_size=read_pixel_size(image))


def check_single(count: int) -> None:
    """Refuse a file of several images.

    Raises
    ------
    DataError
        ``IMG-FRAMES``.
    """
    if count > 1:
        raise DataError("IMG-FRAMES", f"the file holds {count} images.", "Export one file for each image.")


def damaged_picture_error() -> DataError:
    """Return the error for a file that no reader makes sense of."""
    what = "the file is not a readable image (damaged, cut or of an unknown kind)."
    return DataError("IMG-FORMAT", what, "Export it again, as PNG, TIFF, JPEG or BMP; the end of its name may not be its kind.")
