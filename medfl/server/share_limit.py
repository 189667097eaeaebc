"""Limit of the share of one hospital: no reply counts for more than a part of the weight of a round.

What a hospital claims to have is its weight, and nobody but the hospital can count it. Replies are added as they arrive, so the
limit is found before the round, from what the hospitals that are asked told when they joined.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from fractions import Fraction
from logging import getLogger

from medfl.errors import QuorumError
from medfl.runs.history import read_history
from medfl.server.federation import Federation

_log = getLogger(__name__)
_TOLERANCE = 1e-9  # a third is written as 0.3333333333, and three hospitals keep to it
_BITS = 28  # of a limit: a mean takes such a weight as it is


class ShareLimit:
    """Largest weight of a reply, by the study's ``strategy.max-share``.

    Parameters
    ----------
    federation : Federation
        Its study says what a reply weighs, and its history what each site told.

    Raises
    ------
    QuorumError
        ``TOO-FEW-SITES`` when a round asks so few sites that even with equal weights each has a larger share.
    """

    def __init__(self, federation: Federation) -> None:
        self._run, self._chosen = federation.run, federation.study.strategy
        joined = len(federation.sites)
        asked = max(math.floor(joined * self._chosen.fraction + _TOLERANCE), min(federation.quorum, joined))
        if not can_hold(self._chosen.max_share, asked):
            raise QuorumError(
                "TOO-FEW-SITES",
                f"a round asks {asked} sites: each has a larger share than {self._chosen.max_share:g} of the weight, "
                "the most that the study allows.",
                "Wait for more sites, or raise strategy.max-share and have the study approved again.",
            )

    def __call__(self, sites: Sequence[str]) -> float:
        """Return the largest weight in a round that asks these sites."""
        told = self._read_sizes()
        sizes = [told[site] for site in sites if told.get(site)]
        if not can_hold(self._chosen.max_share, len(sizes)):
            _log.warning("%d sites are asked, too few for strategy.max-share: they weigh the same", len(sizes))
        return find_limit(self._chosen.max_share, sizes)

    def _read_sizes(self) -> dict[str, int]:
        """Return what each site can weigh at most, by what it told when it joined last."""
        joined = {event["site"]: event for event in read_history(self._run.path) if event["event"] == "joined"}
        if self._chosen.weights == "equal":
            return dict.fromkeys(joined, 1)
        by_samples = self._chosen.weights == "samples"
        told = {site: int(event["cases"]["train"] if by_samples else event["train"]) for site, event in joined.items()}
        return {
            site: count if count >= 0 else -count - 1 for site, count in told.items()
        }  # below 0: hidden, and less than that


def can_hold(share: float, sites: int) -> bool:
    """Say whether so many sites can each have at most this share of the weight."""
    return share * sites >= 1 - _TOLERANCE


def find_limit(share: float, sizes: Collection[int]) -> float:
    """Return the weight that each site counts with at most, so that none has more than a share of the sum.

    It is the c of ``c = share * sum of min(size, c)``. Where the sites are too few for the share, all weigh the same.

    Parameters
    ----------
    share : float
        Largest share, above 0.
    sizes : collection of int
        Weights of the sites, above 0.

    Examples
    --------
    >>> find_limit(0.5, [10, 20, 970])  # the large one counts as the two others do together
    30.0
    """
    part, descending = Fraction(share), sorted(sizes, reverse=True)
    if not descending:
        return math.inf
    if share * len(descending) <= 1 + _TOLERANCE:
        return float(descending[-1])
    rest = sum(descending)
    for limited, size in enumerate(descending):
        # `limited` sites weigh c, the others what they have: c = part * (limited * c + rest)
        limit = part * rest / (1 - part * limited)
        if limit >= size:
            break
        rest -= size
    return _round_down(limit)


def _round_down(weight: Fraction) -> float:
    """Return a weight of few bits that is not above another: a limit below the exact one keeps the share, too."""
    fraction, exponent = math.frexp(float(weight))
    return math.ldexp(math.floor(math.ldexp(fraction, _BITS)), exponent - _BITS)
