"""Mark of a mask that medfl predicted, in its NIfTI or PNG: it holds for as long as nobody changes a voxel."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

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


def is_unchanged_prediction(path: Path) -> bool:
    """Return whether a file is a mask as medfl predicted it: one that somebody corrected is that person's.

    Parameters
    ----------
    path : Path
        NIfTI or picture; of any other file, or a damaged one, the answer is no.
    """
    try:
        return _is_unchanged_picture(path) if path.suffix.lower() == ".png" else _is_unchanged_nifti(path)
    except MemoryError:
        raise
    except Exception:  # whoever reads the file as a label says what is wrong with it
        return False


def _is_unchanged_nifti(path: Path) -> bool:
    image: Any = nibabel.load(path)
    mark = bytes(image.header["descrip"].item()).decode("ascii", "replace")
    return mark.startswith(_WORDS) and mark == _mark_of_values(np.asarray(image.dataobj))


def _is_unchanged_picture(path: Path) -> bool:
    with Image.open(path) as picture:
        mark = str(picture.info.get(PNG_KEY, ""))
        return mark.startswith(_WORDS) and mark == _mark_of_values(np.asarray(picture))


def _mark_of_values(values: NDArray[Any]) -> str:
    """Return the mark of values, of whatever type another program stored them."""
    stored = values.astype(np.uint8)
    return make_mark(stored) if np.array_equal(stored, values) else ""
