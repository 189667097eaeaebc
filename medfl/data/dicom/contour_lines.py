"""Lines of contours, point by point: which points of one are inside another, and how far from its line."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.contour_loops import Pixels, Points
from medfl.data.dicom.contour_outlines import Outline, expand

_STEP = 0.5  # pixels between points of a line that are compared, at most
_FINEST = 0.05  # pixels of a line of which one point is compared, at least
_MARGIN = 3  # pixels around the image that are told apart
_MAX_PAIRS = 1_000_000  # of a point and an edge that are looked at together: some ten megabytes

Numbers = NDArray[np.intp]


@dataclass(frozen=True)
class _Edges:
    """Edges of a polygon by the places that they pass."""

    places: Numbers  # ascending
    edges: Numbers

    def count(self, places: Numbers) -> tuple[Numbers, Numbers]:
        """Return the index of the first edge at each place, and their number."""
        first = np.searchsorted(self.places, places)
        return first, np.searchsorted(self.places, places, side="right") - first

    def pair(self, places: Numbers) -> Iterator[tuple[slice, Numbers, Numbers]]:
        """Yield ranges of places, with the index of one in the range and an edge there, for each such pair."""
        first, counts = self.count(places)
        total = np.cumsum(counts)
        start = 0
        while start < len(places):
            done = total[start - 1] if start else 0
            stop = max(start + 1, int(np.searchsorted(total, done + _MAX_PAIRS)))
            index, position = expand(first[start:stop], counts[start:stop])
            yield slice(start, stop), index, self.edges[position]
            start = stop


class ContourLine:
    """The line of an outline in an image.

    Parameters
    ----------
    outline : Outline
        A contour, which has three corners or more.
    shape : tuple of int
        (columns, rows) of the image.
    """

    def __init__(self, outline: Outline, shape: tuple[int, int]) -> None:
        self.outline, self.shape = outline, shape
        self.corners = outline.corners
        self.step = np.roll(self.corners, -1, axis=0) - self.corners
        self.lower, self.upper = self.corners.min(axis=0), self.corners.max(axis=0)

    @cached_property
    def is_clockwise(self) -> bool:
        """Whether it runs from the columns to the rows."""
        x, y = (self.corners - self.lower).T
        return bool(x @ np.roll(y, -1) > y @ np.roll(x, -1))

    @cached_property
    def points(self) -> Points:
        """Points along the line in the image."""
        points, _ = _sample(self.corners, self.step, np.array([-0.5, -0.5]), np.array(self.shape) - 0.5)
        if len(points) < 2:
            return points
        along = np.floor(np.linalg.norm(np.diff(points, axis=0), axis=1).cumsum() / _FINEST)
        return np.asarray(points[np.concatenate([[True], np.diff(along, prepend=0) > 0])])

    @cached_property
    def pixels(self) -> tuple[Numbers, Numbers]:
        """The pixels that the points are in, (n, 2), and for each point the index of its pixel."""
        pixels = np.clip(np.round(self.points), 0, np.array(self.shape) - 1).astype(np.intp)
        _, first, inverse = np.unique(self._number(pixels), return_index=True, return_inverse=True)
        return pixels[first], np.asarray(inverse, dtype=np.intp)

    @cached_property
    def _numbers(self) -> Numbers:
        return self._number(self.pixels[0])

    @cached_property
    def _enclosed(self) -> Pixels:
        return np.asarray(self.outline.winding % 2 == 1)

    @cached_property
    def _edges_by_pixel(self) -> _Edges:
        """Edges in each pixel and in those around it: all within three quarters of a pixel from any point of the pixel."""
        points, edges = _sample(self.corners, self.step, np.full(2, 1.0 - _MARGIN), np.array(self.shape) + _MARGIN - 2.0)
        around = np.array([self._number(np.array([c, r])) - self._number(np.zeros(2)) for c in (-1, 0, 1) for r in (-1, 0, 1)])
        pixels = (self._number(np.round(points))[:, np.newaxis] + around).reshape(-1)
        both = np.unique(pixels * len(self.corners) + np.repeat(edges, len(around)))
        return _Edges(both // len(self.corners), both % len(self.corners))

    @cached_property
    def _edges_by_row(self) -> _Edges:
        ends = np.stack([self.corners[:, 1], self.corners[:, 1] + self.step[:, 1]])
        first, last = np.clip(np.floor([ends.min(axis=0), ends.max(axis=0)]), -1, self.shape[1]).astype(np.intp)
        edges, rows = expand(first, last - first + 1)
        order = np.argsort(rows, kind="stable")
        return _Edges(rows[order], edges[order])

    def _number(self, pixels: Points | Numbers) -> Numbers:
        columns, rows = np.moveaxis(np.asarray(pixels, dtype=np.intp), -1, 0) + _MARGIN
        return np.asarray(columns * (self.shape[1] + 2 * _MARGIN) + rows)

    def is_near(self, other: ContourLine) -> Pixels:
        """Return which pixels of another line have a point that may be within three quarters of a pixel of this one."""
        return np.asarray(self._edges_by_pixel.count(other._numbers)[1] > 0)

    def encloses_pixels(self, other: ContourLine) -> Pixels:
        """Return for each pixel of another line, unless it is near this one, whether this one runs around it."""
        columns, rows = (other.pixels[0] - np.array([part.start for part in self.outline.window])).T
        width, height = self._enclosed.shape
        within = (columns >= 0) & (columns < width) & (rows >= 0) & (rows < height)
        if within.all():
            return np.asarray(self._enclosed[columns, rows])
        within[within] = self._enclosed[columns[within], rows[within]]
        return np.asarray(within)

    def encloses(self, points: Points) -> Pixels:
        """Return for points of the image whether this line runs around them, by the even-odd rule."""
        rows = np.floor(points[:, 1]).astype(np.intp)
        result = np.zeros(len(points), dtype=np.bool_)
        for part, index, edge in self._edges_by_row.pair(rows):
            (x, y), (x1, y1), (dx, dy) = points[part][index].T, self.corners[edge].T, self.step[edge].T
            crossed = (y1 <= y) != (y1 + dy <= y)
            share = np.divide(y - y1, dy, out=np.zeros(len(y)), where=crossed)
            result[part] = np.bincount(index[crossed & (x1 + share * dx > x)], minlength=part.stop - part.start) % 2 == 1
        return result

    def distances(self, other: ContourLine) -> NDArray[np.float64]:
        """Return how far points of another line are from this one, in pixels; inf for what is not near."""
        points, numbers = other.points, other._numbers[other.pixels[1]]
        result = np.full(len(points), np.inf)
        squared = np.maximum((self.step**2).sum(axis=1), 1e-12)
        for part, index, edge in self._edges_by_pixel.pair(numbers):
            apart = points[part][index] - self.corners[edge]
            share = np.clip((apart * self.step[edge]).sum(axis=1) / squared[edge], 0, 1)
            np.minimum.at(result[part], index, np.linalg.norm(apart - share[:, np.newaxis] * self.step[edge], axis=1))
        return result


def _sample(corners: Points, step: Points, lower: Points, upper: Points) -> tuple[Points, Numbers]:
    """Return points along the edges of a polygon in a box, the corners among them, and the edge of each."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ends = np.sort(np.stack([(lower - corners) / step, (upper - corners) / step]), axis=0)
    still = step == 0
    within = (corners >= lower) & (corners <= upper)
    first = np.where(still, np.where(within, 0.0, np.inf), ends[0]).max(axis=1).clip(0)
    last = np.where(still, np.inf, ends[1]).min(axis=1).clip(max=1)
    length = np.where(first <= last, last - first, 0) * np.linalg.norm(step, axis=1)
    counts = np.where(first <= last, np.maximum(np.ceil(length / _STEP), 1), 0).astype(np.intp)
    edge, number = expand(np.zeros(len(corners), dtype=np.intp), counts)
    share = first[edge] + number / counts[edge] * (last - first)[edge]
    return np.asarray(corners[edge] + share[:, np.newaxis] * step[edge]), edge
