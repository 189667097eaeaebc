"""Looking on: the replies of a round are kept for whoever wants to look at them once it is over."""

from __future__ import annotations

from medfl.aggregate import DiskReplies
from medfl.messages.models import Tensors
from medfl.strategies.reply import Reply
from medfl.strategies.transforms.reply_transform import ReplyTransform


class ReplyRecorder(ReplyTransform):
    """Keep every reply on disk as the strategy sees it: put it last among the wrappers.

    It changes nothing. A reply that is left out later, by a filter or by the strategy, is there too.

    Parameters
    ----------
    every : int
        Rounds: of others nothing is kept.

    Attributes
    ----------
    replies : DiskReplies or None
        The replies of the last round; gone when the next one begins, or with `close`.
    """

    def __init__(self, every: int = 1) -> None:
        self.every = every
        self.replies: DiskReplies | None = None

    def begin_round(self, server_round: int, sent: Tensors) -> None:
        """Forget the earlier round."""
        self.close()
        self.replies = DiskReplies(sent) if server_round % self.every == 0 else None

    def transform(self, reply: Reply) -> Reply:
        """Keep a reply."""
        if self.replies is not None:
            self.replies.add(reply.site, reply.arrays, reply.weight)
        return reply

    def close(self) -> None:
        """Give the room on disk back."""
        if self.replies is not None:
            self.replies.close()
        self.replies = None
