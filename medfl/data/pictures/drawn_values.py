"""The values that were drawn in a mask that is a picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.pictures.palettes import MARKED, inverted_error, is_inverting, palette_error, palette_values
from medfl.data.pictures.picture import Picture
from medfl.errors import DataError


def drawn_values(picture: Picture, mask_values: str = "drawn") -> NDArray[Any]:
    """Return the values of a mask, (rows, columns).

    Greys are values as a viewer shows them, so that their numbers in a table do not matter; fewer than 8 bits are numbers of
    classes, unless all is black and white, which is 0 and 255 at every depth. Where 0 is white, what was marked may be the one
    or the other: tifffile writes arrays of bool in this way, and ImageJ masks with an inverting table, of which the stored
    number counts. Only faxes are seen by everybody as they are shown. What is transparent is background. A mask in a lossy
    compression is read only if it is black and white without a shade between.

    Parameters
    ----------
    picture : Picture
        The picture as decoded.
    mask_values : str
        `mask-values` in site.toml: "stored", the stored numbers are the classes, whatever a viewer shows; "shown", what a
        viewer shows counts also where 0 is white; else such masks are refused.

    Raises
    ------
    DataError
        ``LBL-COLOR``, ``LBL-PALETTE``, ``LBL-ALPHA`` or ``LBL-LOSSY``.
    """
    by_number = mask_values == "stored" and picture.samples.ndim == 2
    values = picture.samples if by_number else _black_and_white(_drawn(picture, mask_values == "shown"), picture.white)
    if picture.lossy and not ((values == MARKED).any() and np.isin(values, (0, MARKED)).all()):  # a faint 1 is lost to 0
        what = "the mask is compressed with loss (as JPEG is), which changes the numbers of classes."
        raise DataError("LBL-LOSSY", what, "Export it again without loss, as PNG, NIfTI or DICOM-SEG.")
    return values


def _drawn(picture: Picture, as_shown: bool) -> NDArray[Any]:
    alpha, samples = picture.alpha, picture.samples
    inverted = picture.inverted and not picture.fax
    if not as_shown and (inverted or (picture.palette is not None and is_inverting(picture.palette, samples))):
        raise inverted_error()
    if picture.palette is not None:
        if alpha is None:
            return palette_values(samples, picture.palette)
        if ((alpha == 0) == (samples == 0)).all() and np.isin(alpha, (0, 1)).all():  # number 0 is not drawn
            return palette_values(samples, picture.palette, background=True)
    shown = picture.shown()
    colours = shown if shown.ndim == 3 else shown[..., np.newaxis]
    grey = shown.ndim == 2 or bool((colours == colours[..., :1]).all())
    if alpha is not None:
        return _in_alpha(colours, alpha)
    if not grey:
        raise _colour_error()
    if picture.inverted and not np.isin(colours, (0, picture.white or 0)).all():
        raise palette_error("0 is white in it, and it has other values than black and white")
    return colours[..., 0]


def _in_alpha(colours: NDArray[Any], alpha: NDArray[np.float32]) -> NDArray[Any]:
    """Return the values of a mask with transparency: of what is opaque, on a background that is not."""
    levels = np.unique(alpha)
    if len(levels) > 2 or levels[0] not in (0, levels[-1]):
        raise _alpha_error("pixels are transparent in part")
    marked = alpha > 0
    if len(levels) == 1 and marked.all():  # one opacity for all: the form is in the colours
        paint, hidden = _distinct(colours), colours[:0, 0]
    else:
        paint, hidden = _distinct(colours[marked]), _distinct(colours[~marked])
    empty = not hidden.any()  # black, where nothing is seen
    if len(paint) == 1 and len(hidden):
        return _one_paint(marked, paint, hidden)
    if not empty:
        raise _alpha_error("colours are hidden where it is transparent")
    if (paint != paint[:, :1]).any():
        raise _colour_error()
    return np.where(marked, colours[..., 0], 0)


def _one_paint(marked: NDArray[np.bool_], paint: NDArray[Any], hidden: NDArray[Any]) -> NDArray[Any]:
    same = (hidden == paint).all(axis=1)
    if not (same | ~hidden.any(axis=1)).all():
        raise _alpha_error("colours are hidden where it is transparent")
    grey = bool((paint == paint[:, :1]).all())
    value = paint[0, 0] if grey and paint.any() and not same.all() else MARKED
    return np.where(marked, value, 0)


def _distinct(colours: NDArray[Any]) -> NDArray[Any]:
    """Return each colour once, (n, channels); as one number each, they are sorted twenty times as fast."""
    flat = colours.reshape(-1, colours.shape[-1])
    if flat.dtype.itemsize > 2 or flat.dtype.kind != "u":
        return np.unique(flat, axis=0)
    packed = np.zeros(len(flat), dtype=np.uint64)
    for channel in flat.T:
        packed = packed << np.uint64(16) | channel
    found = np.unique(packed)
    return np.stack([found >> np.uint64(16 * k) & np.uint64(0xFFFF) for k in reversed(range(flat.shape[1]))], axis=-1)


def _black_and_white(values: NDArray[Any], white: int | None) -> NDArray[Any]:
    """Return 0 and 255 for a mask of black and white at any other depth."""
    if white in (None, MARKED) or not (values == white).any() or not np.isin(values, (0, white)).all():
        return values
    return np.where(values == white, MARKED, 0).astype(np.uint8)


def _colour_error() -> DataError:
    return DataError("LBL-COLOR", "the mask is painted in colours.", "Export it with one number a class.")


def _alpha_error(why: str) -> DataError:
    return DataError("LBL-ALPHA", f"what was drawn in the mask is not certain: {why}.", "Export it without transparency.")
