"""Outlines of contours in the pixels of a slice: what they enclose, how often, and which pixels their lines pass through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from medfl.data.dicom.contour_loops import CHANNEL_WIDTH, Pixels, Points, split_channels, split_whiskers

_ON_LINE = 1e-6  # pixels within which a line passes through the centre of a pixel

Window = tuple[slice, slice]


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
    inside : ndarray of bool
        Pixels that are enclosed. A loop that a channel leads to, such as a keyhole, is a hole in one that it is inside of, in
        whatever direction it runs. Where a contour crosses itself otherwise, what it encloses twice is inside as well.
    n_twice : int
        Number of pixels that the contour encloses more than once without such a loop.
    edge : ndarray of bool
        Pixels whose centre is on the line of `corners`.
    whiskers : ndarray of bool
        Pixels on parts of the contour that lead somewhere and back on the same line.
    """

    corners: Points
    window: Window
    winding: NDArray[np.intp]
    inside: Pixels
    n_twice: int
    edge: Pixels
    whiskers: Pixels

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
    window, size = _window(corners, shape)
    lower = np.array([part.start for part in window])
    moved = polygon - lower
    lines = [_walk(segment - lower, size, anywhere=not len(polygon)) for segment in segments]
    whiskers = _set_pixels(np.concatenate([*lines, np.zeros((0, 2), dtype=np.intp)]), size)
    loops, channels = split_channels(moved)
    edge = _set_pixels(_centres_on(moved, size, np.where(channels, CHANNEL_WIDTH, _ON_LINE)), size)
    winding = wind(moved, size)
    if len(loops) == 1 and not channels.any():
        return Outline(polygon, window, winding, winding != 0, int(np.count_nonzero(np.abs(winding) > 1)), edge, whiskers)
    inside, n_twice = _fill_loops(loops, size, edge)
    return Outline(polygon, window, winding, inside, n_twice, edge, whiskers)


def _window(corners: Points, shape: tuple[int, int]) -> tuple[Window, tuple[int, int]]:
    """Return the columns and rows of an image that a contour covers, and their numbers."""
    lower = np.clip(np.floor(corners.min(axis=0)), 0, shape).astype(int)
    upper = np.clip(np.ceil(corners.max(axis=0)) + 1, lower, shape).astype(int)
    (left, top), (right, bottom) = lower.tolist(), upper.tolist()
    return (slice(left, right), slice(top, bottom)), (right - left, bottom - top)


def _fill_loops(loops: Sequence[Points], shape: tuple[int, int], edge: Pixels) -> tuple[Pixels, int]:
    """Return what loops of a contour enclose, each inside another being a hole, and how much they enclose twice otherwise."""
    inside, n_twice, parts = np.zeros(shape, dtype=np.bool_), 0, list[tuple[Window, Pixels, int, bool]]()
    for loop in loops:
        window, size = _window(loop, shape)
        winding = wind(loop - [part.start for part in window], size)
        filled = winding != 0
        inside[window] ^= filled
        n_twice += int(np.count_nonzero(np.abs(winding) > 1))
        parts.append((window, filled, int(np.count_nonzero(filled)), bool(winding.sum() > 0)))
    for n, (window, filled, count, turn) in enumerate(parts):
        for other, also, number, other_turn in parts[:n]:
            n_shared = count_shared(window, filled, other, also)
            is_copy = n_shared == count == number and turn == other_turn
            n_twice += n_shared if is_copy or n_shared < min(count, number) else 0
    if not (inside | edge).any():  # a hole that leaves nothing
        n_twice += max((count for _, _, count, _ in parts), default=0)
    return inside, n_twice


def count_shared(window: Window, filled: Pixels, other: Window, also: Pixels) -> int:
    """Return how many pixels are in both of two areas, each in its window."""
    shared = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(window, other, strict=True)]
    if any(part.stop <= part.start for part in shared):
        return 0
    ones = filled[tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(shared, window, strict=True))]
    others = also[tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(shared, other, strict=True))]
    return int(np.count_nonzero(ones & others))


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
        edge, row = expand(first, counts)
        start, step = corners[edge], following[edge] - corners[edge]
        column = start[:, 0] + (row - start[:, 1]) / step[:, 1] * step[:, 0]
        ends = np.clip(np.ceil(column), 0, columns).astype(np.intp)
        np.add.at(crossings, (ends, row), np.where(step[:, 1] > 0, 1, -1))
    # a pixel is wound around by each line that crosses its row beyond it
    return np.asarray(crossings[::-1].cumsum(axis=0)[::-1][1:])


def _centres_on(corners: Points, shape: tuple[int, int], tolerance: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the pixels of an image whose centre is on an edge of a polygon, within a tolerance for each edge, (n, 2)."""
    if not len(corners):
        return np.zeros((0, 2), dtype=np.intp)
    step = np.roll(corners, -1, axis=0) - corners
    major = np.abs(step).argmax(axis=1)
    each, end = np.arange(len(corners)), np.array(shape)[major]
    start, length = corners[each, major], step[each, major]
    first = np.clip(np.ceil(np.minimum(start, start + length) - tolerance), 0, end).astype(np.intp)
    last = np.clip(np.floor(np.maximum(start, start + length) + tolerance), -1, end - 1).astype(np.intp)
    edge, along = expand(first, np.maximum(last - first + 1, 0))
    share = np.divide(along - start[edge], length[edge], out=np.zeros(len(edge)), where=length[edge] != 0)
    points = corners[edge] + np.clip(share, 0, 1)[:, np.newaxis] * step[edge]
    centres = np.round(points)
    return np.asarray(centres[np.abs(points - centres).max(axis=1) <= tolerance[edge]], dtype=np.intp)


def _walk(segment: Points, shape: tuple[int, int], *, anywhere: bool) -> NDArray[np.intp]:
    """Return the pixels of an image on a line, (n, 2).

    They are one in each column or row that it passes if it runs from the centre of a pixel to another, as programs trace masks,
    or anywhere if that is asked for; else those whose centres are on it, for it may be the shaking of a hand.
    """
    ends = np.round(segment)
    if not anywhere and np.abs(segment - ends).max() > _ON_LINE:
        return _centres_on(segment, shape, np.full(len(segment), _ON_LINE))
    step = ends[-1] - ends[0]
    major = int(np.abs(step).argmax())
    first, last = np.clip(np.sort(ends[[0, -1], major]), [0, -1], [shape[major], shape[major] - 1])
    along = np.arange(first, last + 1)
    share = (along - ends[0, major]) / step[major] if step[major] else np.zeros(len(along))
    return np.asarray(np.round(ends[0] + share[:, np.newaxis] * step), dtype=np.intp)


def expand(first: NDArray[np.intp], counts: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return first, first + 1, ..., as many as counted, one after the other, each after the index of its first."""
    index = np.repeat(np.arange(len(first)), counts)
    return index, first[index] + np.arange(len(index)) - np.repeat(np.cumsum(counts) - counts, counts)


def _set_pixels(pixels: NDArray[np.intp], shape: tuple[int, int]) -> Pixels:
    inside = ((pixels >= 0) & (pixels < shape)).all(axis=1)
    result = np.zeros(shape, dtype=np.bool_)
    result[tuple(pixels[inside].T)] = True
    return result
