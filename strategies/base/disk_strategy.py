"""Base of strategies that need all replies of a round at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass

from flwr.app import ArrayRecord, Message, MetricRecord

from medfl.aggregate import DiskReplies
from medfl.messages.models import Tensor
from medfl.messages.records import array_views, to_array
from medfl.strategies.base.reply import Reply
from medfl.strategies.fedavg import FedAvg


@dataclass(eq=False)
class DiskStrategy(FedAvg):
    """Keep the replies of a round on disk until all have come, then aggregate them; a subclass says how.

    The file has no name and is gone after the round, even if the round failed or was interrupted. Memory does not grow with
    the number of sites. Integer and boolean tensors keep their type: they become the elementwise maximum over the replies that
    the rule uses.

    The keywords are those of `FedAvg`; ``mean`` has no effect.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self._replies: DiskReplies | None = None  # there during a round

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take the training replies, and return the aggregated model and the mean metrics.

        Raises
        ------
        QuorumError
            ``QUORUM`` when too few replies could be counted, or the rule's own code when they are too few for the rule.
        """
        try:
            return super().aggregate_train(server_round, replies)
        finally:
            self._close()

    def begin_round(self, sent: ArrayRecord) -> None:
        self._replies = DiskReplies(array_views(sent), buffers=self.buffers)

    def add_reply(self, reply: Reply) -> None:
        assert self._replies is not None
        self._replies.add(reply.site, reply.arrays, reply.weight)

    def finish_round(self) -> ArrayRecord:
        assert self._replies is not None
        model = self.aggregate(self._replies)
        return ArrayRecord({name: to_array(model.pop(name)) for name in tuple(model)})  # popped: one model in memory, not two

    @abstractmethod
    def aggregate(self, replies: DiskReplies) -> dict[str, Tensor]:
        """Return the model of a round, or raise QuorumError when the replies are too few for the rule.

        Parameters
        ----------
        replies : DiskReplies
            The counted replies, at least one.
        """

    def _close(self) -> None:
        if self._replies is not None:
            self._replies.close()
        self._replies = None
