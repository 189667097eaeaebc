"""Mark of a mask that medfl predicted, in its NIfTI or PNG: it holds for as long as nobody changes a voxel."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfl.errors import DataError

ALLOW_PREDICTIONS = "Set allow-predictions = true in the table 'data' of site.toml if they are meant as labels."
PNG_KEY = "Description"  # of a text of PNG
_WORDS = "medfl prediction "
_DIGITS = 32


def make_mark(stored: NDArray[np.uint8]) -> str:
    """Return the mark of a mask, for the field ``descrip`` of NIfTI or a text of PNG.

    Parameters
    ----------
    stored : ndarray of uint8
        The mask in the shape in which the file holds it.
    """
    return _WORDS + hashlib.sha256(stored.tobytes(order="F")).hexdigest()[:_DIGITS]


def predicted_label_error() -> DataError:
    """Return the error of a label that a model of medfl predicted."""
    return DataError("LBL-PREDICTED", "the label is a mask that medfl predicted, and no truth.", ALLOW_PREDICTIONS)


def is_unchanged_mask(mark: str, values: NDArray[Any]) -> bool:
    """Return whether values are those of a mark, of whatever type another program stored them.

    Parameters
    ----------
    mark : str
        What stands where `make_mark` is written.
    values : ndarray
        The mask as its file holds it.
    """
    if not mark.startswith(_WORDS):
        return False
    stored = values.astype(np.uint8)
    return bool(np.array_equal(stored, values)) and mark == make_mark(stored)


def is_unchanged_picture(path: Path) -> bool:
    """Return whether a PNG is a mask as medfl predicted it: one that somebody corrected is that person's.

    Parameters
    ----------
    path : Path
        A picture; of any other than a PNG, or a damaged one, the answer is no.
    """
    if path.suffix.lower() != ".png":
        return False
    try:
        with Image.open(path) as picture:
            mark = str(picture.info.get(PNG_KEY, ""))
            return mark.startswith(_WORDS) and is_unchanged_mask(mark, np.asarray(picture))
    except MemoryError:
        raise
    except Exception:  # whoever reads the file as a label says what is wrong with it
        return False
