"""How many test patients it would take to know."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy import stats

POWER = 0.8  # chance to find the difference where there is one
_TOO_MANY = 25  # times the patients that there are: such a difference is as good as none


@dataclass(frozen=True)
class PatientsNeeded:
    """Test patients that would tell in four of five studies, and the size of the difference that they would tell.

    Parameters
    ----------
    patients : int
        About how many of the same hospitals, all together, rounded up to two digits.
    to_find : {"difference", "margin"}
        The difference that was seen, or, where that is about zero, one of the margin that the study names.
    """

    patients: int
    to_find: Literal["difference", "margin"]


def patients_needed(
    difference: float, error: float, patients: int, margin: float = 0.0, level: float = 0.05
) -> PatientsNeeded | None:
    """Return about how many test patients it would take, with a power of 0.8, if the difference is what it looks like.

    The error of a difference falls with the root of the number of patients; the formula is that of the normal test of a mean of
    paired differences, ``n = ((z(1 - level / 2) + z(power)) * sd / difference)**2``.

    Parameters
    ----------
    difference : float
        What was seen.
    error : float
        Its standard error.
    patients : int
        With how many it was seen.
    margin : float
        Difference that counts, for one that is about zero; 0: none.
    level : float
        Level of the two-sided test.

    Returns
    -------
    PatientsNeeded or None
        None where as many as there are should do, and where no number is reasonable.

    Examples
    --------
    >>> patients_needed(0.5, 0.25, 16)  # a standardised difference of 0.5
    PatientsNeeded(patients=32, to_find='difference')
    """
    if not (math.isfinite(difference) and error > 0):
        return None
    reach = (stats.norm.isf(level / 2) + stats.norm.isf(1 - POWER)) * error
    targets: list[tuple[float, Literal["difference", "margin"]]] = [(abs(difference), "difference"), (margin, "margin")]
    for size, to_find in targets:
        if size * math.sqrt(_TOO_MANY) > reach:
            needed = patients * (reach / size) ** 2
            return PatientsNeeded(_round_up(needed), to_find) if needed > patients else None
    return None


def _round_up(value: float) -> int:
    digit: int = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return math.ceil(value / digit) * digit
