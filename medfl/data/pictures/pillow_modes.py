"""From Pillow's modes to the samples of a picture as stored."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.pictures.geometry import PixelSize
from medfl.data.pictures.picture import Picture
from medfl.errors import DataError

_DEEP_GREYS = ("I;16", "I;16L", "I;16B", "I;16N")
_COLOURS = ("RGB", "RGBX", "CMYK", "YCbCr")


def from_pillow(
    image: Any,
    *,
    bits: int = 8,
    lossy: bool = False,
    orientation: int | None = None,
    pixel_size: PixelSize | None = None,
) -> Picture:
    """Return the samples of an opened image as stored.

    Parameters
    ----------
    image : PIL.Image.Image
        The image.
    bits : int
        Bits of a sample in the file: Pillow spreads 2 and 4 bits of grey over 8.
    lossy, orientation, pixel_size
        As in `medfl.data.pictures.picture.Picture`.

    Raises
    ------
    DataError
        ``IMG-ENCODING``.
    """
    palette = white = None
    if image.mode in ("P", "PA"):
        palette = np.frombuffer(bytes(image.getpalette("RGB")), dtype=np.uint8).reshape(-1, 3)
        samples, alpha = _split(np.asarray(image), 1)
        check_numbers(samples, palette)
    elif image.mode in ("1", "L", "LA", "La", *_DEEP_GREYS):
        samples, alpha = _split(np.asarray(image), 1)
        white = 1 if image.mode == "1" else (1 << bits) - 1
        samples = samples.astype(np.uint8) if image.mode == "1" else samples // (255 // white) if white < 255 else samples
    elif image.mode in ("I", "F"):
        samples, alpha = np.asarray(image), None
    elif image.mode in ("RGBA", "RGBa", *_COLOURS):
        straight = image.convert("RGBA") if image.mode == "RGBa" else image
        samples, alpha = _split(np.asarray(straight if straight.mode in ("RGB", "RGBA") else straight.convert("RGB")), 3)
        white = 255
    else:
        raise encoding_error("its kind of colours is not read")
    if "transparency" in image.info:
        key = image.info["transparency"]
        alpha = _key_alpha(int(bool(key)) if image.mode == "1" else key, samples, palette is not None)
    opaque = alpha is None or bool((alpha == 1).all())
    seen = None if opaque else alpha
    return Picture(samples, white, palette, seen, lossy=lossy, orientation=orientation, pixel_size=pixel_size)


def check_numbers(samples: NDArray[Any], palette: NDArray[np.uint8]) -> None:
    """Refuse numbers of colours that the table does not have.

    Raises
    ------
    DataError
        ``IMG-ENCODING``.
    """
    if samples.max(initial=0) >= len(palette):
        raise encoding_error("it uses colours that are missing from its table")


def encoding_error(why: str) -> DataError:
    """Return the error for a picture whose pixels cannot be read for certain, or not at their depth."""
    return DataError("IMG-ENCODING", f"the pixels cannot be read for certain: {why}.", "Export it as a grey or RGB PNG.")


def _split(array: NDArray[Any], colours: int) -> tuple[NDArray[Any], NDArray[np.float32] | None]:
    """Return the colours or greys, and the opacity behind them if there is one."""
    if array.ndim == 2:
        return array, None
    alpha = np.asarray(array[..., colours] / 255, dtype=np.float32) if array.shape[-1] > colours else None
    return array[..., 0] if colours == 1 else array[..., :colours], alpha


def _key_alpha(transparency: Any, samples: NDArray[Any], is_palette: bool) -> NDArray[np.float32]:
    """Return the opacity by the chunk tRNS of PNG: of each number of a colour, or of one colour that is transparent."""
    if not is_palette:
        different = samples != np.array(transparency)
        return np.asarray(different.any(axis=-1) if samples.ndim == 3 else different, dtype=np.float32)
    table = np.ones(256, dtype=np.float32)
    if isinstance(transparency, int):
        table[transparency] = 0
    else:
        table[: len(transparency)] = np.frombuffer(bytes(transparency), dtype=np.uint8).astype(np.float32) / 255
    return np.asarray(table[samples])
