"""Geometry of a picture: how it lies as stored, and how it is brought to the convention and to square pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medfl.data.pictures.turn import NO_TURN, Directions, Turn, turn_directions, turn_to_convention
from medfl.errors import DataError

SQUARE_TOLERANCE = 0.01  # share by which the sides of a pixel may differ and be called equal: rounding of headers
MAX_ASPECT = 10.0  # beyond this, the two numbers cannot be the sides of a pixel

PixelSize = tuple[float, float]  # width and height of a pixel; only their ratio counts


@dataclass(frozen=True, eq=False)
class PictureGeometry:
    """How a picture is stored, and what was done to bring it to the convention of `medfl.data.volume.Volume`.

    Parameters
    ----------
    shape : tuple of int
        Columns and rows, as the file shows them (after the turn that a camera asks for).
    camera : Turn, optional
        Turn that the header of a photograph asks for; None when it says nothing.
    turn : Turn
        Turn to the convention, by what the header says of the patient.
    sides : tuple of str, optional
        Sides of the patient that the columns and the rows run to after the turn; None when the header does not say.
    pixel_size : tuple of float, optional
        Width and height of a pixel as shown; None when the header says nothing.
    affine : ndarray, optional
        4 x 4 matrix from (column, row, 0) to millimetres, RAS, its third axis the unit normal; None without a position.
    """

    shape: tuple[int, int]
    camera: Turn | None = None
    turn: Turn = NO_TURN
    sides: Directions | None = None
    pixel_size: PixelSize | None = None
    affine: NDArray[np.float64] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Columns and rows after the turn, of square pixels."""
        shape: tuple[int, int] = self.turn.apply_to_sides(self.shape)
        stretch = self._stretch()
        return round(shape[0] * stretch[0]), round(shape[1] * stretch[1])

    def arrange(self, array: NDArray[Any], *, nearest: bool = False) -> NDArray[Any]:
        """Return an array of the picture, (..., X, Y) as shown, by the convention and with square pixels.

        The longer side of a pixel is divided, so that nothing is lost: `nearest` takes values, else they are interpolated
        linearly.
        """
        turned = self.turn.apply(array)
        for axis, size in enumerate(self.size, start=turned.ndim - 2):
            if size != turned.shape[axis]:
                turned = _resample_axis(turned, axis, size, nearest=nearest)
        return np.ascontiguousarray(turned)

    def restore(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return values of the pixels that `arrange` makes, (..., X, Y), on the pixels of the picture as shown."""
        turned: tuple[int, int] = self.turn.apply_to_sides(self.shape)
        for axis, side in enumerate(turned, start=values.ndim - 2):
            if side != values.shape[axis]:
                values = values.take(nearest_places(values.shape[axis], side), axis)
        return np.ascontiguousarray(self.turn.undo(values))

    def _stretch(self) -> tuple[float, float]:
        if self.pixel_size is None:
            return 1.0, 1.0
        width, height = self.turn.apply_to_sides(self.pixel_size)
        if max(width, height) <= (1 + SQUARE_TOLERANCE) * min(width, height):
            return 1.0, 1.0
        return width / min(width, height), height / min(width, height)


def picture_of_patient(
    shape: tuple[int, int],
    directions: Directions,
    pixel_size: PixelSize | None,
    affine: NDArray[np.float64] | None = None,
    *,
    mammogram: bool = False,
) -> PictureGeometry:
    """Return the geometry of a picture whose header says how the patient lies; see `PictureGeometry`."""
    turn = turn_to_convention(directions, mammogram=mammogram)
    return PictureGeometry(shape, turn=turn, sides=turn_directions(turn, directions), pixel_size=pixel_size, affine=affine)


def plane_affine(position: NDArray[np.float64], x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the affine of a picture from where its first pixel lies, and the steps along its columns and rows, in mm."""
    normal = np.cross(x, y)
    affine = np.eye(4)
    affine[:3] = np.stack([x, y, normal / np.linalg.norm(normal), position], axis=1)
    return affine


def check_pixel_size(width: float, height: float) -> PixelSize | None:
    """Return the sides of a pixel as a header states them, or nothing when one is no size.

    Raises
    ------
    DataError
        ``IMG-SPACING`` when they are too unequal to be true.
    """
    if not all(math.isfinite(side) and side > 0 for side in (width, height)):
        return None
    ratio = max(width, height) / min(width, height)
    if ratio > MAX_ASPECT:
        what = f"the header says that pixels are {ratio:.3g} times as long as they are wide."
        raise DataError("IMG-SPACING", what, "Correct the resolution in the file, or export it again.")
    return width, height


def nearest_places(old: int, new: int) -> NDArray[np.intp]:
    """Return which of the old places along an axis is nearest to each new one, where both cover the same."""
    return np.minimum(((np.arange(new) + 0.5) * old / new).astype(np.intp), old - 1)


def _resample_axis(array: NDArray[Any], axis: int, size: int, *, nearest: bool) -> NDArray[Any]:
    old = array.shape[axis]
    if nearest:
        return np.asarray(array.take(nearest_places(old, size), axis))
    places = np.clip((np.arange(size) + 0.5) * old / size - 0.5, 0, old - 1)  # of the new pixels' centres
    lower = np.minimum(places.astype(np.intp), max(old - 2, 0))
    weight = (places - lower).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(array.ndim)])
    upper = np.minimum(lower + 1, old - 1)
    return np.asarray(array.take(lower, axis) * (1 - weight) + array.take(upper, axis) * weight)
