"""Pictures of checked cases: each plane with what is marked filled and outlined."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medfl.data.quality.facts import CaseFacts, Plane
from medfl.report.overlays import CLASS_COLOURS

_COLOURS = 64  # of a stored picture
_FILL = 0.3
_THINNEST = 0.15  # of the longest side of a volume


@dataclass(frozen=True)
class Picture:
    """One plane: its name, its picture as a data address, and its size in pixels."""

    name: str
    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Thumbnail:
    """The pictures of one case, with its pseudonym and a line on it."""

    case: str
    pictures: tuple[Picture, ...]
    line: str


def thumbnail(case: CaseFacts, line: str) -> Thumbnail:
    """Draw the pictures of a case, without planes that are too thin to see anything in.

    Parameters
    ----------
    case : CaseFacts
        With its planes.
    line : str
        What to say below.
    """
    return Thumbnail(case.case, tuple(_picture(plane) for plane in _thick_enough(case.planes)), line)


def _thick_enough(planes: Sequence[Plane]) -> Sequence[Plane]:
    """Leave out what is a mere line beside the others, as across a volume of few slices; one is always shown."""
    longest = max((max(plane.grey.shape) for plane in planes), default=0)
    return [plane for plane in planes if min(plane.grey.shape) >= _THINNEST * longest] or sorted(planes, key=_area)[-1:]


def _area(plane: Plane) -> int:
    return plane.grey.size


def _picture(plane: Plane) -> Picture:
    height, width = plane.grey.shape
    return Picture(plane.name, _address(_painted(plane)), width, height)


def _painted(plane: Plane) -> NDArray[np.uint8]:
    painted = np.repeat(plane.grey[..., np.newaxis], 3, axis=2).astype(np.float32)
    edge = _edge(plane.mask)
    for label in np.unique(plane.mask[plane.mask > 0]):
        colour = np.asarray(CLASS_COLOURS[(int(label) - 1) % len(CLASS_COLOURS)], dtype=np.float32)
        inside = plane.mask == label
        painted[inside] = (1 - _FILL) * painted[inside] + _FILL * colour
        painted[inside & edge] = colour
    return painted.astype(np.uint8)


def _edge(mask: NDArray[np.uint8]) -> NDArray[np.bool_]:
    padded = np.pad(mask, 1)
    height, width = mask.shape
    sides = [padded[1 + dy : 1 + dy + height, 1 + dx : 1 + dx + width] for dy, dx in ((0, 1), (1, 0), (0, -1), (-1, 0))]
    edge: NDArray[np.bool_] = (mask > 0) & np.any([side != mask for side in sides], axis=0)
    return edge


def _address(picture: NDArray[np.uint8]) -> str:
    file = io.BytesIO()
    Image.fromarray(picture).quantize(_COLOURS).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
