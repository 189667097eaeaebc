"""What the history tells of each hospital's contribution."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medfl.runs.history import Event


@dataclass(frozen=True)
class RoundContribution:
    """What each hospital brought in one round, as `medfl.server.contribution_measures` told it, and what telling it cost."""

    round: int
    method: str
    values: Mapping[str, float]
    shares: Mapping[str, float]
    gain: float
    models: int
    bytes_down: float
    seconds: float


def read_round_contributions(events: Iterable[Event]) -> tuple[RoundContribution, ...]:
    """Return the rounds in which it was measured, in their order."""
    told = {int(e["round"]): e for e in events if e["event"] == "contribution"}  # told twice after a resume: the last counts
    return tuple(
        RoundContribution(
            round=k,
            method=str(event["method"]),
            values={str(site): to_float(found.get("value")) for site, found in (event.get("sites") or {}).items()},
            shares={str(site): to_float(found.get("norm-share")) for site, found in (event.get("sites") or {}).items()},
            gain=to_float(event.get("gain")),
            models=int(event.get("models") or 0),
            bytes_down=to_float(event.get("bytes-down")),
            seconds=to_float(event.get("seconds")),
        )
        for k, event in sorted(told.items())
    )


def to_float(value: Any) -> float:
    """Return a value of the history as a number: null and whatever is none become nan."""
    return float(value) if isinstance(value, int | float) else math.nan
