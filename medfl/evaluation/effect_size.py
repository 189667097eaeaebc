"""How large a difference is, beside whether there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medfl.evaluation.bootstrap import Floats, Interval, PatientScores, confidence_interval, ratio
from medfl.evaluation.paired_tests import are_segmented, drop_noise, mean_dice


@dataclass(frozen=True)
class EffectSize:
    """Size of a difference, on a scale that does not depend on the number of patients.

    Parameters
    ----------
    measure : {"rank-biserial", "auroc-difference"}
        That of Dice, from -1 to 1; the difference of two AUROC is its own.
    value : float
        The effect, above zero where the first arm is higher.
    interval : (float, float), optional
        95 % interval; None where all patients differ in one direction, which does not tell how many others might not.
    """

    measure: Literal["rank-biserial", "auroc-difference"]
    value: float
    interval: Interval | None


def effect_of(
    first: Sequence[PatientScores], second: Sequence[PatientScores], differences: Floats, weights: Floats
) -> EffectSize:
    """Return how large the difference of two arms is.

    Parameters
    ----------
    first, second : sequence of PatientScores
        Tests of each arm, one for each seed, of the same P patients in the same order.
    differences : ndarray of float, shape (1 + B,)
        Of their scores, on the patients as they are and on each draw.
    weights : ndarray of float, shape (1 + B, P)
        How often each patient is in each.
    """
    if not are_segmented(*first, *second):
        return EffectSize("auroc-difference", float(differences[0]), confidence_interval(differences[1:]))
    values = rank_biserial(drop_noise(mean_dice(first) - mean_dice(second)), weights)
    interval = confidence_interval(values[1:]) if abs(values[0]) < 1 else None
    return EffectSize("rank-biserial", float(values[0]), interval)


def rank_biserial(differences: Floats, weights: Floats) -> Floats:
    """Return the matched-pairs rank-biserial correlation, the effect size of Wilcoxon's signed-rank test.

    It is the share of the ranks of patients whose difference is above zero, less that of those below (King, Rosopa and Minium
    2011; Kerby 2014): 1 where all are above, 0 where both weigh the same. Patients without a difference have ranks, as in the
    test (Pratt 1959), and count on neither side.

    Parameters
    ----------
    differences : ndarray of float, shape (P,)
        Of each patient; nan where it is not known.
    weights : ndarray of float, shape (B, P)
        How often each patient is in each draw.

    Returns
    -------
    ndarray of float, shape (B,)
        Nan without a patient.

    Examples
    --------
    >>> rank_biserial(np.array([0.1, 0.2, -0.3]), np.ones((1, 3)))
    array([0.])
    """
    known = np.isfinite(differences)
    differences, drawn = differences[known], weights[:, known]
    ranks = _ranks(np.abs(differences), drawn)
    return ratio((drawn * ranks) @ np.sign(differences), (drawn * ranks).sum(axis=1))


def _ranks(values: Floats, drawn: Floats) -> Floats:
    """Return the mean rank of each value among the drawn ones, (B, P)."""
    found, group = np.unique(values, return_inverse=True)
    alike: NDArray[np.float64] = np.zeros((len(found), len(drawn)))
    np.add.at(alike, group, drawn.T)
    below = np.cumsum(alike, axis=0) - alike
    ranks: Floats = (below + (alike + 1) / 2)[group].T
    return ranks
