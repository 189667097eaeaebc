"""What strategies have in common that look at all replies of a round at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable

from flwr.app import ArrayRecord, Message, MetricRecord

from medfl.aggregate import DiskReplies
from medfl.messages.models import Tensor
from medfl.messages.records import array_views, to_array
from medfl.strategies.fedavg import FedAvg
from medfl.strategies.reply import Reply


class DiskStrategy(FedAvg):
    """Keep the replies of a round on disk until all have come, then make the model of them by a rule.

    The file has no name and is gone after the round, also when the round failed or was interrupted. Memory does not grow with
    the number of sites. Integer and boolean tensors keep their type: the elementwise maximum of those that the rule uses.

    Parameters
    ----------
    **options
        As for `FedAvg`; ``mean`` is without meaning.
    """

    def aggregate_train(self, server_round: int, replies: Iterable[Message]) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Take the training replies and return the model of the rule and the mean metrics.

        Raises
        ------
        QuorumError
            ``QUORUM`` when too few replies could be counted, or what the rule says when they are too few for it.
        """
        try:
            return super().aggregate_train(server_round, replies)
        finally:
            self._close()

    def begin_round(self, sent: ArrayRecord) -> None:
        self._spool = DiskReplies(array_views(sent))

    def add_reply(self, reply: Reply) -> None:
        self._spool.add(reply.site, reply.arrays, reply.weight)

    def finish_round(self) -> ArrayRecord:
        model = self.aggregate(self._spool)
        return ArrayRecord({name: to_array(model.pop(name)) for name in tuple(model)})  # popped: one model in memory, not two

    @abstractmethod
    def aggregate(self, spool: DiskReplies) -> dict[str, Tensor]:
        """Return the model of a round, or raise QuorumError when the replies are too few for the rule.

        Parameters
        ----------
        spool : DiskReplies
            At least one reply.
        """

    def _close(self) -> None:
        spool: DiskReplies | None = self.__dict__.pop("_spool", None)
        if spool is not None:
            spool.close()
