"""Replies that are compared with each other: they wait on disk until all have come, so that memory stays that of one reply."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Self

from medfl.aggregate import DiskReplies, distance
from medfl.messages.models import Tensors
from medfl.strategies.base.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform


class ReplyFilter:
    """The replies of a round on disk, and the transforms that compare their norms and may reject some.

    Parameters
    ----------
    transforms : sequence of ReplyTransform
        Each is asked in turn about the replies that those before it have accepted.
    sent : mapping of str to ndarray
        The model that was sent out.
    buffers : collection of str
        Names of its buffers, which count in no norm.
    """

    def __init__(self, transforms: Sequence[ReplyTransform], sent: Tensors, buffers: Collection[str] = ()) -> None:
        self._transforms, self._sent, self._buffers = transforms, sent, buffers
        self._arrays = DiskReplies(sent)
        self._waiting: dict[str, Reply] = {}  # without their arrays, by site

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._arrays.close()

    def add(self, reply: Reply) -> None:
        """Keep a reply, or raise ExchangeError and change nothing."""
        self._arrays.add(reply.site, reply.arrays, reply.weight)
        self._waiting[reply.site] = dataclasses.replace(reply, arrays={})

    def reject(self) -> dict[str, str]:
        """Drop the replies that a transform rejects, and return the reason for each of these sites."""
        reasons: dict[str, str] = {}
        norms = {site: distance(self._arrays.reply(site), self._sent, self._buffers) for site in self._arrays.sites}
        for transform in self._transforms:
            reasons |= transform.reject({site: norm for site, norm in norms.items() if site not in reasons})
        self._waiting = {site: reply for site, reply in self._waiting.items() if site not in reasons}
        return reasons

    def accepted(self) -> Iterator[Reply]:
        """Yield the other replies, in the order of their sites' names."""
        for site, reply in sorted(self._waiting.items()):
            yield dataclasses.replace(reply, arrays=self._arrays.reply(site))
