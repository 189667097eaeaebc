"""Bringing a mask onto the grid of its image, or refusing when they do not lie together."""

from __future__ import annotations

from typing import Any

import nibabel.orientations as axes
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfl.data.volume import Affine, Volume, corner_distance
from medfl.errors import DataError

NEAR = 0.5  # share of the smallest voxel size that corners may be apart
_INSIDE = 0.99  # share of the marked voxels that must lie inside the image when resampling

Values = NDArray[np.float32]


def onto_grid(values: Values, affine: Affine, image: Volume, *, resample: bool) -> Values:
    """Return mask values on the grid of the image.

    A mask that is stored with other axes (mirrored, transposed) but the matching affine is turned, which changes no voxel. What
    remains is compared by the distance of the corners in millimetres.

    Parameters
    ----------
    values : ndarray
        Mask, (X, Y, Z).
    affine : ndarray
        Of the mask.
    image : Volume
        The 3-D image.
    resample : bool
        Whether a mask on another grid may be resampled (nearest neighbour).

    Raises
    ------
    DataError
        ``LBL-GEOMETRY``.
    """
    values, affine = _turned(values, affine, image.affine)
    allowed = NEAR * min(image.spacing)
    if values.shape == image.shape:
        distance = corner_distance(image.affine, affine, image.shape)
        if distance <= allowed:
            return values
        detail = f"their corners are {distance:.1f} mm apart (allowed {allowed:.2g})"
    else:
        detail = f"the shapes are {_by(image.shape)} and {_by(values.shape)}"
    if not resample:
        fix = "Was the label drawn on another series? Set label-geometry = 'resample' in site.toml only if you are sure."
        raise DataError("LBL-GEOMETRY", f"image and label are not on the same grid: {detail}.", fix)
    return _resampled(values, affine, image)


def onto_pixels(values: Values, shape: tuple[int, ...], *, resample: bool) -> Values:
    """Return 2-D mask values in the size of the image, (X, Y).

    Raises
    ------
    DataError
        ``LBL-GEOMETRY``.
    """
    if values.shape == shape:
        return values
    same_aspect = len(values.shape) == 2 and abs(values.shape[0] * shape[1] / (values.shape[1] * shape[0]) - 1) < 0.02
    if not (resample and same_aspect):
        what = f"image and label have different sizes: {_by(shape)} and {_by(values.shape)} pixels."
        raise DataError("LBL-GEOMETRY", what, "Export the label in the size of the image, or set label-geometry = 'resample'.")
    picks = [((np.arange(size) + 0.5) * old / size).astype(np.intp) for size, old in zip(shape, values.shape, strict=True)]
    return values[np.ix_(*picks)]


def _turned(values: Values, affine: Affine, like: Affine) -> tuple[Values, Affine]:
    change: Any = axes.ornt_transform(axes.io_orientation(affine), axes.io_orientation(like))
    turned = np.asarray(axes.apply_orientation(values, change), dtype=np.float32)
    return turned, np.asarray(affine @ axes.inv_ornt_aff(change, values.shape), dtype=np.float64)


def _resampled(values: Values, affine: Affine, image: Volume) -> Values:
    marked = np.argwhere(values > 0)
    if len(marked):
        to_image = np.linalg.inv(image.affine) @ affine
        places = marked @ to_image[:3, :3].T + to_image[:3, 3]
        inside = ((places >= -0.5) & (places <= np.array(image.shape) - 0.5)).all(axis=1).mean()
        if inside < _INSIDE:
            what = f"{100 * (1 - inside):.0f} % of the marked voxels lie outside the image."
            raise DataError("LBL-GEOMETRY", what, "Was the label drawn on another series?")
    to_mask = np.linalg.inv(affine) @ image.affine
    # "grid-constant": a voxel reaches half its size beyond its centre, at the border too
    result = ndimage.affine_transform(
        values, to_mask[:3, :3], offset=to_mask[:3, 3], output_shape=image.shape, order=0, mode="grid-constant", cval=0.0
    )
    return np.asarray(result, dtype=np.float32)


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
