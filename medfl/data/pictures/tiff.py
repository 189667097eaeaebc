"""Decoding of TIFF: by tifffile, which keeps every depth, or by Pillow where its libtiff knows the compression."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from medfl.data.pictures.decoding import check_single, damaged_picture_error
from medfl.data.pictures.geometry import PictureGeometry, PixelSize, check_pixel_size
from medfl.data.pictures.integrity import check_deflated, cut_error
from medfl.data.pictures.libtiff_words import damage_by_libtiff
from medfl.data.pictures.picture import Picture, camera_geometry
from medfl.data.pictures.pillow_modes import check_numbers, encoding_error, from_pillow
from medfl.data.pictures.turn import EXIF_TURNS
from medfl.data.size_limits import check_declared_size
from medfl.errors import DataError
from medfl.site import SiteData

_REDUCED = 1  # bit of NewSubfileType (TIFF 6.0): a preview of another image of the file
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB, _PALETTE = range(4)  # PhotometricInterpretation
_GREYS = (_WHITE_IS_ZERO, _BLACK_IS_ZERO)
_SEPARATED, _YCBCR = 5, 6
_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED = range(1, 5)  # SampleFormat
_UNCOMPRESSED, _DEFLATE = 1, (8, 32946)
_FAX = (2, 3, 4)  # CCITT: Huffman, Group 3, Group 4
_LOSSY = (6, 7, 33005, 34712, 34892, 50001)  # JPEG and the like
_ALPHA = (1, 2)  # ExtraSamples: associated, unassociated
_UNDO = {6: 8, 8: 6}  # orientations that undo others; the rest undo themselves


def decode_tiff(data: bytes, settings: SiteData) -> Picture:
    """Decode a TIFF file of one image (TIFF 6.0); previews beside it are passed over.

    Raises
    ------
    DataError
        As `medfl.data.pictures.decoding.decode_picture`.
    """
    with _open_page(io.BytesIO(data), settings) as (index, page):
        _check_stored(page, data)
        return _decode_page(page, index, data)


def read_tiff_geometry(file: BinaryIO, settings: SiteData) -> PictureGeometry:
    """Read the geometry of a TIFF file from its header alone; as `decode_tiff`."""
    with _open_page(file, settings) as (_, page):
        return camera_geometry((page.imagewidth, page.imagelength), _tag(page, "Orientation"), _read_pixel_size(page))


@contextmanager
def _open_page(stream: BinaryIO, settings: SiteData) -> Iterator[tuple[int, Any]]:
    """Return the one image of a file, and its place among the directories."""
    try:
        with tifffile.TiffFile(stream) as file:
            pages = [(index, page.aspage()) for index, page in enumerate(file.pages)]
            whole = [(index, page) for index, page in pages if not int(page.subfiletype) & _REDUCED] or pages
            check_single(max(len(whole), _count_described(file, whole[0][1])))
            _check_flat(whole[0][1])
            check_declared_size((whole[0][1].imagewidth, whole[0][1].imagelength), settings)
            yield whole[0]
    except tifffile.TiffFileError:
        raise damaged_picture_error() from None


def _count_described(file: tifffile.TiffFile, page: Any) -> int:
    """Return how many images a description states that stands for directories of their own: of ImageJ, MetaMorph, tifffile."""
    if file.is_imagej:
        return int((file.imagej_metadata or {}).get("images", 1))
    if file.is_stk:
        return int((file.stk_metadata or {}).get("NumberPlanes", 1))
    if page.shaped_description:
        number = math.prod(tifffile.tifffile.shaped_description_metadata(page.shaped_description).get("shape", ()))
        return int(number // (page.imagedepth * page.imagelength * page.imagewidth * page.samplesperpixel))
    return 1


def _check_flat(page: Any) -> None:
    if page.imagedepth > 1:
        what = f"the file is a volumetric TIFF, of {page.imagedepth} planes in one image."
        raise DataError("IMG-FRAMES", what, "Export one file for each image, or the volume as NIfTI or DICOM.")


def _check_stored(page: Any, data: bytes) -> None:
    """Refuse strips that lie outside the file or are empty, and compressed ones that do not fit their checksum."""
    pairs = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if not pairs or any(offset <= 0 or count <= 0 or offset + count > len(data) for offset, count in pairs):
        raise cut_error()
    bits = np.sum(page.bitspersample) if isinstance(page.bitspersample, tuple) else page.bitspersample * page.samplesperpixel
    size = int(page.imagelength * page.imagewidth * int(bits) // 8)
    if page.compression == _UNCOMPRESSED and sum(count for _, count in pairs) < size:
        raise cut_error()
    if page.compression in _DEFLATE:
        most = 2 * max(size, page.tilelength * page.tilewidth * int(bits)) + (1 << 16)
        for offset, count in pairs:
            check_deflated(data[offset : offset + count], most)


def _decode_page(page: Any, index: int, data: bytes) -> Picture:
    bits, kind = _same(page.bitspersample), _same(page.sampleformat or _UNSIGNED)
    facts = {
        "fax": int(page.compression) in _FAX,
        "lossy": int(page.compression) in _LOSSY,
        "orientation": _tag(page, "Orientation"),
        "pixel_size": _read_pixel_size(page),
    }
    if kind not in (_UNSIGNED, _SIGNED, _FLOAT, _UNDEFINED):
        raise encoding_error("its values are complex numbers")
    if "PhotometricInterpretation" not in page.tags:
        raise encoding_error("it does not say whether 0 is white or black")
    photometric = int(page.photometric)
    if photometric not in (*_GREYS, _RGB, _PALETTE, _SEPARATED, _YCBCR):
        raise encoding_error("its kind of colours is not read")
    if photometric == _WHITE_IS_ZERO and (kind != _UNSIGNED or bits > 16):
        raise encoding_error("0 is said to be white, of values that have no black")
    if page.compression in (_UNCOMPRESSED, *_DEFLATE) and bits in (8, 16, 32, 64) and photometric <= _PALETTE:
        try:
            array = page.asarray()
        except (NotImplementedError, ValueError, ImportError):  # what tifffile needs another package for
            array = None
        if array is not None:
            return _from_array(page, array, photometric, kind, bits, facts)
    return _from_pillow(page, index, data, photometric, kind, bits, facts)


def _from_array(page: Any, array: NDArray[Any], photometric: int, kind: int, bits: int, facts: dict[str, Any]) -> Picture:
    count = int(page.samplesperpixel)
    samples = (
        array.reshape(page.imagelength, page.imagewidth, count)
        if page.planarconfig == 1
        else np.moveaxis(array.reshape(count, page.imagelength, page.imagewidth), 0, -1)
    )
    white = (1 << bits) - 1 if kind == _UNSIGNED and bits <= 16 else None
    colours = 3 if photometric == _RGB else 1
    if colours == 3 and white is None:
        raise encoding_error("its colours are not of 8 or 16 bits")
    alpha = _read_alpha(page, samples[..., colours:], colours, white)
    palette = None
    if photometric == _PALETTE:
        palette = _read_palette(page)
        check_numbers(samples, palette)
    own = samples[..., :3] if colours == 3 else samples[..., 0]
    return Picture(own, white, palette, alpha, inverted=photometric == _WHITE_IS_ZERO, **facts)


def _read_alpha(page: Any, extra: NDArray[Any], colours: int, white: int | None) -> NDArray[np.float32] | None:
    """Return the opacity, if a sample beyond the colours is one; a fourth sample without a word about it is one, too."""
    if not extra.shape[-1]:
        return None
    kinds = [int(kind) for kind in np.atleast_1d(page.extrasamples)] if page.extrasamples else []
    if white is not None and ((kinds and kinds[0] in _ALPHA) or (not kinds and colours == 3)):
        alpha = np.asarray(extra[..., 0] / white, dtype=np.float32)
        return None if (alpha == 1).all() else alpha
    if (extra != extra[:1, :1]).any():
        raise encoding_error("its pixels have further channels, of an unknown meaning")
    return None


def _read_palette(page: Any) -> NDArray[np.uint8]:
    colours = np.asarray(page.colormap).T
    return np.asarray(colours if colours.max(initial=0) < 256 else colours // 256, dtype=np.uint8)  # some write 8 bits


def _from_pillow(page: Any, index: int, data: bytes, photometric: int, kind: int, bits: int, facts: dict[str, Any]) -> Picture:
    single = page.samplesperpixel == 1
    exact = (kind in (_UNSIGNED, _UNDEFINED) and bits <= 8) or (
        single
        and (bits, kind) in ((12, _UNSIGNED), (16, _UNSIGNED), (16, _SIGNED), (32, _UNSIGNED), (32, _SIGNED), (32, _FLOAT))
    )
    if not exact:
        raise encoding_error("this compression is not read at this depth")
    try:
        image = Image.open(io.BytesIO(data), formats=(TiffImagePlugin.TiffImageFile.format,))
    except Exception:
        raise encoding_error("this kind of TIFF is not read") from None
    with image:
        image.seek(index)
        with damage_by_libtiff():
            image.load()
        inverted = photometric == _WHITE_IS_ZERO
        picture = from_pillow(image, bits=bits)
    samples = picture.samples
    if inverted and bits <= 8:  # Pillow has inverted these, and none of more bits
        samples = (picture.white or 0) - samples
    if kind == _UNSIGNED and bits == 32:
        samples = samples.view(np.uint32)
    return _lay_down(Picture(samples, picture.white, picture.palette, picture.alpha, inverted, **facts))


def _lay_down(picture: Picture) -> Picture:
    """Return a picture as stored: Pillow has turned it already."""
    orientation = picture.orientation or 1
    undo = EXIF_TURNS.get(_UNDO.get(orientation, orientation), EXIF_TURNS[1])
    alpha = None if picture.alpha is None else undo.apply(picture.alpha.T).T
    return replace(picture, samples=undo.apply(picture.samples.T).T, alpha=alpha)


def _read_pixel_size(page: Any) -> PixelSize | None:
    densities = [_ratio(_tag(page, name)) for name in ("XResolution", "YResolution")]
    if not all(densities):
        return None
    return check_pixel_size(1 / densities[0], 1 / densities[1])


def _ratio(value: Any) -> float:
    if isinstance(value, tuple):
        return value[0] / value[1] if len(value) == 2 and value[1] else 0.0
    return float(value or 0)


def _tag(page: Any, name: str) -> Any:
    tag = page.tags.get(name)
    value = None if tag is None else tag.value
    return int(value) if name == "Orientation" and value is not None else value


def _same(values: Any) -> int:
    found = {int(value) for value in np.atleast_1d(values)}
    if len(found) != 1:
        raise encoding_error("its samples have different depths")
    return found.pop()
