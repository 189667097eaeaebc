"""From numbers of colours in a mask to what was drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.errors import DataError

_BLACK = 16  # colours up to this brightness are black: the background
_WEB_COLOURS = 216  # a table of these has every colour, so that the numbers mean none
_WEB_STEP = 51
_HUES = (  # of the first classes, of any brightness
    ((1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (0, 1, 1), (1, 0, 1)),  # ITK-SNAP
    ((1, 0, 0), (0, 1, 0), (1, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 1)),  # Pascal VOC
)
MARKED = 255  # value of what was drawn in one colour, whatever its class

Colours = NDArray[np.uint8]


def palette_values(numbers: NDArray[Any], palette: Colours, *, background: bool = False) -> NDArray[Any]:
    """Return the values that were drawn in a mask with a table of colours.

    Where all colours in use are grey, these are the values, whatever their numbers. Where they are not and number 0 is black or
    not in use, the numbers are the classes if the table is one of classes: by its hues (those of ITK-SNAP or Pascal VOC), or
    because it has colours that the mask does not use. A table made for one file has just those that it uses, in any order:
    there, one colour on black is `MARKED`, and several are refused.

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
    if (colours == colours[:, :1]).all() and not (background and not colours.all()):
        return np.where(background & (numbers == 0), 0, palette[:, 0][numbers])
    black = colours.max(axis=1) <= _BLACK
    if ((black & (seen != 0)).any() and len(seen) > 1) or (seen[0] == 0 and not black[0]):
        raise palette_error("it has colours, and its background is not number 0")
    marked = seen[seen != 0]
    if _is_class_table(marked, palette):
        return numbers
    if len(marked) == 1:
        return np.where(numbers == marked[0], MARKED, 0).astype(np.uint8)
    raise palette_error("its table has just the colours in use, so that their numbers may be another in each file")


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
    others = np.delete(palette, np.append(marked, 0), axis=0)
    others = others[others.max(axis=1, initial=0) > _BLACK]
    return bool(len(others)) and not (others[:, np.newaxis] == colours).all(axis=-1).any(axis=1).all()


def _voc_colour(number: int) -> tuple[int, int, int]:
    """Return the colour of a class in Pascal VOC: its bits are dealt to red, green and blue in turn."""
    bits = [number >> place & 1 for place in range(24)]
    red, green, blue = (sum(bits[3 * k + channel] << 7 - k for k in range(8)) for channel in range(3))
    return red, green, blue


def palette_error(why: str) -> DataError:
    """Return the error for a mask whose numbers may not be what a viewer shows."""
    fix = "Export it as grey, one number per class, or set mask-values = 'stored' in site.toml if these are the classes."
    return DataError("LBL-PALETTE", f"which values were drawn in the mask is not certain: {why}.", fix)
