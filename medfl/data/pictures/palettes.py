"""From numbers of colours in a mask to what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

_MIN_RAMP = 4  # greys of a table from white to black
_BLACK = 16  # colours up to this brightness are black: the background
_WEB_COLOURS = 216  # a table of these has every colour, so that the numbers mean none
_WEB_STEP = 51
_MANY_COLOURS = 16  # beside black: a table of so many, of which most are not in use, was not made for one file
_HUES = (  # of the first classes, of any brightness
    ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)),  # ITK-SNAP
    ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1)),  # Pascal VOC
)
MARKED = 255  # value of what was drawn in one colour, whatever its class

Colours = NDArray[np.uint8]


def palette_values(numbers: NDArray[Any], palette: Colours, *, background: bool = False) -> NDArray[Any]:
    """Return the values that were drawn in a mask with a table of colours.

    Where number 0 is black or not in use and the table has colours, the numbers are the classes if the table is one of classes:
    by its hues (those of ITK-SNAP or Pascal VOC), or because it is large and the mask uses few of its colours. Elsewhere, greys
    are the values, whatever their numbers. A small table may be made for one file, in any order, even with a colour that is not
    used: there, one colour on black is `MARKED`, and several are refused.

    Parameters
    ----------
    numbers : ndarray
        Number of each pixel's colour.
    palette : ndarray
        Colour of each number, (n, 3).
    background : bool
        Whether number 0 is known to be the background, whatever its colour.

    Raises
    ------
    DataError
        ``LBL-PALETTE``.
    """
    used = np.unique(numbers)
    seen = used[used != 0] if background else used
    colours = palette[seen]
    if len(np.unique(colours, axis=0)) < len(colours):
        raise palette_error("two of its numbers have one colour, so that a viewer does not show what they mean")
    black = colours.max(axis=1, initial=0) <= _BLACK
    on_number_0 = not ((black & (seen != 0)).any() and len(seen) > 1) and bool(black[seen == 0].all())
    marked = seen[seen != 0]
    if on_number_0 and len(marked) and (palette != palette[:, :1]).any() and _is_class_table(marked, palette):
        return numbers
    if (colours == colours[:, :1]).all() and not (background and not colours.all()):
        return np.where(background & (numbers == 0), 0, palette[:, 0][numbers])
    if not on_number_0:
        raise palette_error("it has colours, and its background is not number 0")
    if len(marked) == 1:
        return np.where(numbers == marked[0], MARKED, 0).astype(np.uint8)
    raise palette_error("its colours are in no known order, so that their numbers may be others in each file")


def _is_class_table(marked: NDArray[Any], palette: Colours) -> bool:
    if np.isin(palette, np.arange(0, 256, _WEB_STEP)).all() and len(np.unique(palette, axis=0)) >= _WEB_COLOURS:
        return False
    colours = palette[marked]
    if (colours == [_voc_colour(int(number)) for number in marked]).all():
        return True
    if marked.max(initial=0) <= len(_HUES[0]):
        brightness = np.maximum(colours.max(axis=1, keepdims=True), 1)
        if any((colours == np.array([table[number - 1] for number in marked]) * brightness).all() for table in _HUES):
            return True
    if np.isin(colours, (0, MARKED)).all() and (colours == colours[:, :1]).all():  # white on black, in any table
        return False
    distinct = np.unique(palette[palette.max(axis=1) > _BLACK], axis=0)
    return len(distinct) >= max(_MANY_COLOURS, 2 * len(marked))


def _voc_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class in Pascal VOC: its bits are dealt to red, green and blue in turn."""
    bits = [number >> place & 1 for place in range(24)]
    red, green, blue = (sum(bits[3 * k + channel] << 7 - k for k in range(8)) for channel in range(3))
    return red, green, blue


def is_inverting(palette: Colours, numbers: NDArray[Any]) -> bool:
    """Return whether a table shows greys inverted: it falls from white to black, with greys that the mask does not use.

    ImageJ gives masks such a table of 256 greys, and means the stored numbers.
    """
    greys = palette[:, 0].astype(np.int16)
    falls = (palette == palette[:, :1]).all() and len(greys) >= _MIN_RAMP and (greys[0], greys[-1]) == (MARKED, 0)
    return bool(falls and (np.diff(greys) < 0).all() and len(np.unique(numbers)) < len(greys))


def palette_error(why: str) -> DataError:
    """Return the error for a mask whose numbers may not be what a viewer shows."""
    fix = "Export it as grey, one number per class, or set mask-values = 'stored' in site.toml if these are the classes."
    return DataError("LBL-PALETTE", f"which values were drawn in the mask is not certain: {why}.", fix)


def inverted_error() -> DataError:
    """Return the error for a mask in which 0 is white, so that it is not certain whether the black or the white was marked."""
    what = (
        "which values were drawn in the mask is not certain: 0 is white in it (WhiteIsZero in TIFF, MONOCHROME1 in DICOM, "
        "or an inverting table), so that the black or the white may be what was marked."
    )
    fix = (
        "Export it with 0 as black, or set mask-values in site.toml: 'stored' if 0 is the background as stored, which a viewer "
        "shows white (masks by ImageJ and tifffile are so); 'shown' if the background is what a viewer shows black."
    )
    return DataError("LBL-PALETTE", what, fix)
