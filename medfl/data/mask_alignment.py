"""Bringing a mask onto the grid of its image, or refusing when they do not lie together."""

from __future__ import annotations

from typing import Any

import nibabel.orientations as axes
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medfl.data.pictures.geometry import nearest_places
from medfl.data.volume import Affine, Volume, affine_to_spacing, corner_distance
from medfl.errors import DataError

CORNER_TOLERANCE = 0.5  # share of the smallest voxel size that corners may be apart
_ASPECT_TOLERANCE = 0.02  # share by which the sides of a 2-D mask and its image may differ when it is resampled
MAX_RESAMPLE_MM = 2.0  # corners may be this far apart when a mask is resampled: more is another image, not another grid

Values = NDArray[Any]  # of a mask, as stored: whole numbers if all is well


def resample_mask(values: Values, affine: Affine, image: Volume, *, resample: bool, across: float = CORNER_TOLERANCE) -> Values:
    """Return mask values on the grid of the image.

    A mask that is stored with other axes (mirrored, transposed) but the matching affine is turned, which changes no voxel. What
    remains is compared by the distance of the corners in millimetres: of the corner voxels if the shapes are equal, of the
    outer corners of what the grids cover if they are not.

    Parameters
    ----------
    values : ndarray
        Mask, (X, Y, Z).
    affine : ndarray
        Affine of the mask.
    image : Volume
        The 3-D image.
    resample : bool
        Whether a mask on another grid that covers the same region within 2 mm may be resampled (nearest neighbour).
    across : float
        Share of the slice spacing by which the mask may be off the slices of the image, its last axis.

    Raises
    ------
    DataError
        ``LBL-GEOMETRY``.
    """
    values, affine = reorient(values, affine, image.affine)
    allowed = CORNER_TOLERANCE * min(image.spacing)
    if values.shape == image.shape:
        distance = corner_distance(image.affine, affine, image.shape)
        off_slices = _distance_across(image.affine, affine, image.shape)
        if distance <= allowed and off_slices <= across * image.spacing[-1]:
            return values
        detail = f"their corners are {distance:.1f} mm apart (allowed {allowed:.2g})"
        if distance <= allowed:
            detail = f"their slices are {off_slices:.2g} mm apart (allowed {across * image.spacing[-1]:.2g})"
    else:
        distance = extent_distance(affine, values.shape, image.affine, image.shape)
        shapes = f"{_format_shape(image.shape)} and {_format_shape(values.shape)}"
        detail = f"the shapes are {shapes}, their corners {distance:.1f} mm apart"
    if resample and distance <= MAX_RESAMPLE_MM:
        return _resample_nearest(values, affine, image)
    fix = "Was the label drawn on another series? "
    if distance > MAX_RESAMPLE_MM:
        fix += f"More than {MAX_RESAMPLE_MM:g} mm is too much for label-geometry = 'resample'; export the label of this image."
    else:
        fix += "Set label-geometry = 'resample' in site.toml only if you are sure."
    raise DataError("LBL-GEOMETRY", f"image and label are not on the same grid: {detail}.", fix)


def resample_mask_2d(values: Values, shape: tuple[int, ...], *, resample: bool) -> Values:
    """Return 2-D mask values in the size of the image, (X, Y).

    Raises
    ------
    DataError
        ``LBL-GEOMETRY``.
    """
    if values.shape == shape:
        return values
    fits = values.ndim == 2 and same_aspect(values.shape, shape)
    if not (resample and fits):
        what = f"image and label have different sizes: {_format_shape(shape)} and {_format_shape(values.shape)} pixels."
        fix = "Was the label drawn on another image? Export it in the size of the image"
        allowed = (
            ", or set label-geometry = 'resample'." if fits else "; its sides differ in their ratio, so it cannot be resampled."
        )
        raise DataError("LBL-GEOMETRY", what, fix + allowed)
    for axis, size in enumerate(shape):
        values = values.take(nearest_places(values.shape[axis], size), axis)
    return values


def same_aspect(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Return whether two sizes of a picture may be of one picture in two resolutions."""
    return abs(one[0] * other[1] / (one[1] * other[0]) - 1) < _ASPECT_TOLERANCE


def reorient(values: Values, affine: Affine, like: Affine) -> tuple[Values, Affine]:
    """Return a mask, (X, Y, Z), and its affine with the axes in the order and direction of another affine.

    Only axes are flipped and exchanged; no voxel changes. The axes are compared with those of the other affine, and not each
    with the patient's: at 45 degrees to these, rounding would decide.
    """
    directions = np.eye(4)
    directions[:3, :3] = like[:3, :3] / affine_to_spacing(like)
    change: Any = axes.io_orientation(np.linalg.inv(directions) @ affine)
    result = np.asarray(axes.apply_orientation(values, change))
    return result, np.asarray(affine @ axes.inv_ornt_aff(change, values.shape), dtype=np.float64)


def extent_distance(one: Affine, one_shape: tuple[int, ...], other: Affine, other_shape: tuple[int, ...]) -> float:
    """Return how far apart the outer corners of what two grids cover are, in millimetres.

    A voxel reaches half its size beyond its centre, so grids of one region in two resolutions have the same outer corners.
    """

    def corners(affine: Affine, shape: tuple[int, ...]) -> Affine:
        ends = [(-0.5, size - 0.5) for size in shape]
        grid = np.array([[i, j, k, 1.0] for i in ends[0] for j in ends[1] for k in ends[2]]).T
        return np.asarray((affine @ grid)[:3])

    return float(np.linalg.norm(corners(one, one_shape) - corners(other, other_shape), axis=0).max())


def _distance_across(one: Affine, other: Affine, shape: tuple[int, ...]) -> float:
    """Return how far the corners of two grids of one shape are apart across the slices of the first."""
    normal = np.cross(one[:3, 0], one[:3, 1])
    along = np.zeros((4, 4))
    along[:3] = np.outer(normal / np.linalg.norm(normal), normal / np.linalg.norm(normal)) @ (one - other)[:3]
    return corner_distance(along, np.zeros((4, 4)), shape)


def _resample_nearest(values: Values, affine: Affine, image: Volume) -> Values:
    to_mask = np.linalg.inv(affine) @ image.affine
    # "grid-constant": a voxel reaches half its size beyond its centre, at the border too
    result = ndimage.affine_transform(
        values, to_mask[:3, :3], offset=to_mask[:3, 3], output_shape=image.shape, order=0, mode="grid-constant", cval=0.0
    )
    return np.asarray(result)


def _format_shape(shape: tuple[int, ...]) -> str:
    return "x".join(str(size) for size in shape)
