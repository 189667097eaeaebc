"""Placing of a mask on its picture, by the headers of both, or refusal where they leave open how the one lies on the other."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from medfl.data.mask_alignment import (
    CORNER_TOLERANCE,
    MAX_RESAMPLE_MM,
    Values,
    extent_distance,
    reorient,
    resample_mask_2d,
    same_aspect,
)
from medfl.data.pictures.geometry import PictureGeometry
from medfl.data.pictures.turn import NO_TURN
from medfl.data.volume import Affine, Volume, affine_to_spacing, corner_distance
from medfl.errors import DataError
from medfl.site import SiteData

_NIFTI = "nifti"
_SAVE_AS_SHOWN = "Save the photograph as shown, without a turn in its header; or set mask-axes if masks were drawn as shown."


def place_mask(values: Values, own: PictureGeometry, image: Volume, kinds: tuple[str, str], settings: SiteData) -> Values:
    """Return the values of a mask on the grid of its picture.

    With a position in both headers the mask is turned by these, whatever the formats. Otherwise it lies on the image as that is
    stored, pixel by pixel, and takes part in all that was done to the image; but NIfTI arrays and the rows and columns of other
    formats have nothing in common, so that the site must say how they go together.

    Parameters
    ----------
    values : ndarray
        Values of the mask, (X, Y), as shown: turned as a camera asks for.
    own : PictureGeometry
        Geometry of the mask.
    image : Volume
        The 2-D image.
    kinds : tuple of str
        Kinds of the mask's and of the image's file (`medfl.data.cases.Source.kind`).
    settings : SiteData
        The site's `mask_axes` and `label_geometry`.

    Raises
    ------
    DataError
        ``LBL-AXES`` or ``LBL-GEOMETRY``.
    """
    like = image.picture or PictureGeometry((image.shape[0], image.shape[1]))
    if own.affine is not None and like.affine is not None:
        values = _place_by_position(values, own.affine, like, like.affine, settings)
    elif kinds.count(_NIFTI) == 1:
        values = _place_by_word(values, settings)
    elif _NIFTI not in kinds:
        values = _place_by_side(_place_by_camera(values, own, like, settings), own, like, settings)
    squared = like.turn.undo_on_sides(like.size)
    if values.shape == squared != like.shape:  # drawn on square pixels
        return replace(like, shape=squared, pixel_size=None).arrange(values, nearest=True)
    values = resample_mask_2d(values, like.shape, resample=settings.label_geometry == "resample")
    return like.arrange(values, nearest=True)


def _place_by_position(values: Values, own: Affine, like: PictureGeometry, affine: Affine, settings: SiteData) -> Values:
    placed, own = reorient(values[..., np.newaxis], own, affine)
    shape, like_shape = placed.shape, (*like.shape, 1)
    if shape == like_shape:
        distance, allowed = corner_distance(own, affine, shape), CORNER_TOLERANCE * min(affine_to_spacing(affine)[:2])
    else:
        distance, allowed = extent_distance(own, shape, affine, like_shape), MAX_RESAMPLE_MM
    if shape[2] != 1 or distance > allowed:
        what = f"image and label are not on the same grid: their corners are {distance:.1f} mm apart (allowed {allowed:.2g})."
        raise DataError("LBL-GEOMETRY", what, "Was the label drawn on another image?")
    return placed[..., 0]


def _place_by_word(values: Values, settings: SiteData) -> Values:
    if settings.mask_axes == "refuse":
        what = "one of image and mask is NIfTI and nothing in the files says how its array lies on the rows and columns."
        fix = (
            "Export both in one format. If all such masks of the site are alike, set mask-axes in site.toml: 'columns-rows' if "
            "the first axis of the NIfTI array is that of the columns (as ITK-SNAP writes), 'rows-columns' if that of the rows."
        )
        raise DataError("LBL-AXES", what, fix)
    return values.T if settings.mask_axes == "rows-columns" else values


def _place_by_camera(values: Values, own: PictureGeometry, like: PictureGeometry, settings: SiteData) -> Values:
    """Turn a mask that says nothing as its photograph was turned, if it was drawn on the pixels as stored.

    Orientation 1 says nothing either: libtiff gives it to every file.
    """
    if own.camera not in (None, NO_TURN) or like.camera in (None, NO_TURN):
        return values
    stored = like.camera.undo_on_sides(like.shape)
    fits_shown, fits_stored = (same_aspect(values.shape, shape) for shape in (like.shape, stored))
    if fits_shown and fits_stored and settings.mask_axes == "refuse":
        what = "the photograph is to be turned by its header, the mask says nothing, and its size fits both ways."
        raise DataError("LBL-AXES", what, _SAVE_AS_SHOWN)
    return like.camera.apply(values) if fits_stored and not fits_shown else values


def _place_by_side(values: Values, own: PictureGeometry, like: PictureGeometry, settings: SiteData) -> Values:
    if own.sides and like.sides:
        if own.sides != like.sides:
            what = "image and label show the patient in different planes, or one of another side."
            raise DataError("LBL-GEOMETRY", what, "Was the label drawn on another image?")
        return like.turn.undo(own.turn.apply(values))
    if own.sides and own.turn != NO_TURN and settings.mask_axes == "refuse":
        what = "the mask says how the patient lies in it and the image does not, so that one may be mirrored on the other."
        raise DataError("LBL-AXES", what, "Export both with PatientOrientation, or both without.")
    return values


def lie_apart(one: PictureGeometry | None, other: PictureGeometry | None) -> bool:
    """Return whether two pictures that both have a position cover different places, however each is stored."""
    if one is None or other is None or one.affine is None or other.affine is None:
        return False
    corners = [_outer_corners(geometry.affine, geometry.shape) for geometry in (one, other) if geometry.affine is not None]
    distances = np.linalg.norm(corners[0][:, :, np.newaxis] - corners[1][:, np.newaxis], axis=0)
    return bool(distances.min(axis=1).max() > CORNER_TOLERANCE * min(affine_to_spacing(one.affine)[:2]))


def _outer_corners(affine: Affine, shape: tuple[int, int]) -> Affine:
    ends = [[i, j, 0.0, 1.0] for i in (-0.5, shape[0] - 0.5) for j in (-0.5, shape[1] - 0.5)]
    return np.asarray((affine @ np.array(ends).T)[:3])
