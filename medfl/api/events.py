"""Events of a run, as a callback of `medfl.simulate` gets them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from medfl.runs.history import Event
from medfl.runs.summaries import ANY_SCORE
from medfl.system.text import plural


@dataclass(frozen=True)
class RunEvent:
    """One event of the history of a run; printed, it is a line for a person.

    Parameters
    ----------
    kind : str
        "start", "joined", "absent", "failed", "waiting", "round", "scored", "contribution", "test",
        "resume" or "end".
    time : datetime
        When it happened, in UTC.
    arm : str
        Arm that it belongs to; empty for an event of the whole run.
    round : int or None
        Round that it belongs to.
    site : str
        Site that it is about; empty for an event of several.
    score : float or None
        Dice or AUROC that was measured. That of a round is the score of the model that the round before it made.
    values : mapping
        The whole event, as it stands in ``history.jsonl``.

    Examples
    --------
    >>> about = {"event": "round", "time": "2026-01-31T12:00:00+00:00"}
    >>> print(RunEvent.from_history({**about, "arm": "federated", "round": 2, "rounds": 5, "score": 0.9}))
    federated, round 2 of 5: the model that it began with has score 0.900
    """

    kind: str
    time: datetime
    arm: str = ""
    round: int | None = None
    site: str = ""
    score: float | None = None
    values: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def from_history(cls, event: Event) -> RunEvent:
        """Return an event of the history as an object."""
        model = event.get("model") or {}
        return cls(
            kind=str(event["event"]),
            time=datetime.fromisoformat(event["time"]),
            arm=str(event.get("arm", "")),
            round=event.get("round", model.get("round")),
            site=str(event.get("site", model.get("site", ""))),
            score=_score_of(event),
            values=event,
        )

    def __str__(self) -> str:
        return _LINES[self.kind](self) if self.kind in _LINES else self.kind

    @property
    def _heading(self) -> str:
        rounds = f" of {self.values['rounds']}" if "rounds" in self.values else ""
        parts = (self.arm, f"round {self.round}{rounds}" if self.round is not None else "", self.site)
        return ", ".join(filter(None, parts))

    @property
    def _changes_text(self) -> str:
        changed = self.values.get("changed", "")
        return f"; the last bits of its numbers may change, for it began with {changed}" if changed else ""

    @property
    def _score_text(self) -> str:
        from medfl.metrics.keys import hides_score

        if self.score is not None:
            return f"score {self.score:.3f}"
        if _may_be_any(self.values):
            return "a score that may be any, in bins of so few patients"
        answers = (self.values.get("sites") or {}).values()
        hidden = any(hides_score(answer.get("metrics") or {}) for answer in answers)
        return "a score that policies of hospitals hide" if hidden else "no score"


def _score_of(event: Event) -> float | None:
    """Return the score of an event; where each site has a model of its own, their mean."""
    if _may_be_any(event):
        return None
    derived = event.get("derived") or {}
    score = event.get("score", derived.get("dice", derived.get("auroc")))
    own = [value for value in (event.get("scores") or {}).values() if value is not None]
    return sum(own) / len(own) if score is None and own else score


def _may_be_any(event: Mapping[str, Any]) -> bool:
    """Return whether a test tells an AUROC in bins that are too coarse to tell anything."""
    return float((event.get("errors") or {}).get("auroc") or 0.0) >= ANY_SCORE


def _describe_round(event: RunEvent) -> str:
    return event._heading if event.score is None else f"{event._heading}: the model that it began with has {event._score_text}"


def _brought(event: RunEvent) -> str:
    """Return what a site joined with: an external hospital with test patients alone."""
    if event.values.get("external"):
        return f"{plural(event.values['test'], 'test patient')}, external"
    return plural(event.values["train"], "training patient")


_LINES: Mapping[str, Callable[[RunEvent], str]] = {
    "start": lambda event: f"{event.values['study']}: the run has started",
    "joined": lambda event: f"{event.site} joined with {_brought(event)}",
    "absent": lambda event: f"{event.site} is absent: {event.values['reason']}",
    "failed": lambda event: f"{event.site} failed in {event.values['during']}: {event.values['reason']}",
    "waiting": lambda event: f"waiting for {', '.join(event.values['sites'])}",
    "round": lambda event: _describe_round(event),
    "scored": lambda event: f"{event._heading}: the model that it made has {event._score_text}",
    "contribution": lambda event: f"{event._heading}: contributions are measured",
    "test": lambda event: f"{event._heading}, tested: {event._score_text}",
    "resume": lambda event: "the run goes on" + event._changes_text,
    "end": lambda event: " ".join(
        filter(None, (f"the run is over: {event.values['status']}.", event.values.get("reason", "")))
    ),
}
