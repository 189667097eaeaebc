"""Pictures of example slices: the image, what the experts drew, and what the model found."""

from __future__ import annotations

import base64
import io
import math
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 256  # pixels of the longer side
_PALETTE_SIZE = 96  # colours of a stored picture; no visible difference, and a third of the size
# After Okabe and Ito (2008): distinct for colour-blind readers, all visible on grey; the first class is by far the most common.
CLASS_COLOURS = ((255, 140, 40), (60, 180, 245), (20, 200, 150), (240, 120, 190), (245, 225, 70), (160, 130, 255))
_TRUTH_LINE = (255, 255, 255)
_FILL = 0.5


@dataclass(frozen=True)
class Overlay:
    """One example: three PNG pictures as data addresses, and the Dice of the whole image (nan if not given)."""

    image: str
    truth: str
    prediction: str
    dice: float


def read_overlay(path: Path, dimension: int) -> Overlay | None:
    """Draw the example of a preview file.

    Parameters
    ----------
    path : Path
        An ``.npz`` with ``image`` (X, Y) 0..1, ``truth`` and ``prediction`` (X, Y) labels, and ``dice``.
    dimension : {2, 3}
        Dimension of the task. A slice of a volume has RAS axes and is turned as radiologists look at it; a 2-D image stays
        upright.

    Returns
    -------
    Overlay or None
        None when the file is damaged: one example must not cost the whole report.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            image, truth, prediction = (np.asarray(stored[key]) for key in ("image", "truth", "prediction"))
            dice = float(stored["dice"]) if "dice" in stored else math.nan
        if image.ndim != 2 or image.shape != truth.shape or image.shape != prediction.shape or not image.size:
            return None
    except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile):
        return None
    grey, truth, prediction = (_orient(a, dimension) for a in (np.nan_to_num(image.astype(np.float32)), truth, prediction))
    size = _fit_size(grey.shape)
    picture = _to_grey_rgb(grey, size)
    labels = sorted({int(v) for v in np.unique(truth)} | {int(v) for v in np.unique(prediction)})
    truth_mask, predicted_mask = _enlarge_mask(truth, labels, size), _enlarge_mask(prediction, labels, size)
    return Overlay(
        image=png_url(picture),
        truth=png_url(_outline_mask(_fill_mask(picture, truth_mask), truth_mask)),
        prediction=png_url(_outline_mask(_fill_mask(picture, predicted_mask), truth_mask)),
        dice=dice,
    )


def _orient(array: NDArray[np.generic], dimension: int) -> NDArray[np.generic]:
    # Anterior at the top and the patient's right at the left, as radiologists look at an axial slice.
    return array.T[::-1, ::-1] if dimension == 3 else array.T


def _fit_size(shape: tuple[int, ...]) -> tuple[int, int]:
    scale = SIDE / max(shape)
    return max(1, round(shape[1] * scale)), max(1, round(shape[0] * scale))


def _to_grey_rgb(image: NDArray[np.generic], size: tuple[int, int]) -> NDArray[np.uint8]:
    values = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    large = np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BICUBIC))
    return np.repeat(large[..., np.newaxis], 3, axis=2)


def _enlarge_mask(mask: NDArray[np.generic], labels: list[int], size: tuple[int, int]) -> NDArray[np.int64]:
    """Enlarge a label map with smooth borders: each label on its own, then the strongest wins."""
    layers = [Image.fromarray((mask == label).astype(np.float32)).resize(size, Image.Resampling.BILINEAR) for label in labels]
    winners = np.argmax(np.stack([np.asarray(layer) for layer in layers]), axis=0)
    enlarged: NDArray[np.int64] = np.asarray(labels, dtype=np.int64)[winners]
    return enlarged


def _fill_mask(picture: NDArray[np.uint8], mask: NDArray[np.int64]) -> NDArray[np.uint8]:
    painted = picture.astype(np.float32)
    for label in np.unique(mask[mask > 0]):
        colour = np.asarray(CLASS_COLOURS[(int(label) - 1) % len(CLASS_COLOURS)], dtype=np.float32)
        painted[mask == label] = (1 - _FILL) * painted[mask == label] + _FILL * colour
    return painted.astype(np.uint8)


def _outline_mask(picture: NDArray[np.uint8], mask: NDArray[np.int64]) -> NDArray[np.uint8]:
    drawn = picture.copy()
    drawn[mask_edge(mask)] = _TRUTH_LINE
    return drawn


def mask_edge(mask: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """Return the marked pixels of a label map (X, Y) that border on another label."""
    padded = np.pad(mask, 1)
    height, width = mask.shape
    neighbours = [padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    edge: NDArray[np.bool_] = (mask > 0) & np.any([n != mask for n in neighbours], axis=0)
    return edge


def png_url(picture: NDArray[np.uint8], colours: int = _PALETTE_SIZE) -> str:
    """Return a picture (height, width, 3) as the data address of a PNG file with few colours."""
    file = io.BytesIO()
    Image.fromarray(picture).quantize(colours).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
