"""Geometric median of whole models, by the smoothed Weiszfeld algorithm."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from medfl.aggregate.disk_replies import DiskReplies
from medfl.aggregate.distances import combine, squared_distances
from medfl.aggregate.order_statistics import median
from medfl.errors import ExchangeError
from medfl.messages.models import Tensor

_TOLERANCE = 1e-12  # the iterations end when no share moves by more


def geometric_median(
    replies: DiskReplies, weights: Mapping[str, float] | None = None, *, nu: float = 1e-6, iterations: int = 1000
) -> dict[str, Tensor]:
    """Return the model with the smallest weighted sum of distances to the replies, the aggregate of RFA.

    The smoothed Weiszfeld algorithm of Pillutla, Kakade, Harchaoui 2022, https://arxiv.org/abs/1912.13445. Each of its
    iterates is a convex combination of the replies, so the iterations run on the shares and the distances between replies
    alone: the replies are read twice, whatever the number of iterations.

    Parameters
    ----------
    replies : DiskReplies
        The replies.
    weights : mapping of str to float, optional
        Weight of each site, such as ``replies.weights``; all weigh the same unless given.
    nu : float
        Smoothing: distances below it count as this distance, so that an iterate may coincide with a reply.
    iterations : int
        Largest number of iterations; they end earlier when the shares no longer move.

    Returns
    -------
    dict of str to ndarray
        Layout of the reference; integer and boolean tensors are the elementwise maximum. Buffers are the coordinate-wise
        median: they count in no distance, so the shares say nothing of them.

    Raises
    ------
    ExchangeError
        ``WEIGHT-ZERO`` when there is no reply, or none with a weight; ``UPDATE-RANGE`` when the square of a distance is beyond
        float64, of which no share can be made.
    """
    sites = replies.sites
    alpha = np.array([1.0 if weights is None else weights.get(site, 0.0) for site in sites])
    if not alpha.sum() > 0:
        raise ExchangeError("WEIGHT-ZERO", "there is no reply to average.", "See why each reply was left out.")
    with np.errstate(over="ignore"):
        squares = squared_distances(replies)
    if not np.isfinite(squares).all():
        worst = sites[int(np.argmax(np.isinf(squares).sum(axis=0)))]
        raise ExchangeError("UPDATE-RANGE", f"the reply of {worst} is out of range.", "Leave it out.")
    shares = weiszfeld(squares, alpha, nu, iterations)
    return combine(replies, dict(zip(sites, shares.tolist(), strict=True))) | median(replies, replies.buffers)


def weiszfeld(
    squares: NDArray[np.float64], alpha: NDArray[np.float64], nu: float = 1e-6, iterations: int = 1000
) -> NDArray[np.float64]:
    """Return the share of each point in the geometric median.

    Parameters
    ----------
    squares : ndarray of float64
        Squared distances between the points, shape (n, n).
    alpha : ndarray of float64
        Weight of each point, shape (n,).
    nu, iterations : float, int
        Smoothing, and largest number of iterations, as in `geometric_median`.

    Returns
    -------
    ndarray of float64
        Shape (n,), with a sum of 1.
    """
    alpha = alpha / alpha.sum()
    shares = alpha
    for _ in range(iterations):
        # for z = sum of c_i x_i with shares c: |z - x_k|^2 = sum c_i |x_i - x_k|^2 - sum c_i c_j |x_i - x_j|^2 / 2
        pulls = (shares[:, None] * squares).sum(axis=0)
        distances = np.sqrt(np.maximum(pulls - (shares * pulls).sum() / 2, 0.0))
        beta = alpha / np.maximum(nu, distances)
        before, shares = shares, beta / beta.sum()
        if np.abs(shares - before).max() <= _TOLERANCE:
            break
    return shares
