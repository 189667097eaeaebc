"""Replies that did not count: which site did not answer, or was refused, when, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from medfl.runs.history import Event


@dataclass(frozen=True)
class RejectedReply:
    """One reply that did not count: when, of which site, its status ("refused", "failed", "late", "absent"), and the reason."""

    arm: str
    when: str
    site: str
    status: str
    reason: str


def read_rejected(events: Iterable[Event]) -> Iterator[RejectedReply]:
    """Yield the replies that did not count, in the order of the history."""
    for event in events:
        if event["event"] == "round":
            for site, reply in (event.get("sites") or {}).items():
                status = str(reply.get("status", "ok"))
                if status != "ok":
                    arm, when = str(event.get("arm", "")), f"round {event['round']}"
                    yield RejectedReply(arm, when, str(site), status, str(reply.get("reason") or ""))
        elif event["event"] in ("failed", "absent"):
            yield RejectedReply(
                str(event.get("arm", "")),
                str(event.get("during", "")),
                str(event.get("site", "")),
                str(event["event"]),
                str(event.get("reason", "")),
            )
