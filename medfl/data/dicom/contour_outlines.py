"""Outlines of contours in the pixels of a slice: what they enclose, how often, and which pixels their lines pass through."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

CENTRE_TOLERANCE = 0.01  # pixels within which points are the same
_CHANNEL_WIDTH = 0.05  # pixels between the lines that lead into a keyhole and out of it, at most
_ON_LINE = 1e-6  # pixels within which a line passes through the centre of a pixel

Points = NDArray[np.float64]
Pixels = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Outline:
    """One closed contour in the pixels of a slice.

    Parameters
    ----------
    corners : ndarray
        (n, 2): column, row; without the parts that enclose nothing.
    window : tuple of slice
        Columns and rows of the image that the arrays cover.
    winding : ndarray of int
        How often the contour runs around the centre of each pixel, counted by direction (winding number).
    edge : ndarray of bool
        Pixels whose centre is on the line of `corners`.
    whiskers : ndarray of bool
        Pixels on parts of the contour that lead somewhere and back on the same line.
    has_channel : bool
        Whether the contour leads in and out of a part on (nearly) the same line.
    """

    corners: Points
    window: tuple[slice, slice]
    winding: NDArray[np.intp]
    edge: Pixels
    whiskers: Pixels
    has_channel: bool

    @property
    def inside(self) -> Pixels:
        """Pixels that are enclosed.

        A contour with a channel, such as a keyhole, excludes what it runs around twice, in whatever direction. Where any other
        contour crosses itself, what it encloses twice is inside as well.
        """
        return np.asarray(self.winding % 2 == 1 if self.has_channel else self.winding != 0)

    @property
    def n_twice(self) -> int:
        """Number of pixels that a contour without a channel encloses more than once."""
        return 0 if self.has_channel else int(np.count_nonzero(np.abs(self.winding) > 1))

    @property
    def area(self) -> Pixels:
        """Pixels that are enclosed or on the line."""
        return np.asarray(self.inside | self.edge)

    @property
    def interior(self) -> Pixels:
        """Pixels that are enclosed and not on the line."""
        return np.asarray(self.inside & ~self.edge)


def draw_outline(corners: Points, shape: tuple[int, int]) -> Outline:
    """Return a contour in the pixels of an image.

    Parameters
    ----------
    corners : ndarray
        (n, 2), column and row, in pixels; the centre of the first pixel is (0, 0).
    shape : tuple of int
        (columns, rows) of the image.
    """
    polygon, segments = split_whiskers(corners)
    lower = np.clip(np.floor(corners.min(axis=0)), 0, shape).astype(int)
    upper = np.clip(np.ceil(corners.max(axis=0)) + 1, lower, shape).astype(int)
    size = (int(upper[0] - lower[0]), int(upper[1] - lower[1]))
    window = (slice(int(lower[0]), int(upper[0])), slice(int(lower[1]), int(upper[1])))
    moved = polygon - lower
    lines = [_walk(segment - lower, anywhere=not len(polygon)) for segment in segments]
    whiskers = _set_pixels(np.concatenate([*lines, np.zeros((0, 2), dtype=np.intp)]), size)
    channels = _find_channels(moved)
    edge = _set_pixels(_centres_on(moved, np.where(channels, _CHANNEL_WIDTH, _ON_LINE)), size)
    return Outline(polygon, window, wind(moved, size), edge, whiskers, bool(channels.any()))


def wind(corners: Points, shape: tuple[int, int]) -> NDArray[np.intp]:
    """Return how often a polygon runs around the centre of each pixel, (columns, rows); odd for what an even-odd rule fills.

    A centre on a line counts as inside or outside, whichever comes.
    """
    columns, rows = shape
    crossings = np.zeros((columns + 1, rows), dtype=np.intp)
    if len(corners) > 2 and columns and rows:
        following = np.roll(corners, -1, axis=0)
        low, high = np.sort(np.stack([corners[:, 1], following[:, 1]]), axis=0)
        first = np.clip(np.ceil(low), 0, rows).astype(np.intp)
        counts = np.maximum(np.clip(np.ceil(high), 0, rows).astype(np.intp) - first, 0)
        edge, row = _expand(first, counts)
        start, step = corners[edge], following[edge] - corners[edge]
        column = start[:, 0] + (row - start[:, 1]) / step[:, 1] * step[:, 0]
        ends = np.clip(np.ceil(column), 0, columns).astype(np.intp)
        np.add.at(crossings, (ends, row), np.where(step[:, 1] > 0, 1, -1))
    # a pixel is wound around by each line that crosses its row beyond it
    return np.asarray(crossings[::-1].cumsum(axis=0)[::-1][1:])


def split_whiskers(corners: Points) -> tuple[Points, list[Points]]:
    """Return a polygon without the parts that lead somewhere and back, and these parts as lines of two points, or of one.

    Programs trace what is one pixel wide through the centres of its pixels, there and back; many keep only the corners.
    """
    polygon = corners[np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1) > 0] if len(corners) > 1 else corners
    segments: list[Points] = []
    while len(polygon) > 2:
        tips = np.flatnonzero(_find_tips(polygon))
        if not len(tips):
            return polygon, segments
        tip = int(tips[0])
        before, after = tip - 1, (tip + 1) % len(polygon)
        ends = polygon[[before, after]]
        segments.append(np.stack([polygon[tip], ends[np.linalg.norm(ends - polygon[tip], axis=1).argmin()]]))
        same = np.abs(ends[1] - ends[0]).max() < CENTRE_TOLERANCE
        polygon = np.delete(polygon, [tip, after] if same else [tip], axis=0)
    return corners[:0], [*segments, polygon if len(polygon) else corners[:1]]


def _find_tips(polygon: Points) -> Pixels:
    """Return at which corners a polygon turns back on its own line."""
    back, forth = np.roll(polygon, 1, axis=0) - polygon, np.roll(polygon, -1, axis=0) - polygon
    length = np.maximum(np.linalg.norm(back, axis=1), np.linalg.norm(forth, axis=1))
    cross = np.abs(back[:, 0] * forth[:, 1] - back[:, 1] * forth[:, 0])
    return np.asarray(((back * forth).sum(axis=1) > 0) & (cross < CENTRE_TOLERANCE * length))


def _find_channels(corners: Points) -> Pixels:
    """Return for each edge of a polygon whether another one runs back along it."""
    following = np.roll(corners, -1, axis=0)
    channels = np.abs(following - corners).max(axis=1, initial=0) > 2 * _CHANNEL_WIDTH
    if channels.any():
        edges, back = np.hstack([corners, following])[channels], np.hstack([following, corners])[channels]
        channels[channels] = KDTree(edges).query(back, p=np.inf)[0] <= _CHANNEL_WIDTH
    return np.asarray(channels)


def _centres_on(corners: Points, tolerance: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the pixels whose centre is on an edge of a polygon, within a tolerance for each edge, (n, 2)."""
    if not len(corners):
        return np.zeros((0, 2), dtype=np.intp)
    step = np.roll(corners, -1, axis=0) - corners
    major = np.abs(step).argmax(axis=1)
    each = np.arange(len(corners))
    start, length = corners[each, major], step[each, major]
    first = np.ceil(np.minimum(start, start + length) - tolerance).astype(np.intp)
    last = np.floor(np.maximum(start, start + length) + tolerance).astype(np.intp)
    edge, along = _expand(first, np.maximum(last - first + 1, 0))
    share = np.divide(along - start[edge], length[edge], out=np.zeros(len(edge)), where=length[edge] != 0)
    points = corners[edge] + np.clip(share, 0, 1)[:, np.newaxis] * step[edge]
    centres = np.round(points)
    return np.asarray(centres[np.abs(points - centres).max(axis=1) <= tolerance[edge]], dtype=np.intp)


def _walk(segment: Points, *, anywhere: bool) -> NDArray[np.intp]:
    """Return the pixels of a line, (n, 2).

    They are one in each column or row that it passes if it runs from the centre of a pixel to another, as programs trace masks,
    or anywhere if that is asked for; else those whose centres are on it, for it may be the shaking of a hand.
    """
    ends = np.round(segment)
    if not anywhere and np.abs(segment - ends).max() > _ON_LINE:
        return _centres_on(segment, np.full(len(segment), _ON_LINE))
    count = int(np.abs(ends[-1] - ends[0]).max()) + 1
    return np.asarray(np.round(np.linspace(ends[0], ends[-1], count)), dtype=np.intp)


def _expand(first: NDArray[np.intp], counts: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return first, first + 1, ..., as many as counted, one after the other, each with the index of its first."""
    index = np.repeat(np.arange(len(first)), counts)
    return index, first[index] + np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)


def _set_pixels(pixels: NDArray[np.intp], shape: tuple[int, int]) -> Pixels:
    inside = ((pixels >= 0) & (pixels < shape)).all(axis=1)
    result = np.zeros(shape, dtype=np.bool_)
    result[tuple(pixels[inside].T)] = True
    return result
