"""Contours of one ROI on one slice, combined to the area that they stand for (PS3.3 C.8.8.6.3)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.contour_lines import ContourLine
from medfl.data.dicom.contour_loops import Pixels
from medfl.data.dicom.contour_outlines import Outline, count_shared
from medfl.errors import DataError

_ROUNDING = 0.05  # pixels by which lines that were meant to be the same may differ
_IN_PLANE_TOLERANCE = 0.5  # pixels within which it is unknown whether lines were meant to be the same, or to cross
_FEW_PIXELS = 4  # of a contour that pokes out of another, about which it is not worth refusing a label


def combine(outlines: Sequence[Outline], shape: tuple[int, int], *, exclusive: bool) -> tuple[Pixels, int]:
    """Return the pixels of an image that the contours of one ROI stand for, and how many of them are in doubt.

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

    Returns
    -------
    mask : ndarray of bool
        (columns, rows).
    n_doubtful : int
        Pixels of small contours that are nearly inside another, and were joined with it.

    Raises
    ------
    DataError
        ``LBL-CONTOURS`` for contours that are nearly the same, or nearly inside one another, so that what was meant is unknown;
        for a copy that runs the other way, as holes do; and for holes that leave nothing of an area.
    """
    mask, n_doubtful = np.zeros(shape, dtype=np.bool_), 0
    if exclusive:
        _refuse_cancelled(outlines, shape)
        for outline in outlines:
            mask[outline.window] ^= outline.inside
        for outline in outlines:
            mask[outline.window] |= outline.edge
        if not mask.any() and any(outline.area.any() for outline in outlines):
            raise _empty_error()
    else:
        n_doubtful = _fill_nested(mask, outlines)
    for outline in outlines:
        mask[outline.window] |= outline.whiskers
    return mask, n_doubtful


def _fill_nested(mask: Pixels, outlines: Sequence[Outline]) -> int:
    holders, n_doubtful = _find_holders(outlines, mask.shape)
    levels = _find_levels(holders)
    holes: dict[int, list[int]] = {n: [] for n in levels}
    for hole, others in holders.items():
        for n in others:
            if n in levels and levels[hole] == levels[n] + 1:
                holes[n].append(hole)
    for n, outline in enumerate(outlines):
        if n not in levels or levels[n] % 2:
            continue  # a hole, or a copy
        area = np.zeros_like(mask)
        area[outline.window] = outline.area
        for hole in holes[n]:
            area[outlines[hole].window] &= ~outlines[hole].interior
        if not area[outline.window].any() and outline.area.any():
            raise _empty_error()
        mask |= area
    return n_doubtful


def _empty_error() -> DataError:
    what = (
        "a contour of one ROI takes away all that another one encloses, so that one may be a copy of the other or a hole in it."
    )
    return DataError("LBL-CONTOURS", what, "Delete the copy, or draw the hole apart from the outline, and export it again.")


def _find_holders(outlines: Sequence[Outline], shape: tuple[int, int]) -> tuple[dict[int, set[int]], int]:
    """Return which contours each contour is wholly inside of, copies left out, and how many pixels are in doubt."""
    holders: dict[int, set[int]] = {n: set() for n in range(len(outlines))}
    doubtful = dict[tuple[int, int], int]()
    lines = {n: ContourLine(outline, shape) for n, outline in enumerate(outlines) if len(outline.corners) > 2}
    for one, other in _find_candidates(lines):
        if one not in holders or other not in holders:
            continue
        relation = _relate(lines[one], lines[other])
        if relation == "copy":
            del holders[other]
            for others in holders.values():
                others.discard(other)
        elif relation == "inside":
            holders[other].add(one)
        elif relation:
            count = _count_difference(outlines[one], outlines[other])
            if count > _FEW_PIXELS:
                raise _unclear_error(relation)
            doubtful[min(one, other), max(one, other)] = count  # joined
    return holders, sum(doubtful.values())


def _find_candidates(lines: Mapping[int, ContourLine]) -> Iterator[tuple[int, int]]:
    """Yield the pairs of contours of which the box around the first holds that around the second, within the tolerance."""
    if len(lines) < 2:
        return
    numbers = list(lines)
    lower, upper = np.array([line.lower for line in lines.values()]), np.array([line.upper for line in lines.values()])
    for one, line in lines.items():
        held = (line.lower - _IN_PLANE_TOLERANCE <= lower) & (upper <= line.upper + _IN_PLANE_TOLERANCE)
        yield from ((one, numbers[n]) for n in np.flatnonzero(held.all(axis=1)).tolist() if numbers[n] != one)


def _count_difference(one: Outline, other: Outline) -> int:
    """Return how many pixels it matters for whether the other is a hole in the one, or joined with it."""
    n_outside = int(np.count_nonzero(other.area)) - count_shared(one.window, one.area, other.window, other.area)
    return n_outside + count_shared(one.window, one.area, other.window, other.interior)


def _find_levels(holders: dict[int, set[int]]) -> dict[int, int]:
    """Return how deep each contour is: 0 for one that is in no other, 1 for a hole, 2 for an island in it, ..."""
    levels: dict[int, int] = {}
    for n in sorted(holders, key=lambda n: len(holders[n])):  # what holds a contour is in fewer than the contour
        levels[n] = 1 + max((levels[holder] for holder in holders[n] if holder in levels), default=-1)
    return levels


def _refuse_cancelled(outlines: Sequence[Outline], shape: tuple[int, int]) -> None:
    lines = {n: ContourLine(outline, shape) for n, outline in enumerate(outlines) if len(outline.corners) > 2}
    for one, other in _find_candidates(lines):
        if _relate(lines[one], lines[other]) in ("copy", "turned"):
            what = "two contours of one ROI are of type CLOSEDPLANAR_XOR and the same, so that they cancel each other."
            raise DataError("LBL-CONTOURS", what, "Delete the copy, and export the RTSTRUCT again.")


def _relate(one: ContourLine, other: ContourLine) -> str:
    """Return what another contour is to one.

    It is a "copy", one that runs the other way ("turned"), "inside", or "" for neither, or it is "unknown" whether it is one of
    these. The box around the one holds that around the other, within the tolerance.
    """
    near, enclosed = one.is_near(other), one.encloses_pixels(other)
    if not len(near) or (~near & ~enclosed).any():
        return ""  # outside
    if not near.any():
        return "inside"
    near, enclosed = near[other.pixels[1]], enclosed[other.pixels[1]]
    distances = one.distances(other)
    if np.median(distances) <= _IN_PLANE_TOLERANCE:
        relation = _compare(distances, other.distances(one))
        if relation:
            return "turned" if relation == "copy" and one.is_clockwise != other.is_clockwise else relation
    enclosed[near] = one.encloses(other.points[near])
    if enclosed.all():
        return "inside"
    farthest = distances[~enclosed].max()
    if farthest > _IN_PLANE_TOLERANCE:
        return ""
    # the line alone does not tell a hole along the edge of an area from a sliver along its outside
    n_apart = np.count_nonzero(distances[enclosed] > _ROUNDING)
    if n_apart <= np.count_nonzero(distances[~enclosed] > _ROUNDING):
        return ""
    return "inside" if farthest <= _ROUNDING else "unknown"


def _compare(distances: NDArray[np.float64], back: NDArray[np.float64]) -> str:
    """Return by their distances whether lines are a "copy", or "unknown" if they are near but not the same, or ""."""
    both = np.concatenate([distances, back])
    if both.max() <= _IN_PLANE_TOLERANCE:
        return "copy" if both.max() <= _ROUNDING else "unknown"
    # what runs along most of another line may be a copy, too, unless it runs on it: walls of one pixel are drawn like this
    near = both[both <= _IN_PLANE_TOLERANCE]
    along = len(back) > 0 and np.median(back) <= _IN_PLANE_TOLERANCE and np.median(near) > _ROUNDING
    return "unknown" if along else ""


def _unclear_error(relation: str) -> DataError:
    where = "on one line in opposite directions" if relation == "turned" else "within half a pixel of each other"
    what = f"two contours of one ROI run {where}, so that one may be a copy of the other or a hole in it."
    return DataError("LBL-CONTOURS", what, "Delete the copy, or draw the hole apart from the outline, and export it again.")
