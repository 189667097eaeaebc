"""Contours of one ROI on one slice, combined to the area that they stand for (PS3.3 C.8.8.6.3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.contour_outlines import Outline, Pixels, Points
from medfl.errors import DataError

_ROUNDING = 0.05  # pixels by which lines that were meant to be the same may differ
_IN_PLANE_TOLERANCE = 0.5  # pixels within which it is unknown whether lines were meant to be the same, or to cross
_SAMPLE_STEP = 0.5  # pixels between points of a line that are compared


def combine(outlines: Sequence[Outline], shape: tuple[int, int], *, exclusive: bool) -> Pixels:
    """Return the pixels of an image that the contours of one ROI stand for.

    Contours of type CLOSEDPLANAR_XOR are combined by exclusive or. Of others, one that is wholly inside another is a hole in
    it, one inside a hole an island, and so on; what overlaps in part, or lies side by side, is joined. A copy counts once. A
    pixel on the line of a contour belongs to the ROI, also where the contour is that of a hole.

    Parameters
    ----------
    outlines : sequence of Outline
        The contours.
    shape : tuple of int
        (columns, rows).
    exclusive : bool
        Whether their type is CLOSEDPLANAR_XOR.

    Raises
    ------
    DataError
        ``LBL-CONTOURS`` for contours that are nearly the same, or nearly inside one another, so that what was meant is unknown.
    """
    mask = np.zeros(shape, dtype=np.bool_)
    if exclusive:
        _refuse_cancelled(outlines)
        for outline in outlines:
            mask[outline.window] ^= outline.inside
        for outline in outlines:
            mask[outline.window] |= outline.edge
    else:
        _fill_nested(mask, outlines)
    for outline in outlines:
        mask[outline.window] |= outline.whiskers
    return mask


def _fill_nested(mask: Pixels, outlines: Sequence[Outline]) -> None:
    holders = _find_holders(outlines)
    levels = _find_levels(holders)
    for n, outline in enumerate(outlines):
        if n not in levels or levels[n] % 2:
            continue  # a hole, or a copy
        area = np.zeros_like(mask)
        area[outline.window] = outline.area
        for hole, others in holders.items():
            if n in others and levels[hole] == levels[n] + 1:
                area[outlines[hole].window] &= ~outlines[hole].interior
        mask |= area


def _find_holders(outlines: Sequence[Outline]) -> dict[int, set[int]]:
    """Return which contours each contour is wholly inside of; copies are left out."""
    holders: dict[int, set[int]] = {n: set() for n in range(len(outlines))}
    for one, other in _find_candidates(outlines):
        if one not in holders or other not in holders:
            continue
        relation = _relate(outlines[one].corners, outlines[other].corners)
        if relation == "copy":
            del holders[other]
            for others in holders.values():
                others.discard(other)
        elif relation == "inside":
            holders[other].add(one)
        elif relation == "unknown":
            raise _unclear_error()
    return holders


def _find_candidates(outlines: Sequence[Outline]) -> list[tuple[int, int]]:
    """Return the pairs of contours of which the box around the first holds that around the second, within the tolerance."""
    numbers = [n for n, outline in enumerate(outlines) if len(outline.corners) > 2]
    if len(numbers) < 2:
        return []
    lower, upper = (np.array([end(outlines[n].corners, axis=0) for n in numbers]) for end in (np.min, np.max))
    above = (lower[:, np.newaxis] - _IN_PLANE_TOLERANCE <= lower).all(axis=2)
    below = (upper <= upper[:, np.newaxis] + _IN_PLANE_TOLERANCE).all(axis=2)
    pairs = np.argwhere(above & below & ~np.eye(len(numbers), dtype=bool))
    return [(numbers[one], numbers[other]) for one, other in pairs.tolist()]


def _find_levels(holders: dict[int, set[int]]) -> dict[int, int]:
    """Return how deep each contour is: 0 for one that is in no other, 1 for a hole, 2 for an island in it, ..."""
    levels: dict[int, int] = {}
    for n in sorted(holders, key=lambda n: len(holders[n])):  # what holds a contour is in fewer than the contour
        levels[n] = 1 + max((levels[holder] for holder in holders[n] if holder in levels), default=-1)
    return levels


def _refuse_cancelled(outlines: Sequence[Outline]) -> None:
    for one, other in _find_candidates(outlines):
        if _relate(outlines[one].corners, outlines[other].corners) == "copy":
            what = "two contours of one ROI are of type CLOSEDPLANAR_XOR and the same, so that they cancel each other."
            raise DataError("LBL-CONTOURS", what, "Delete the copy, and export the RTSTRUCT again.")


def _relate(one: Points, other: Points) -> str:
    """Return what another contour is to one: "copy", "inside", "unknown" whether one of both, or "" for neither.

    The box around the one holds that around the other, within the tolerance.
    """
    extents = np.abs([one.min(axis=0) - other.min(axis=0), one.max(axis=0) - other.max(axis=0)])
    if extents.max() <= _IN_PLANE_TOLERANCE:
        distance = max(_distances(_sample(one), other).max(), _distances(_sample(other), one).max())
        if distance <= _IN_PLANE_TOLERANCE:
            return "copy" if distance <= _ROUNDING else "unknown"
    points = _sample(other)
    enclosed = _points_inside(points, one)
    if enclosed.all():
        return "inside"
    distance_out = _distances(points[~enclosed], one)
    if distance_out.max() > _IN_PLANE_TOLERANCE:
        return ""
    # the line alone does not tell a hole along the edge of an area from a sliver along its outside
    n_apart = np.count_nonzero(_distances(points[enclosed], one) > _ROUNDING) if enclosed.any() else 0
    if n_apart <= np.count_nonzero(distance_out > _ROUNDING):
        return ""
    return "inside" if distance_out.max() <= _ROUNDING else "unknown"


def _sample(corners: Points) -> Points:
    """Return points along the line of a polygon, its corners among them."""
    following = np.roll(corners, -1, axis=0)
    counts = np.maximum(np.ceil(np.linalg.norm(following - corners, axis=1) / _SAMPLE_STEP), 1).astype(np.intp)
    edge = np.repeat(np.arange(len(corners)), counts)
    share = (np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)) / counts[edge]
    return np.asarray(corners[edge] + share[:, np.newaxis] * (following - corners)[edge])


def _points_inside(points: Points, corners: Points) -> Pixels:
    from skimage.measure import points_in_poly  # a second that sites without such contours need not spend

    return np.asarray(points_in_poly(points, corners), dtype=np.bool_)


def _distances(points: Points, corners: Points) -> NDArray[np.float64]:
    """Return the distance of each point from the line of a polygon, in pixels."""
    start, step = corners, np.roll(corners, -1, axis=0) - corners
    squared = np.maximum((step**2).sum(axis=1), 1e-12)
    nearest = np.empty(len(points))
    for first in range(0, len(points), 256):  # a few megabytes at a time
        apart = points[first : first + 256, np.newaxis] - start
        share = np.clip((apart * step).sum(axis=2) / squared, 0, 1)
        nearest[first : first + 256] = np.linalg.norm(apart - share[..., np.newaxis] * step, axis=2).min(axis=1)
    return nearest


def _unclear_error() -> DataError:
    what = (
        "two contours of one ROI run within half a pixel of each other, so that one may be a copy of the other or a hole in it."
    )
    return DataError("LBL-CONTOURS", what, "Delete the copy, or draw the hole apart from the outline, and export it again.")
