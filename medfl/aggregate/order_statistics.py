"""Median and trimmed mean of every value over the replies, by a sorting network on blocks that stay in the cache.

A network compares the same pairs of rows whatever the values are, so that one comparison is `numpy.minimum` and
`numpy.maximum` of two whole rows. Batcher's odd-even merge sort (Knuth, The Art of Computer Programming 3, algorithm 5.2.2M)
is cut down to what the middle ranks need.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from medfl.aggregate.disk_replies import DiskReplies
from medfl.messages.models import Tensor


class Comparator(NamedTuple):
    """Comparison that puts the smaller of two rows first; only the one that is needed later is computed."""

    first: int
    second: int
    smaller: bool
    larger: bool


def median(replies: DiskReplies, names: Collection[str] | None = None) -> dict[str, Tensor]:
    """Return the median of every value; for an even number of replies the mean of the two in the middle.

    The same bits as `numpy.median`, and hence as Flower's FedMedian; the weights of the replies do not count.

    Parameters
    ----------
    replies : DiskReplies
        The replies.
    names : collection of str, optional
        Floating-point tensors that are wanted; the whole model unless given.

    Returns
    -------
    dict of str to ndarray
        Layout of the reference; integer and boolean tensors are the elementwise maximum.

    Raises
    ------
    ExchangeError
        ``WEIGHT-ZERO`` when there is no reply.

    Examples
    --------
    >>> with DiskReplies({"w": np.zeros(2, np.float32)}) as replies:
    ...     for site, values in {"a": [1, 9], "b": [2, 3], "c": [90, 4]}.items():
    ...         replies.add(site, {"w": np.array(values, np.float32)}, 1)
    ...     median(replies)["w"].tolist()
    [2.0, 4.0]
    """
    if names is not None and not names:
        return {}
    model = replies.build_model(_middle_rank_means(replies, (len(replies.sites) - 1) // 2, names))
    return model if names is None else {name: x for name, x in model.items() if name in names}


def trimmed_mean(replies: DiskReplies, beta: float = 0.2) -> dict[str, Tensor]:
    """Return the mean of every value without its ``int(beta * replies)`` smallest and as many largest.

    The same as `scipy.stats.trim_mean` and Flower's FedTrimmedAvg within rounding (sums are float64 here). Weights do not
    count.

    Parameters
    ----------
    replies : DiskReplies
        The replies.
    beta : float
        Share that is cut off at each end, from 0 to below 0.5.

    Returns
    -------
    dict of str to ndarray
        Layout of the reference; integer and boolean tensors are the elementwise maximum.

    Raises
    ------
    ExchangeError
        ``WEIGHT-ZERO`` when there is no reply.
    """
    if not 0.0 <= beta < 0.5:
        raise ValueError(f"beta must be from 0 to below 0.5 (came {beta})")
    n = len(replies.sites)
    return replies.build_model(_middle_rank_means(replies, min(int(beta * n), (n - 1) // 2)))


def _middle_rank_means(
    replies: DiskReplies, cut: int, names: Collection[str] | None = None
) -> Iterator[tuple[str, int, Tensor]]:
    """Yield the means of the ranks from `cut` to as many below the largest, block by block."""
    n = len(replies.sites)
    for name, start, values in replies.columns(names=names):
        rows, spare = list(values), np.empty_like(values[0])
        for i, j, smaller, larger in sorting_network(n, cut):
            if not larger:
                np.minimum(rows[i], rows[j], out=rows[i])
            elif not smaller:
                np.maximum(rows[i], rows[j], out=rows[j])
            else:
                np.minimum(rows[i], rows[j], out=spare)
                np.maximum(rows[i], rows[j], out=rows[j])
                rows[i], spare = spare, rows[i]
        total = rows[cut].astype(np.float64)
        for row in rows[cut + 1 : n - cut]:
            total += row
        yield name, start, total / (n - 2 * cut)


@cache
def sorting_network(n: int, cut: int) -> tuple[Comparator, ...]:
    """Return the comparisons that leave the `cut` smallest of `n` rows first and the `cut` largest last.

    Parameters
    ----------
    n : int
        Number of rows.
    cut : int
        Number of rows that are cut off at each end; the rows in between come in no particular order.

    Returns
    -------
    tuple of Comparator
        Comparisons in the order in which they must be done. A row whose value is not needed keeps whatever was in it.
    """
    needed: list[Comparator] = []
    # going back from the last comparison: what becomes of each row afterwards
    fate = ["dropped"] * cut + ["summed"] * (n - 2 * cut) + ["dropped"] * cut
    for i, j in reversed(list(_merge_exchange(n))):
        if fate[i] != fate[j] or fate[i] == "compared":  # among rows that are all summed, or all dropped, order does not matter
            needed.append(Comparator(i, j, fate[i] != "dropped", fate[j] != "dropped"))
            fate[i] = fate[j] = "compared"
    return tuple(reversed(needed))


def _merge_exchange(n: int) -> Iterator[tuple[int, int]]:
    """Yield the pairs that sort `n` rows, as in Knuth's algorithm 5.2.2M with its letters."""
    t = (n - 1).bit_length()
    p = 1 << t >> 1
    while p > 0:
        q, r, d = 1 << t >> 1, 0, p
        while True:
            yield from ((i, i + d) for i in range(n - d) if i & p == r)
            if q == p:
                break
            d, q, r = q - p, q >> 1, p
        p >>= 1
