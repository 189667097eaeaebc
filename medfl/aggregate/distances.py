"""Distances between models and their linear combinations, block by block in float64.

Distances are over the parameters: neither integer tensors nor buffers (running statistics) count.

Matrix routines are not used: they split their sums by the number of threads, so the last bits would depend on the machine's
load. Sums over replies are in the order of the sites' names, never in that of arrival.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from medfl.aggregate.disk_replies import DiskReplies
from medfl.messages.models import BLOCK, Tensor, Tensors, flatten, iter_blocks


def distance(a: Tensors, b: Tensors, buffers: Collection[str] = ()) -> float:
    """Return the Euclidean distance between the parameters of two models of the same layout; floats may differ in width.

    Parameters
    ----------
    a, b : mapping of str to ndarray
        The models.
    buffers : collection of str
        Names of the floating-point tensors that are no parameters.

    Examples
    --------
    >>> distance({"w": np.array([3.0, 0.0])}, {"w": np.array([0.0, 4.0])})
    5.0
    """
    other, total, buffer = flatten(b), 0.0, np.empty(BLOCK)
    for name, start, block in iter_blocks(flatten({name: x for name, x in a.items() if name not in buffers})):
        gap = np.subtract(block, other[name][start : start + block.size], out=buffer[: block.size], dtype=np.float64)
        total += float(np.einsum("i,i->", gap, gap))
    return math.sqrt(total)


def distances(replies: DiskReplies, model: Tensors) -> dict[str, float]:
    """Return the Euclidean distance of every reply from a model; from ``replies.reference`` it is the norm of the update."""
    other, totals = flatten(model), np.zeros(len(replies.sites))
    for name, start, values in replies.parameter_columns():
        gaps = np.subtract(values, other[name][start : start + values.shape[1]], dtype=np.float64)
        totals += np.einsum("ij,ij->i", gaps, gaps)
    return dict(zip(replies.sites, np.sqrt(totals).tolist(), strict=True))


def inner_products(replies: DiskReplies, model: Tensors) -> dict[str, float]:
    """Return the inner product of every update with the update that leads to a model, from ``replies.reference`` in each case.

    Parameters
    ----------
    replies : DiskReplies
        The replies.
    model : mapping of str to ndarray
        A model of the same layout, such as the mean of the round.

    Returns
    -------
    dict of str to float
        ``<reply - reference, model - reference>`` for each site.
    """
    sent, other, totals = flatten(replies.reference), flatten(model), np.zeros(len(replies.sites))
    for name, start, values in replies.parameter_columns():
        part = slice(start, start + values.shape[1])
        origin = sent[name][part]
        direction = np.subtract(other[name][part], origin, dtype=np.float64)
        totals += np.einsum("ij,j->i", np.subtract(values, origin, dtype=np.float64), direction)
    return dict(zip(replies.sites, totals.tolist(), strict=True))


def squared_distances(replies: DiskReplies) -> NDArray[np.float64]:
    """Return the squared distances between all replies, as sums of squared differences: exact even where two nearly agree.

    Returns
    -------
    ndarray of float64
        Shape (replies, replies), symmetric, with zeros on the diagonal; rows and columns in the order of ``replies.sites``.
    """
    n = len(replies.sites)
    squares = np.zeros((n, n))
    for _, _, values in replies.parameter_columns():
        wide = values.astype(np.float64)
        buffer = np.empty_like(wide)
        for i in range(n - 1):
            gaps = np.subtract(wide[i + 1 :], wide[i], out=buffer[i + 1 :])
            squares[i, i + 1 :] += np.einsum("ij,ij->i", gaps, gaps)
    return squares + squares.T


def combine(replies: DiskReplies, weights: Mapping[str, float]) -> dict[str, Tensor]:
    """Return the sum of replies, each times its weight, as a model.

    Parameters
    ----------
    replies : DiskReplies
        The replies.
    weights : mapping of str to float
        Factor of each site, used as it is: for a mean the factors add up to 1. A site without one, or with 0, is left out.

    Returns
    -------
    dict of str to ndarray
        Layout of the reference; integer and boolean tensors are the elementwise maximum over the sites that are not left out.

    Raises
    ------
    ExchangeError
        ``WEIGHT-ZERO`` when every reply is left out.

    Examples
    --------
    >>> with DiskReplies({"w": np.zeros(1)}) as replies:
    ...     replies.add("a", {"w": np.array([1.0])}, 1)
    ...     replies.add("b", {"w": np.array([5.0])}, 1)
    ...     combine(replies, {"a": 0.75, "b": 0.25})["w"].tolist()
    [2.0]
    """
    rows = {k: weights[site] for k, site in enumerate(replies.sites) if weights.get(site, 0.0) != 0.0}
    return replies.build_model(_weighted_sums(replies, rows), [replies.sites[k] for k in rows])


def _weighted_sums(replies: DiskReplies, rows: Mapping[int, float]) -> Iterator[tuple[str, int, Tensor]]:
    for name, start, values in replies.columns():
        total = np.zeros(values.shape[1])
        for k, weight in rows.items():
            total += values[k] * np.float64(weight)
        yield name, start, total
