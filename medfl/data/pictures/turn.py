"""Turn: flips and the exchange of the axes of a picture, which change no pixel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Directions = tuple[str, str]  # to which side of the patient the columns and the rows run: two letters of "LRAPHF"

_AXES = {"L": 0, "R": 0, "P": 1, "A": 1, "F": 2, "H": 2}  # PS3.3 C.7.6.1.1.1
_SHOWN = ("L", "P", "F")  # where a picture's columns and rows run to by convention


@dataclass(frozen=True)
class Turn:
    """Flips and the exchange of the axes of a picture.

    Parameters
    ----------
    swap : bool
        Whether columns and rows are exchanged, before anything is flipped.
    flip_x, flip_y : bool
        Whether the columns, and the rows, of the result run the other way.
    """

    swap: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of an array, (..., X, Y), turned."""
        turned = np.swapaxes(array, -1, -2) if self.swap else array
        return turned[..., :: -1 if self.flip_x else 1, :: -1 if self.flip_y else 1]

    def apply_to_sides(self, sides: tuple[Any, Any]) -> tuple[Any, Any]:
        """Return what belongs to the columns and to the rows after the turn."""
        return (sides[1], sides[0]) if self.swap else sides

    def undo(self, array: NDArray[Any]) -> NDArray[Any]:
        """Return a view of a turned array, (..., X, Y), as it was before."""
        flipped = array[..., :: -1 if self.flip_x else 1, :: -1 if self.flip_y else 1]
        return np.swapaxes(flipped, -1, -2) if self.swap else flipped

    undo_on_sides = apply_to_sides  # exchanging twice is nothing


NO_TURN = Turn()
EXIF_TURNS = {  # of Orientation (0x0112), EXIF 2.32 section 4.6.4
    1: NO_TURN,
    2: Turn(flip_x=True),
    3: Turn(flip_x=True, flip_y=True),
    4: Turn(flip_y=True),
    5: Turn(swap=True),
    6: Turn(swap=True, flip_x=True),
    7: Turn(swap=True, flip_x=True, flip_y=True),
    8: Turn(swap=True, flip_y=True),
}


def turn_to_convention(directions: Directions, *, mammogram: bool = False) -> Turn:
    """Return the turn that brings a picture to the convention of all pictures.

    Columns run to the patient's left where the picture shows left and right, else to the back; rows to the feet where it shows
    head and feet, else to the back: as axial, coronal and sagittal slices and X-rays are hung. A mammogram is not exchanged,
    and only its horizontal axis flipped, to the back: a left breast comes to lie as a right one, the way both are hung.

    Parameters
    ----------
    directions : tuple of str
        Sides of the patient that the columns and the rows run to, of two different axes.
    mammogram : bool
        Whether it is one: craniocaudal views show left or right downwards, by the side of the breast.

    Examples
    --------
    >>> turn_to_convention(("R", "F"))
    Turn(swap=False, flip_x=True, flip_y=False)
    >>> turn_to_convention(("H", "L"))
    Turn(swap=True, flip_x=False, flip_y=True)
    """
    horizontal = (1, 0, 2) if mammogram else (0, 1, 2)  # the first of these that is shown is the horizontal axis
    swap = horizontal.index(_AXES[directions[0]]) > horizontal.index(_AXES[directions[1]])
    x, y = directions[::-1] if swap else directions
    craniocaudal = mammogram and _AXES[y] == 0
    return Turn(swap, x != _SHOWN[_AXES[x]], y != _SHOWN[_AXES[y]] and not craniocaudal)


def parse_patient_orientation(values: tuple[str, ...]) -> Directions | None:
    """Return the directions that PatientOrientation states, or nothing when it states none for a human being.

    Of a direction in several letters the first counts, which is the main one (PS3.3 C.7.6.1.1.1).

    Examples
    --------
    >>> parse_patient_orientation(("A", "FR"))
    ('A', 'F')
    >>> parse_patient_orientation(("L", "R"))
    """
    if len(values) != 2 or not all(values):
        return None
    x, y = (value.strip().upper() for value in values)
    if not (x and y and set(x + y) <= set(_AXES)) or _AXES[x[0]] == _AXES[y[0]]:
        return None
    return x[0], y[0]


def turn_directions(turn: Turn, directions: Directions) -> Directions:
    """Return the sides of the patient that columns and rows run to after a turn."""
    x, y = turn.apply_to_sides(directions)
    return opposite(x) if turn.flip_x else x, opposite(y) if turn.flip_y else y


def opposite(direction: str) -> str:
    """Return the other side of the patient."""
    return "LRPAFH"["RLAPHF".index(direction)]


def affine_directions(affine: NDArray[np.float64]) -> Directions:
    """Return the sides of the patient that the first two axes of an affine (RAS, mm) run to, to the nearest."""
    columns = affine[:3, :2] / np.linalg.norm(affine[:3, :2], axis=0)
    size = np.abs(columns)
    pairs = [(i, j) for i in range(3) for j in range(3) if i != j]
    first, second = max(pairs, key=lambda pair: round(float(size[pair[0], 0] + size[pair[1], 1]), 6))
    letters = (("L", "R"), ("P", "A"), ("F", "H"))  # towards the negative and the positive end
    return letters[first][int(columns[first, 0] > 0)], letters[second][int(columns[second, 1] > 0)]
