"""Parts of a contour: those that lead somewhere and back on the same line, and the loops between its channels."""

from __future__ import annotations

import heapq
from math import hypot

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

CENTRE_TOLERANCE = 0.01  # pixels within which points are the same
CHANNEL_WIDTH = 0.05  # pixels between the lines that lead into a keyhole and out of it, at most
_N_RUNS = 8  # edges on one line among which the way back is looked for

Points = NDArray[np.float64]
Pixels = NDArray[np.bool_]


def split_whiskers(corners: Points) -> tuple[Points, list[Points]]:
    """Return a polygon without the parts that lead somewhere and back, and these parts as lines of two points, or of one.

    Programs trace what is one pixel wide through the centres of its pixels, there and back; many keep only the corners.

    Parameters
    ----------
    corners : ndarray
        (n, 2), column and row.
    """
    polygon = corners[np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1) > 0] if len(corners) > 1 else corners
    points: list[tuple[float, float]] = [(float(x), float(y)) for x, y in polygon]
    before, after = [n - 1 for n in range(len(points))], [n + 1 for n in range(len(points))]
    if points:
        before[0], after[-1] = len(points) - 1, 0
    left = set(range(len(points)))
    tips = np.flatnonzero(_find_tips(polygon)).tolist() if len(points) > 2 else []
    segments: list[Points] = []
    while tips and len(left) > 2:
        tip = heapq.heappop(tips)
        back, forth = before[tip], after[tip]
        if tip not in left or not _is_tip(points[back], points[tip], points[forth]):
            continue
        segments.append(np.array([points[tip], min(points[back], points[forth], key=lambda end: _apart(end, points[tip]))]))
        left.remove(tip)
        if max(abs(points[back][0] - points[forth][0]), abs(points[back][1] - points[forth][1])) < CENTRE_TOLERANCE:
            left.remove(forth)
            forth = after[forth]
        after[back], before[forth] = forth, back
        for n in {back, forth}:
            heapq.heappush(tips, n)
    rest = polygon[sorted(left)]
    if len(rest) > 2:
        return rest, segments
    return corners[:0], [*segments, rest if len(rest) else corners[:1]]


def _find_tips(polygon: Points) -> Pixels:
    """Return at which corners a polygon turns back on its own line."""
    back, forth = np.roll(polygon, 1, axis=0) - polygon, np.roll(polygon, -1, axis=0) - polygon
    length = np.maximum(np.linalg.norm(back, axis=1), np.linalg.norm(forth, axis=1))
    cross = np.abs(back[:, 0] * forth[:, 1] - back[:, 1] * forth[:, 0])
    return np.asarray(((back * forth).sum(axis=1) > 0) & (cross < CENTRE_TOLERANCE * length))


def _is_tip(back: tuple[float, float], tip: tuple[float, float], forth: tuple[float, float]) -> bool:
    """Return the same as `_find_tips` for one corner: the corners next to a tip are looked at again when it is gone."""
    (ax, ay), (bx, by) = (back[0] - tip[0], back[1] - tip[1]), (forth[0] - tip[0], forth[1] - tip[1])
    return ax * bx + ay * by > 0 and abs(ax * by - ay * bx) < CENTRE_TOLERANCE * max(hypot(ax, ay), hypot(bx, by))


def _apart(one: tuple[float, float], other: tuple[float, float]) -> float:
    return hypot(one[0] - other[0], one[1] - other[1])


def split_channels(corners: Points) -> tuple[list[Points], Pixels]:
    """Return the loops of a polygon that channels join, and for each edge of the polygon whether it is part of a channel.

    A channel is an edge that another one runs back along, as in a keyhole. Without it, how often the polygon runs around a
    point is the sum of how often its loops do.

    Parameters
    ----------
    corners : ndarray
        (n, 2), column and row, in pixels.
    """
    pairs = _pair_channels(corners)
    channels = np.zeros(len(corners), dtype=np.bool_)
    if not pairs:
        return [corners], channels
    after = [*range(1, len(corners)), 0]
    for one, other in pairs:
        channels[[one, other]] = True
        after[one], after[other] = after[other], after[one]  # what comes behind the channel, without it
    loops, seen = [], set[int]()
    for first in range(len(corners)):
        loop, n = [], first
        while n not in seen:
            seen.add(n)
            loop.append(n)
            n = after[n]
        if len(loop) > 2:
            loops.append(corners[loop])
    return loops, channels


def _pair_channels(corners: Points) -> list[tuple[int, int]]:
    """Return pairs of edges of a polygon of which one runs back along the other, each edge once."""
    following = np.roll(corners, -1, axis=0)
    edges = np.flatnonzero(np.abs(following - corners).max(axis=1, initial=0) > 2 * CHANNEL_WIDTH)
    if len(edges) < 2:
        return []
    tree = KDTree(np.hstack([corners, following])[edges])
    distances, partners = tree.query(np.hstack([following, corners])[edges], k=min(_N_RUNS, len(edges)), p=np.inf)
    pairs, paired = [], set[int]()
    for n in np.flatnonzero(distances[:, 0] <= CHANNEL_WIDTH).tolist():
        fits = [m for m in partners[n][distances[n] <= CHANNEL_WIDTH].tolist() if m < n and m not in paired]
        if fits and n not in paired:
            paired.update((n, max(fits)))  # the nearest on the way, as brackets are closed
            pairs.append((int(edges[max(fits)]), int(edges[n])))
    return pairs
