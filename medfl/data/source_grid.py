"""Grid of an image as it was read: where a prediction goes back to, whether the image has a label or not."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.pictures.turn import Turn
from medfl.data.volume import Affine, Volume


@dataclass(frozen=True, eq=False)
class SourceGrid:
    """The grid of an image as read, before it was oriented, cropped and resampled.

    Parameters
    ----------
    shape : tuple of int
        (X, Y[, Z]).
    affine : ndarray
        4 x 4 affine, RAS mm; of a 2-D image the identity.
    picture : PictureGeometry, optional
        How a 2-D image is stored.
    """

    shape: tuple[int, ...]
    affine: Affine
    picture: PictureGeometry | None = None

    @classmethod
    def of_volume(cls, volume: Volume) -> Self:
        """Return the grid of an image as read."""
        return cls(volume.shape, volume.affine, volume.picture)

    @classmethod
    def from_facts(cls, facts: dict[str, Any]) -> Self:
        """Return the grid that `to_facts` described."""
        found = facts["picture"]
        picture = None
        if found is not None:
            camera = None if found["camera"] is None else Turn(**found["camera"])
            size = found["pixel_size"]
            picture = PictureGeometry(
                (found["shape"][0], found["shape"][1]),
                camera,
                Turn(**found["turn"]),
                pixel_size=size and (size[0], size[1]),
                affine=None if found["affine"] is None else np.array(found["affine"], dtype=np.float64),
            )
        return cls(tuple(facts["shape"]), np.array(facts["affine"], dtype=np.float64), picture)

    def to_facts(self) -> dict[str, Any]:
        """Return the grid for JSON: numbers, and nothing that says whose image it is."""
        picture = self.picture and {
            "shape": list(self.picture.shape),
            "camera": self.picture.camera and asdict(self.picture.camera),
            "turn": asdict(self.picture.turn),
            "pixel_size": self.picture.pixel_size and list(self.picture.pixel_size),
            "affine": None if self.picture.affine is None else self.picture.affine.tolist(),
        }
        return {"shape": list(self.shape), "affine": self.affine.tolist(), "picture": picture}
