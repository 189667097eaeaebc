"""Contribution of each hospital by round, read from the history of a run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from medfl.runs.history import Event


@dataclass(frozen=True)
class RoundContribution:
    """Contribution of each hospital in one round, from `medfl.server.contribution_measures`, and what it cost to measure."""

    round: int
    method: str
    values: Mapping[str, float]
    shares: Mapping[str, float]
    gain: float
    models: int
    bytes_down: float
    seconds: float


def read_round_contributions(events: Iterable[Event]) -> tuple[RoundContribution, ...]:
    """Return the rounds in which contribution was measured, in order."""
    # after a resume a round may be there twice: the last one counts
    measured = {int(e["round"]): e for e in events if e["event"] == "contribution"}
    return tuple(
        RoundContribution(
            round=k,
            method=str(event["method"]),
            values={str(site): to_float(values.get("value")) for site, values in (event.get("sites") or {}).items()},
            shares={str(site): to_float(values.get("norm-share")) for site, values in (event.get("sites") or {}).items()},
            gain=to_float(event.get("gain")),
            models=int(event.get("models") or 0),
            bytes_down=to_float(event.get("bytes-down")),
            seconds=to_float(event.get("seconds")),
        )
        for k, event in sorted(measured.items())
    )


def to_float(value: Any) -> float:
    """Return a value of the history as a number; null and whatever is not a number become nan."""
    return float(value) if isinstance(value, int | float) else math.nan
