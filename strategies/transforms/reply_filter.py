"""Replies that are judged together: they wait on disk until all have come, so that memory stays that of one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Self

import medfl.aggregate
from medfl.errors import ExchangeError
from medfl.messages.models import Tensors
from medfl.messages.records import ReplyRecord, RoundRecord
from medfl.messages.replies import describe_refusal
from medfl.strategies.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform

AddReply = Callable[[Reply], None]


class ReplyFilter:
    """Hand replies on at once, or, when a wrapper judges, once all are there and the bad ones are out.

    Parameters
    ----------
    wrappers : sequence of ReplyTransform
        Those that judge are asked in turn, each about the replies that the ones before it left.
    sent : mapping of str to ndarray
        The model that was sent out.
    """

    def __init__(self, wrappers: Sequence[ReplyTransform], sent: Tensors) -> None:
        self._rejecting_transforms = [wrapper for wrapper in wrappers if wrapper.needs_norms]
        self._sent = sent
        self._spool = medfl.aggregate.DiskReplies(sent) if self._rejecting_transforms else None
        self._waiting: dict[str, Reply] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._spool is not None:
            self._spool.close()

    def add(self, reply: Reply, take: AddReply) -> None:
        """Hand a reply to `take`, or keep it; raise ExchangeError when it is left out."""
        if self._spool is None:
            take(reply)
            return
        self._spool.add(reply.site, reply.arrays, reply.weight)
        self._waiting[reply.site] = dataclasses.replace(reply, arrays={})

    def finish(self, record: RoundRecord, take: AddReply) -> RoundRecord:
        """Hand on the replies that no wrapper objects to; return the record of the round with the others refused."""
        if self._spool is None:
            return record
        reasons: dict[str, str] = {}
        norms = {site: medfl.aggregate.distance(self._spool.reply(site), self._sent) for site in self._spool.sites}
        for judge in self._rejecting_transforms:
            reasons |= judge.reject({site: norm for site, norm in norms.items() if site not in reasons})
        for site, reply in sorted(self._waiting.items()):
            if site in reasons:
                continue
            try:
                take(dataclasses.replace(reply, arrays=self._spool.reply(site)))
            except ExchangeError as refusal:
                reasons[site] = describe_refusal(refusal)
        refused = tuple(_mark_refused(r, reasons[r.site]) if r.site in reasons else r for r in record.replies)
        return dataclasses.replace(record, replies=refused)


def _mark_refused(reply: ReplyRecord, reason: str) -> ReplyRecord:
    return dataclasses.replace(reply, status="refused", reason=reason, weight=0.0)
