"""Pictures of checked cases: each plane, with the marked structures filled and outlined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.data.quality.facts import CaseFacts, PreviewPlane
from medfl.report.overlays import CLASS_COLOURS, mask_edge, png_url

_PALETTE_SIZE = 64  # of a stored picture
_FILL = 0.3
_MIN_ASPECT = 0.15  # of the longest side of a volume


@dataclass(frozen=True)
class Picture:
    """One plane: its name, its picture as a data address, and its size in pixels."""

    name: str
    address: str
    width: int
    height: int


@dataclass(frozen=True)
class Thumbnail:
    """The pictures of one case, with its pseudonym and a line of text."""

    case: str
    pictures: tuple[Picture, ...]
    line: str


def draw_thumbnail(case: CaseFacts, line: str) -> Thumbnail:
    """Draw the pictures of a case, without planes that are too thin to see anything in.

    Parameters
    ----------
    case : CaseFacts
        Facts of the case, with its planes.
    line : str
        Text below the pictures.
    """
    return Thumbnail(case.case, tuple(_make_picture(plane) for plane in _visible_planes(case.planes)), line)


def _visible_planes(planes: Sequence[PreviewPlane]) -> Sequence[PreviewPlane]:
    """Leave out planes that are mere lines beside the others, as across a volume of few slices; one is always shown."""
    longest = max((max(plane.grey.shape) for plane in planes), default=0)
    return [plane for plane in planes if min(plane.grey.shape) >= _MIN_ASPECT * longest] or sorted(planes, key=_area)[-1:]


def _area(plane: PreviewPlane) -> int:
    return plane.grey.size


def _make_picture(plane: PreviewPlane) -> Picture:
    height, width = plane.grey.shape
    return Picture(plane.name, png_url(_paint(plane), _PALETTE_SIZE), width, height)


def _paint(plane: PreviewPlane) -> NDArray[np.uint8]:
    painted = np.repeat(plane.grey[..., np.newaxis], 3, axis=2).astype(np.float32)
    edge = mask_edge(plane.mask)
    for label in np.unique(plane.mask[plane.mask > 0]):
        colour = np.asarray(CLASS_COLOURS[(int(label) - 1) % len(CLASS_COLOURS)], dtype=np.float32)
        inside = plane.mask == label
        painted[inside] = (1 - _FILL) * painted[inside] + _FILL * colour
        painted[inside & edge] = colour
    return painted.astype(np.uint8)
