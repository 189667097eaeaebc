"""Histograms of scores, from which ROC curves are computed without the scores of patients.

The inner edges of the bins are ``0.5 sinh(t)`` for equal steps of t, in units of the logit of the score: fine where an
uncertain model has its scores, and at most 5 percent of the logit wide where a confident one has them. They reach from the
smallest float32 above 0 to the largest float64 below 1, so saturated scores keep their order too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BINS = 256
_LOWEST, _HIGHEST, _SCALE = -104.0, 37.0, 0.5  # logits


@cache
def _edges() -> NDArray[np.float64]:
    """Return the 255 inner edges, logits."""
    steps = np.linspace(math.asinh(_LOWEST / _SCALE), math.asinh(_HIGHEST / _SCALE), BINS - 1)
    edges: NDArray[np.float64] = _SCALE * np.sinh(steps)
    return edges


def histogram(scores: NDArray[np.float64]) -> list[int]:
    """Count scores by bin.

    Parameters
    ----------
    scores : ndarray of float, shape (N,)
        Probabilities, 0 to 1.

    Returns
    -------
    list of int
        `BINS` counts, lowest scores first.
    """
    p = np.asarray(scores, dtype=np.float64)
    with np.errstate(divide="ignore"):
        logits = np.log(p) - np.log1p(-p)
    counts: list[int] = np.bincount(np.searchsorted(_edges(), logits, side="right"), minlength=BINS).tolist()
    return counts


@cache
def _mirror_bins() -> tuple[int, ...]:
    """Return, for each bin, the one that holds 1 - p for the scores p of its middle."""
    edges = _edges()
    middles = np.concatenate([edges[:1], (edges[1:] + edges[:-1]) / 2, edges[-1:]])
    return tuple(np.searchsorted(edges, -middles, side="right").tolist())


def mirror(counts: Sequence[int]) -> list[int]:
    """Return the histogram of 1 - p for that of p, within one bin.

    Parameters
    ----------
    counts : sequence of int
        Counts as `histogram` returns them.
    """
    mirrored = [0] * BINS
    for position, count in zip(_mirror_bins(), counts, strict=True):
        mirrored[position] += count
    return mirrored


def roc(positives: Sequence[float], negatives: Sequence[float]) -> tuple[list[float], list[float]]:
    """Return the points of the ROC curve, from (0, 0) to (1, 1), one for each bin that holds a score.

    Parameters
    ----------
    positives, negatives : sequence of float
        Histograms of the scores of both groups.

    Returns
    -------
    fpr, tpr : list of float
        False and true positive rates, rising; empty if a group is.
    """
    n_pos, n_neg = sum(positives), sum(negatives)
    if not n_pos or not n_neg:
        return [], []
    steps = [(p, n) for p, n in zip(reversed(positives), reversed(negatives), strict=True) if p or n]
    tpr = [0.0, *(c / n_pos for c in accumulate(p for p, _ in steps))]
    fpr = [0.0, *(c / n_neg for c in accumulate(n for _, n in steps))]
    return fpr, tpr


def auroc(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Return the area under the ROC curve; scores of one bin are ties. Nan if a group is empty."""
    fpr, tpr = roc(positives, negatives)
    if not fpr:
        return math.nan
    return math.fsum((fpr[i + 1] - fpr[i]) * (tpr[i + 1] + tpr[i]) / 2 for i in range(len(fpr) - 1))


def average_precision(positives: Sequence[float], negatives: Sequence[float]) -> float:
    """Return the mean precision over recall, summed as scikit-learn does. Nan if a group is empty.

    Scores of one bin count as the mean over all their orders: the precision after the last of them alone would be biased.
    """
    n_pos = sum(positives)
    if not n_pos or not sum(negatives):
        return math.nan
    found, taken, terms = 0.0, 0.0, []
    for p, n in zip(reversed(positives), reversed(negatives), strict=True):
        both = p + n
        if p:
            rank = np.arange(int(both))
            hits = found + 1 + rank * ((p - 1) / max(both - 1, 1))  # expected, given that a positive has this rank in the bin
            terms.append(p / both * float(np.sum(hits / (taken + 1 + rank))))
        found, taken = found + p, taken + both
    return math.fsum(terms) / n_pos
