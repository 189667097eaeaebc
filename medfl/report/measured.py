"""What the history tells of each hospital's contribution."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medfl.runs.history import Event


@dataclass(frozen=True)
class Measured:
    """What each hospital brought in one round, as `medfl.server.contribution` told it, and what telling it cost."""

    round: int
    method: str
    values: Mapping[str, float]
    shares: Mapping[str, float]
    gain: float
    models: int
    bytes_down: float
    seconds: float


def measured_in(events: Iterable[Event]) -> tuple[Measured, ...]:
    """Return the rounds in which it was measured, in their order."""
    told = {int(e["round"]): e for e in events if e["event"] == "contribution"}  # told twice after a resume: the last counts
    return tuple(
        Measured(
            round=k,
            method=str(event["method"]),
            values={str(site): number(found.get("value")) for site, found in (event.get("sites") or {}).items()},
            shares={str(site): number(found.get("norm-share")) for site, found in (event.get("sites") or {}).items()},
            gain=number(event.get("gain")),
            models=int(event.get("models") or 0),
            bytes_down=number(event.get("bytes-down")),
            seconds=number(event.get("seconds")),
        )
        for k, event in sorted(told.items())
    )


def number(value: Any) -> float:
    """Return a value of the history as a number: null and whatever is none become nan."""
    return float(value) if isinstance(value, int | float) else math.nan
