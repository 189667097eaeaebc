"""Recorder of the replies of a round, for what is measured once the round is over."""

from __future__ import annotations

from medfl.aggregate import DiskReplies
from medfl.messages.models import Tensors
from medfl.strategies.base.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform


class ReplyRecorder(ReplyTransform):
    """Keep every reply on disk as the strategy sees it, and change nothing; to be the last of the transforms.

    Replies that are left out later, by a filter or by the strategy, are kept too.

    Parameters
    ----------
    every : int
        Only rounds whose number is a multiple of this are recorded.

    Attributes
    ----------
    replies : DiskReplies or None
        The replies of the last round; closed when the next round begins, or by `close`.
    """

    only_shortens = True

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.replies: DiskReplies | None = None

    def begin_round(self, server_round: int, sent: Tensors) -> None:
        """Drop the replies of the round before."""
        self.close()
        self.replies = DiskReplies(sent) if server_round % self.every == 0 else None

    def transform(self, reply: Reply) -> Reply:
        """Keep a reply."""
        if self.replies is not None:
            self.replies.buffers = frozenset(reply.buffers)  # which the strategy knows, and not the model
            self.replies.add(reply.site, reply.arrays, reply.weight)
        return reply

    def close(self) -> None:
        """Free the space on disk."""
        if self.replies is not None:
            self.replies.close()
        self.replies = None
